package consumers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// waiting are the topics of which a lane reads nothing for now. Their partitions stay assigned and
// are paused, so that nothing of them is fetched and nothing is committed. It is safe for
// concurrent use.
type waiting struct {
	mu       sync.Mutex
	cl       *kgo.Client // of the session
	why      map[string]error
	assigned map[topicPartition]bool // all partitions of the lane, since a topic can come to wait at any time
}

func newWaiting() *waiting {
	return &waiting{why: map[string]error{}, assigned: map[topicPartition]bool{}}
}

// begin pauses the topics in a client, and takes note of partitions that it is assigned. It is called
// before their first fetch. told says that there are topics that wait.
func (w *waiting) begin(cl *kgo.Client, assigned map[string]map[int32]kgo.Offset) (told bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cl != w.cl {
		w.cl = cl
		clear(w.assigned)
		if len(w.why) > 0 {
			cl.PauseFetchTopics(slices.Collect(maps.Keys(w.why))...)
		}
	}
	for topic, partitions := range assigned {
		for partition := range partitions {
			w.assigned[topicPartition{topic, partition}] = true
		}
	}
	return len(w.why) > 0
}

// gone takes note of partitions that are taken away.
func (w *waiting) gone(partitions map[string][]int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, of := range partitions {
		for _, partition := range of {
			delete(w.assigned, topicPartition{topic, partition})
		}
	}
}

// of returns the partitions of a topic that the lane has.
func (w *waiting) of(topic string) []int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.partitions(topic)
}

// partitions is of for whoever holds mu.
func (w *waiting) partitions(topic string) []int32 {
	var out []int32
	for tp := range w.assigned {
		if tp.topic == topic {
			out = append(out, tp.partition)
		}
	}
	slices.Sort(out)
	return out
}

// err names the partitions that wait, and says why; nil if none does.
func (w *waiting) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, topic := range slices.Sorted(maps.Keys(w.why)) {
		if partitions := w.partitions(topic); len(partitions) > 0 {
			errs = append(errs, fmt.Errorf("partitions %v of topic %s wait: %w", partitions, topic, w.why[topic]))
		}
	}
	return errors.Join(errs...)
}

// Wait has the lane leave what a topic holds until Resume: its partitions are paused, nothing of them
// is fetched or committed, and Health is told of them and of why. It may be called again with another
// reason, and is called before Run for what is not to be read at all.
func (l *Lane) Wait(topic string, why error) {
	w := l.waiting
	w.mu.Lock()
	w.why[topic] = why
	if w.cl != nil {
		w.cl.PauseFetchTopics(topic)
	}
	w.mu.Unlock()
	l.tellWaiting()
}

// Resume has the lane read a topic on from where it stopped. It may be called for one that does not
// wait.
func (l *Lane) Resume(topic string) {
	w := l.waiting
	w.mu.Lock()
	_, waits := w.why[topic]
	delete(w.why, topic)
	if waits && w.cl != nil {
		w.cl.ResumeFetchTopics(topic)
	}
	w.mu.Unlock()
	if waits {
		l.tellWaiting()
	}
}

// tellWaiting tells of what has changed, unless the session has failed, of which the next one tells.
func (l *Lane) tellWaiting() {
	if !l.reopened.Load() {
		l.health(nil)
	}
}
