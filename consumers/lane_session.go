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
	asks     *questions
	in       polled // its memory is used again by each poll
	dests    *destinations
}

// session returns what watches a new session; end ends the session.
func (l *Lane) session(end func(err error)) *laneSession {
	s := &laneSession{Lane: l, assigned: l.assignments(end), unsaid: newUntold(end), asks: newQuestions(l.cfg.Name, l.log)}
	stalls := newStalls(l.log, l.health)
	stalls.unsaid, s.assigned.stalls = s.unsaid, stalls
	l.stalls.Store(stalls)
	s.in.untimed = s.reading.noTime
	s.dests = newDestinations(l, stalls, end)
	l.dests.Store(s.dests)
	s.faults = faults{Group: l.cfg.Group, log: l.log, stalls: stalls}
	return s
}

// options are those of the session's client.
func (s *laneSession) options(hard context.Context) []kgo.Opt {
	return append(s.Lane.options(hard, s.assigned), s.clientLog(s.unsaid), kgo.WithHooks(readingHook{s.reading}, s.asks),
		kgo.KeepControlRecords()) // or the end of every transaction would look like lag
}

// watch has the destinations of a session that wait looked at, by the session's client, until end is
// called, which is before the client is closed.
func (s *laneSession) watch(hard context.Context, cl *kgo.Client) (end func()) {
	if s.cfg.Origin == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(hard)
	done := make(chan struct{})
	s.dests.cl, s.dests.hard = cl, hard
	go func() { // ends with ctx
		defer close(done)
		s.dests.probe(ctx)
	}()
	return func() {
		cancel()
		<-done
		s.dests.end()
	}
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
	ctx, wake := context.WithCancel(polling)
	defer wake()
	s.dests.waking(wake)
	s.unsaid.polls()
	in.fetches = records(ctx, s.polls.next())
	in.at = time.Now()
	s.unsaid.polled(in.fetches)
	s.dests.waking(nil)
	if in.fetches.IsClientClosed() || polling.Err() != nil {
		return nil, nil // an orderly end, of which the caller knows why
	}
	var err error
	if in.aside, err = s.faults.of(polling, cl, in.fetches); err != nil {
		return nil, err
	}
	s.dests.strip(in.fetches)
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
