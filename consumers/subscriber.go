package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Subscribe hands each record of a topic to handle, in order within a partition, and
// commits it when handle has returned nil. An error makes it come again, after a wait that
// doubles up to maxBackoff; so each record is handled at least once, also over restarts.
// It returns nil when ctx ends, having left the group as far as hard allows. A session that
// cannot be used further is opened anew: an error means that the settings are unusable, or that
// records were lost (LostRangeError) or cannot be read (UnreadableBatchError).
func Subscribe(ctx, hard context.Context, conn Connection, g Group, topic string, maxBackoff time.Duration, log zerolog.Logger,
	handle func(ctx context.Context, rec *schemas.Record) error,
) error {
	for backoff := time.Duration(0); ; {
		began := time.Now()
		err := subscribe(ctx, hard, conn, g, topic, maxBackoff, log, handle)
		if err == nil || hopeless(err) || hard.Err() != nil {
			return cutOff(hard, err)
		}
		if time.Since(began) > time.Minute {
			backoff = 0
		}
		backoff = longer(backoff)
		log.Error().Err(err).Str("topic", topic).Dur("retry_in", backoff).Msg("subscriber session failed; opening a new one")
		if sleep(ctx, backoff) != nil {
			return nil //nolint:nilerr // the session is closed: this is an orderly end
		}
	}
}

// subscribe is one life of a session of Subscribe.
func subscribe(ctx, hard context.Context, conn Connection, g Group, topic string, maxBackoff time.Duration, log zerolog.Logger,
	handle func(ctx context.Context, rec *schemas.Record) error,
) (err error) {
	asks := newQuestions(g.Name, log)
	defer func(end func(err *error)) { end(&err) }(asks.watch(ctx))
	life, cut := context.WithCancel(hard)
	defer cut()
	opts := append(groupOptions(life, g), kgo.WithHooks(asks))
	polling, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	unsaid := newUntold(lose)
	defer unsaid.end()
	opts = append(opts, kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll())
	opts = append(opts, unsaid.options()...)
	cl, err := conn.Dial(opts...)
	if err != nil {
		return fmt.Errorf("%w: %w", errConfiguration, err)
	}
	defer asks.leave(cl, cl.CloseAllowingRebalance, cut)
	var in converter
	faulty := faults{Group: g, log: log}
	for ctx.Err() == nil {
		unsaid.polls()
		fetches := cl.PollRecords(polling, 100)
		unsaid.polled(fetches)
		if err := unsaid.lost(); err != nil {
			return err
		}
		if fetches.IsClientClosed() {
			return nil
		}
		aside, err := faulty.of(ctx, cl, fetches)
		if err != nil {
			return err
		}
		for _, e := range aside { // whoever reads the topic to keep its records, the recorder, keeps where it was
			if err := commit(hard, cl, e.behind()); err != nil {
				return fmt.Errorf("commit offsets of group %s: %w", g.Name, err)
			}
		}
		moveBehind(cl, aside)
		in.reset()
		in.add(fetches, time.Now())
		raw := fetches.Records()
		for i := range in.records {
			if err := handleOne(ctx, &in.records[i], maxBackoff, log, handle); err != nil {
				return nil // ctx ended: the record comes again after the restart
			}
			if err := commitRecord(hard, cl, raw[i]); err != nil && !errors.Is(err, kgo.ErrClientClosed) {
				log.Warn().Err(err).Str("topic", topic).Msg("commit failed; the record may come again")
			}
		}
		cl.AllowRebalance()
	}
	return nil
}

// commitRecord commits a handled record, also when the intake has just ended.
func commitRecord(hard context.Context, cl *kgo.Client, rec *kgo.Record) error {
	ctx, cancel := context.WithTimeout(hard, 10*time.Second)
	defer cancel()
	return cl.CommitRecords(ctx, rec)
}

func handleOne(ctx context.Context, rec *schemas.Record, maxBackoff time.Duration, log zerolog.Logger,
	handle func(ctx context.Context, rec *schemas.Record) error,
) error {
	for backoff := min(250*time.Millisecond, maxBackoff); ; backoff = min(2*backoff, maxBackoff) {
		err := handle(ctx, rec)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		log.Warn().Err(err).Str("topic", rec.Topic).Int32("partition", rec.Partition).Int64("offset", rec.Offset).
			Dur("retry_in", backoff).Msg("delivery failed; trying again")
		if err := sleep(ctx, backoff); err != nil {
			return err
		}
	}
}
