package consumers

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Follower keeps what a compacted topic says. Its methods are called one after another.
type Follower interface {
	// Reset forgets everything: the topic is read from its start.
	Reset()
	// Visit is given each committed record, those of a key in their order. rec is valid until
	// Visit returns.
	Visit(rec *schemas.Record)
	// CaughtUp says that everything has been visited that the topic held when it was begun.
	CaughtUp()
}

// Follow hands a topic to a follower, from its start on, and then each record that comes, until
// ctx ends. No group is involved. It begins anew, after a pause, when the topic cannot be read,
// as when it was deleted and made again.
func (a *Admin) Follow(ctx context.Context, topic string, log zerolog.Logger, f Follower) {
	for backoff := time.Duration(0); ; {
		began := time.Now()
		err := a.follow(ctx, topic, f)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			backoff = 0
		}
		backoff = longer(backoff)
		log.Warn().Err(err).Str("topic", topic).Dur("retry_in", backoff).Msg("following a topic failed; reading it anew")
		if sleep(ctx, backoff) != nil {
			return
		}
	}
}

// follow is one life of Follow. It ends with an error.
func (a *Admin) follow(ctx context.Context, topic string, f Follower) error {
	spans, err := a.ended(ctx, topic)
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	from, ends := map[int32]kgo.Offset{}, map[int32]int64{}
	for partition, s := range spans {
		from[partition] = kgo.NewOffset().At(s.Start)
		if s.Start < s.End {
			ends[partition] = s.End
		}
	}
	cl, err := a.conn.Dial(
		kgo.WithContext(ctx), // or Close would wait for brokers that do not answer
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(), kgo.BrokerMaxReadBytes(128<<20), kgo.MaxDecompressBatchBytes(maxBatchBytes))
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	defer cl.Close()
	f.Reset()
	if len(ends) == 0 {
		f.CaughtUp()
	}
	var in converter
	for {
		fetches := cl.PollRecords(ctx, 10_000)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("read topic %s partition %d: %w", topic, e.Partition, lacking(e.Err, onTopics("Read", topic)))
		}
		in.reset()
		in.add(fetches, time.Now())
		for i := range in.records {
			f.Visit(&in.records[i])
		}
		if len(ends) == 0 {
			continue
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, ok := ends[r.Partition]; ok && r.Offset >= end-1 {
				delete(ends, r.Partition)
			}
		})
		if len(ends) == 0 {
			f.CaughtUp()
		}
	}
}
