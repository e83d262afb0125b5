package consumers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Bounds of what is on its way to the brokers in a session that is not transactional.
const (
	maxFlights       = 4
	maxFlightBytes   = 8 << 20
	markCommitPeriod = 100 * time.Millisecond // of offsets behind what was acknowledged
)

// flight is a batch whose messages are on their way.
type flight struct {
	*outbox
	records int
	bytes   int
	fetches kgo.Fetches                          // what was polled: messages point into it
	starts  map[string]map[int32]kgo.EpochOffset // of the batch's first records
	ends    map[string]map[int32]kgo.EpochOffset // behind its last ones
	landed  bool
}

func (b *flight) recycle() {
	recycle(b.fetches)
	b.fetches = nil
}

// flights are the batches of a session that are not acknowledged yet, in the order in which
// they were polled. A batch's offsets are marked for commit when it and every one before it
// are acknowledged, which makes the commit of each partition contiguous.
type flights struct {
	mark      func(ends map[string]map[int32]kgo.EpochOffset)
	committed func(*flight, bool)     // told of each batch that is acknowledged, in order, and whether that is so of the whole
	dests     *destinations           // partitions whose answers are not taken; nothing of them is marked
	knows     func(topic string) bool // of the outboxes
	fail      context.CancelCauseFunc // ends the session

	mu    sync.Mutex // the client's goroutines land flights
	moved sync.Cond
	up    []*flight
	free  []*flight
	bytes int
	err   error // of the first batch that could not be produced; nothing after it is marked
	over  bool  // nobody waits any more for what is on its way
}

// next returns memory for a batch, once there is room for it.
func (f *flights) next() (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.err == nil && (len(f.up) >= maxFlights || f.bytes >= maxFlightBytes) {
		f.moved.Wait()
	}
	if f.err != nil {
		return nil, f.err
	}
	if n := len(f.free); n > 0 {
		next := f.free[n-1]
		f.free = f.free[:n-1]
		next.reset()
		return next, nil
	}
	next := &flight{}
	next.outbox = newOutbox(func(*outbox) { f.land(next) })
	next.knows = f.knows
	return next, nil
}

// start sends a batch on its way.
func (f *flights) start(ctx context.Context, b *flight, produce func(context.Context, *kgo.Record, func(*kgo.Record, error))) {
	b.landed, b.bytes = false, b.size()
	f.mu.Lock()
	f.up = append(f.up, b)
	f.bytes += b.bytes
	f.mu.Unlock()
	b.send(ctx, produce)
}

// land takes note of a batch of which every message is acknowledged or has failed.
func (f *flights) land(b *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.moved.Broadcast()
	b.landed = true
	if err := b.failure(); err != nil && f.err == nil {
		if _, wait := f.dests.blame(b.outbox, partitionsOf(b.fetches)); !wait {
			f.err = err
			f.fail(err)
		}
	}
	for len(f.up) > 0 && f.up[0].landed {
		first := f.up[0]
		f.up = append(f.up[:0], f.up[1:]...)
		f.bytes -= first.bytes
		if f.err != nil {
			continue
		}
		whole := f.dests.spare(first.ends)
		f.mark(first.ends)
		f.committed(first, whole)
		first.recycle()
		f.free = append(f.free, first)
	}
}

// settle waits until nothing is on its way. The client gives a message up after its delivery
// timeout.
func (f *flights) settle() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.up) > 0 && !f.over {
		f.moved.Wait()
	}
	return f.err
}

// abandon ends every wait: the client fails what is on its way only when it is closed.
func (f *flights) abandon(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.moved.Broadcast()
	f.over = true
	if f.err == nil && len(f.up) > 0 {
		f.err = fmt.Errorf("%d batches are not acknowledged: %w", len(f.up), err)
	}
}

