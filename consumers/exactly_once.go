package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// exactlyOnce is one life of a transactional session. An error means that it cannot be
// used further.
func (l *Lane) exactlyOnce(ctx, hard context.Context, h Handler) (err error) {
	polling, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	s := l.session(refuse)
	defer s.unsaid.end()
	defer func(end func(err *error)) { end(&err) }(s.asks.watch(ctx))
	guarded := s.assigned.guardTransaction(hard)
	id := fmt.Sprintf("%s-%s-%d", l.cfg.Name, l.cfg.Instance, l.cfg.Lane)
	life, cut := context.WithCancel(hard)
	defer cut()
	sess, err := l.cfg.dialSession(append(s.options(life),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(l.cfg.TransactionTimeout),
		kgo.ProducerLinger(time.Second))...) // longer than sending takes: Flush ends it
	if err != nil {
		return fmt.Errorf("%w: %w", errConfiguration, err)
	}
	out := newOutbox(nil)
	out.knows, out.abandon = s.dests.knowsTopic(), sess.Client().UnsafeAbortBufferedRecords
	defer out.open.Wait() // the client uses what was published until every promise is kept
	defer func() { s.asks.leave(sess.Client(), sess.CloseAllowingRebalance, cut) }()
	defer l.endStopped(ctx, &err)
	defer s.watch(hard, sess.Client())()
	// Takes over the transactional id at once, and not with the first message: that ends what
	// a killed lane of the same name left open, and the group's offsets cannot be read before.
	if _, _, err := sess.Client().ProducerID(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("take over the transactional id: %w", lacking(err, onTransactionalID("Write", id)))
	}
	var backoff time.Duration
	for {
		s.dests.tend(nil) // the transaction before was aborted, which has returned all partitions to where they go on
		in, err := s.poll(polling, sess.Client(), sess.PollRecords)
		switch {
		case err != nil:
			return err
		case in == nil:
			return cutShort(ctx, polling)
		case in.empty():
			recycle(in.fetches)
			continue
		}
		aside := in.aside
		times := s.assigned.setAside(aside)
		committed, failed, err := s.round(guarded, sess, out, in, h)
		if err != nil {
			return err
		}
		if len(aside) > 0 {
			if !committed { // the client has told of the batches once, and would stand still there
				return fmt.Errorf("set aside what cannot be read in topic %s: %w", aside[0].Topic, errAborted)
			}
			if s.assigned.setAside(nil) != times { // the partition may have been another's meanwhile, and be further by now
				return fmt.Errorf("go on behind what was set aside in topic %s: %w", aside[0].Topic, errReassigned)
			}
			moveBehind(sess.Client(), aside)
		}
		recycle(in.fetches)
		if !failed {
			backoff = 0
			continue
		}
		backoff = longer(backoff)
		if sleep(polling, backoff) != nil {
			return cutShort(ctx, polling)
		}
	}
}

var (
	errAborted    = errors.New("the transaction was aborted")
	errReassigned = errors.New("partitions were assigned meanwhile")
)

// round answers one batch in one transaction. failed tells, of a transaction that was aborted,
// whether its batch failed; otherwise a rebalance aborted it, or a destination that has refused
// messages, and the partitions wait that these answer.
func (s *laneSession) round(hard context.Context, sess *kgo.GroupTransactSession, out *outbox, in *polled, h Handler) (committed, failed bool, err error) {
	l := s.Lane
	if err := sess.Begin(); err != nil {
		return false, false, fmt.Errorf("begin a transaction: %w", err)
	}
	out.reset()
	fault := l.handle(hard, h, in, out)
	blamed := false
	if fault == nil {
		out.send(hard, sess.Produce)
		// End commits although a message was refused before it was sent: ask first.
		if err := sess.Client().Flush(hard); err != nil {
			return false, false, fmt.Errorf("flush %d messages: %w", out.published, err)
		}
		out.open.Wait()
		if fault = out.failure(); fault != nil {
			blamed, _ = s.dests.blame(out, partitionsOf(in.fetches))
		}
	}
	if fault != nil && !blamed {
		l.failed(fault, len(in.records))
	}
	committed, err = sess.End(hard, kgo.TransactionEndTry(fault == nil))
	if l.cfg.Origin != nil && fault == nil && errors.Is(err, kerr.TransactionAbortable) && errors.Is(err, kerr.UnknownTopicID) {
		// A topic was made again behind what was produced to it. That was aborted, and comes again: then
		// the client says which topic it was.
		out.open.Wait()
		l.Stats.Aborted.Add(1)
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("end the transaction of %d records: %w", len(in.records), errors.Join(err, fault))
	}
	out.open.Wait()
	if !committed {
		l.Stats.Aborted.Add(1)
		if blamed {
			return false, false, nil
		}
		if errors.Is(fault, kerr.UnknownTopicID) { // deleted, and perhaps made again: only a new session learns the new topic's id
			return false, true, fault
		}
		return false, fault != nil, nil
	}
	l.polls.succeeded()
	l.done(out, len(in.records))
	return true, false, nil
}
