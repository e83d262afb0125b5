package consumers

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// laneSession is what a session of a lane watches, whichever the delivery. One goroutine polls.
type laneSession struct {
	*Lane
	faults   faults
	assigned *assignments
	unsaid   *untold // the caller ends it with the session
	in       polled  // its memory is used again by each poll
}

// session returns what watches a new session; end ends the session.
func (l *Lane) session(end func(err error)) *laneSession {
	s := &laneSession{Lane: l, assigned: l.assignments(end), unsaid: newUntold(end)}
	stalls := newStalls(l.log, l.health)
	stalls.unsaid, s.assigned.stalls = s.unsaid, stalls
	l.stalls.Store(stalls)
	s.in.untimed = s.reading.noTime
	s.faults = faults{Group: l.cfg.Group, log: l.log, stalls: stalls}
	return s
}

// options are those of the session's client.
func (s *laneSession) options(hard context.Context) []kgo.Opt {
	return append(s.Lane.options(hard, s.assigned), s.clientLog(s.unsaid), kgo.WithHooks(readingHook{s.reading}),
		kgo.KeepControlRecords()) // or the end of every transaction would look like lag
}

// polled is what one poll has brought: the records of a request batch, and the record batches that
// cannot be read and are to be set aside.
type polled struct {
	converter
	fetches kgo.Fetches // what the records point into
	at      time.Time
	aside   []*UnreadableBatchError
}

func (p *polled) empty() bool { return len(p.records)+len(p.aside) == 0 }

// poll returns what records, the PollRecords of the session, brings, until the next poll; nil when
// polling has ended. It tells which partitions were assigned before these records were polled, and
// refuses records that are another member's by now.
func (s *laneSession) poll(polling context.Context, cl *kgo.Client, records func(ctx context.Context, most int) kgo.Fetches) (*polled, error) {
	in := &s.in
	s.unsaid.polls()
	in.fetches = records(polling, s.polls.next())
	in.at = time.Now()
	s.unsaid.polled(in.fetches)
	if in.fetches.IsClientClosed() || polling.Err() != nil {
		return nil, nil //nolint:nilerr // an orderly end, of which the caller knows why
	}
	var err error
	if in.aside, err = s.faults.of(polling, cl, in.fetches); err != nil {
		return nil, err
	}
	if since := s.assigned.since(in.fetches); len(since) > 0 {
		s.lost(since)
	}
	if err := s.assigned.check(in.fetches); err != nil {
		return nil, err
	}
	s.reading.polled(in.fetches)
	in.reset()
	in.add(in.fetches, in.at)
	return in, nil
}