// atLeastOnce is one life of a session without transactions. An error means that it cannot
// be used further; what it had not committed comes again.
func (l *Lane) atLeastOnce(ctx, hard context.Context, h Handler) (err error) {
	polling, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	s := l.session(fail)
	defer s.unsaid.end()
	defer func(end func(err *error)) { end(&err) }(s.asks.watch(ctx))
	f := &flights{fail: fail, dests: s.dests, knows: s.dests.knowsTopic(), committed: l.landed}
	f.moved.L = &f.mu
	defer context.AfterFunc(hard, func() { f.abandon(context.Cause(hard)) })()
	guarded := s.assigned.guardCommits(hard, fail)
	landed := func(ctx context.Context, cl *kgo.Client, partitions map[string][]int32) {
		_ = f.settle() // whose error ends the session
		l.revoked(ctx, cl, partitions)
	}
	life, cut := context.WithCancel(guarded)
	defer cut()
	opts := s.options(life) // the client commits marks by itself, under guarded
	if l.cfg.Origin != nil {
		opts = append(opts, kgo.AllowIdempotentProduceCancellation()) // what may be stored or not is given up too, and comes again
	}
	cl, err := l.cfg.Dial(append(opts,
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(markCommitPeriod),
		kgo.ProducerLinger(0),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, revoked map[string][]int32) {
			landed(ctx, cl, revoked)
			if err := cl.CommitMarkedOffsets(guarded); err != nil {
				l.log.Warn().Err(err).Msg("last commit before a rebalance failed; the next owner answers again")
			}
		}),
		kgo.OnPartitionsLost(landed))...)
	if err != nil {
		return fmt.Errorf("%w: %w", errConfiguration, err)
	}
	f.mark = cl.MarkCommitOffsets
	defer func() {
		if settled := f.settle(); err == nil {
			err = settled
		}
		if failed := cl.CommitMarkedOffsets(guarded); err == nil && failed != nil {
			err = fmt.Errorf("commit offsets of group %s: %w", l.cfg.Name, failed)
		}
		l.endStopped(ctx, &err)
		s.asks.leave(cl, cl.CloseAllowingRebalance, cut)
	}()
	defer s.watch(hard, cl)()
	settled := func(partitions []topicPartition) {
		_ = f.settle() // whose error ends the session
		if len(partitions) == 0 {
			return
		}
		// What was acknowledged is marked, and setting offsets would forget the marks.
		if err := cl.CommitMarkedOffsets(guarded); err != nil {
			l.log.Warn().Err(err).Msg("commit of what was acknowledged before partitions that wait failed; it may be answered again")
		}
		back, at := map[string]map[int32]kgo.EpochOffset{}, cl.CommittedOffsets()
		for _, tp := range partitions {
			if o, ok := at[tp.topic][tp.partition]; ok {
				if back[tp.topic] == nil {
					back[tp.topic] = map[int32]kgo.EpochOffset{}
				}
				back[tp.topic][tp.partition] = o
			}
		}
		cl.SetOffsets(back)
	}
	var backoff time.Duration
	for {
		in, err := s.poll(polling, cl, cl.PollRecords)
		switch {
		case err != nil:
			return err
		case in == nil:
			return cutShort(ctx, polling)
		case in.empty():
			recycle(in.fetches)
			s.dests.tend(settled)
			cl.AllowRebalance()
			continue
		}
		b, err := f.next()
		if err != nil {
			return err
		}
		b.records, b.fetches = len(in.records), in.fetches
		b.starts, b.ends = offsetsOf(in.fetches)
		if fault := l.handle(hard, h, in, b.outbox); fault != nil {
			l.failed(fault, len(in.records))
			l.Stats.Aborted.Add(1)
			if err := f.settle(); err != nil {
				return err
			}
			// What was acknowledged is marked, and setting offsets would forget the marks.
			if err := cl.CommitMarkedOffsets(guarded); err != nil {
				l.log.Warn().Err(err).Msg("commit of what was acknowledged before a failed batch failed; it may be answered again")
			}
			cl.SetOffsets(b.starts)
			f.giveBack(b)
			cl.AllowRebalance()
			if len(in.aside) > 0 { // the client has told of the batches once, and would stand still there
				return fmt.Errorf("set aside what cannot be read in topic %s: %w", in.aside[0].Topic, fault)
			}
			backoff = longer(backoff)
			if sleep(polling, backoff) != nil {
				return cutShort(ctx, polling)
			}
			continue
		}
		backoff = 0
		l.polls.succeeded()
		f.start(hard, b, cl.Produce)
		if len(in.aside) > 0 {
			if err := l.passBehind(guarded, f, cl, in.aside); err != nil {
				return err
			}
		}
		s.dests.tend(settled)
		cl.AllowRebalance()
	}
}

// landed counts a batch that was acknowledged. Where some of its partitions wait, their records come
// again, and are counted then; what else was to be told of the batch is not told.
func (l *Lane) landed(b *flight, whole bool) {
	if whole {
		l.done(b.outbox, b.records)
		return
	}
	l.Stats.Aborted.Add(1)
	for topic, partitions := range b.ends {
		for partition, end := range partitions {
			l.Stats.Records.Add(end.Offset - b.starts[topic][partition].Offset)
		}
	}
}

// passBehind commits the offsets behind batches that were set aside, once their dead letters are
// acknowledged.
func (l *Lane) passBehind(guarded context.Context, f *flights, cl *kgo.Client, aside []*UnreadableBatchError) error {
	if err := f.settle(); err != nil {
		return err
	}
	// What was acknowledged is marked, and setting offsets would forget the marks.
	err := cl.CommitMarkedOffsets(guarded)
	for _, e := range aside {
		err = errors.Join(err, commit(guarded, cl, e.behind()))
	}
	if err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", l.cfg.Name, err)
	}
	moveBehind(cl, aside)
	return nil
}

// commit commits offsets, and returns the errors of those that were refused.
func commit(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.EpochOffset) error {
	var failed error
	cl.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if resp == nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					failed = errors.Join(failed, fmt.Errorf("topic %s partition %d: %w", t.Topic, p.Partition, e))
				}
			}
		}
	})
	return failed
}

// cutShort returns why polling has ended before ctx, nil if it has not.
func cutShort(ctx, polling context.Context) error {
	if ctx.Err() == nil {
		return context.Cause(polling)
	}
	return nil
}

// giveBack takes the memory of a batch of which nothing was sent.
func (f *flights) giveBack(b *flight) {
	b.recycle()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = append(f.free, b)
}

// offsetsOf returns the offsets of the first records of a poll and those behind its last ones.
func offsetsOf(fetches kgo.Fetches) (starts, ends map[string]map[int32]kgo.EpochOffset) {
	starts, ends = map[string]map[int32]kgo.EpochOffset{}, map[string]map[int32]kgo.EpochOffset{}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 {
			return
		}
		if starts[p.Topic] == nil {
			starts[p.Topic], ends[p.Topic] = map[int32]kgo.EpochOffset{}, map[int32]kgo.EpochOffset{}
		}
		first, last := p.Records[0], p.Records[len(p.Records)-1]
		if s, ok := starts[p.Topic][p.Partition]; !ok || first.Offset < s.Offset {
			starts[p.Topic][p.Partition] = kgo.EpochOffset{Epoch: first.LeaderEpoch, Offset: first.Offset}
		}
		if e, ok := ends[p.Topic][p.Partition]; !ok || last.Offset >= e.Offset {
			ends[p.Topic][p.Partition] = kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}
		}
	})
	return starts, ends
}
