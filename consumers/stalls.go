package consumers

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// stalls are the partitions of a session that nobody but an operator can get further. They are
// not fetched any more, nothing of them is committed, and the others go on. A partition that
// is taken away is another member's concern. It is safe for concurrent use.
type stalls struct {
	log    zerolog.Logger
	told   func(err error) // called after each add, with what err returns
	unsaid *untold         // told when partitions are taken away; nil: not needed

	n   atomic.Int32 // len(why)
	mu  sync.Mutex
	why map[topicPartition]error
}

func newStalls(log zerolog.Logger, told func(err error)) *stalls {
	return &stalls{log: log, told: told, why: map[topicPartition]error{}}
}

// add stops a partition.
func (s *stalls) add(cl *kgo.Client, tp topicPartition, err error) {
	cl.PauseFetchPartitions(map[string][]int32{tp.topic: {tp.partition}})
	s.mu.Lock()
	s.why[tp] = err
	s.n.Store(int32(len(s.why)))
	s.mu.Unlock()
	s.log.Error().Err(err).Str("topic", tp.topic).Int32("partition", tp.partition).Msg("this partition is stopped; the others go on")
	s.told(s.err())
}

// has tells whether a partition is stopped.
func (s *stalls) has(topic string, partition int32) bool {
	if s.n.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.why[topicPartition{topic, partition}]
	return ok
}

// err says which partitions are stopped, and why; nil if none is.
func (s *stalls) err() error {
	if s.n.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, tp := range slices.SortedFunc(maps.Keys(s.why), func(a, b topicPartition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	}) {
		errs = append(errs, s.why[tp])
	}
	return errors.Join(errs...)
}

// strip takes out of a poll what it has brought of partitions that are stopped.
func (s *stalls) strip(fetches kgo.Fetches) {
	if s.n.Load() > 0 {
		strip(fetches, s.has)
	}
}

// strip takes out of a poll what it has brought of partitions that are not to be read.
func strip(fetches kgo.Fetches, unread func(topic string, partition int32) bool) {
	for i := range fetches {
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			for k := range t.Partitions {
				if unread(t.Topic, t.Partitions[k].Partition) {
					t.Partitions[k].Records = nil
				}
			}
		}
	}
}

// forget forgets partitions that are taken away: whoever is assigned them finds out anew.
func (s *stalls) forget(cl *kgo.Client, gone map[string][]int32) {
	if s.unsaid != nil {
		s.unsaid.forget(gone)
	}
	if s.n.Load() == 0 {
		return
	}
	s.mu.Lock()
	for topic, partitions := range gone {
		for _, partition := range partitions {
			delete(s.why, topicPartition{topic, partition})
		}
	}
	s.n.Store(int32(len(s.why)))
	s.mu.Unlock()
	cl.ResumeFetchPartitions(gone)
}
