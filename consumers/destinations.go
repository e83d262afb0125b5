package consumers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Source is where the request is that a message answers.
type Source struct {
	Topic     string
	Partition int32 // schemas.AnyPartition: any that the lane reads of the topic
	// SamePartition says that the message goes to the partition of its request's number.
	SamePartition bool
}

// Awaited says which partitions wait for a topic that does not take what answers them.
type Awaited struct {
	Requests   string
	Partitions []int32 // ascending
	Topic      string  // that is waited for
	Reason     string  // with what mends it
}

// Waits between two looks at a destination.
const (
	leastDestinationWait = 100 * time.Millisecond
	mostDestinationWait  = 5 * time.Second
	// relapse is for how long a partition that goes on is remembered: where it has to wait again
	// within that time, it waits twice as long as before.
	relapse = time.Minute
)

// destinations are the partitions of a session that wait, since what answers them is not taken
// where it goes. They are paused, nothing of them is committed, and the others go on. A prober
// looks at their destinations. The goroutine that polls calls tend, which alone lets them go on.
// destinations is safe for concurrent use.
type destinations struct {
	*Lane
	stalls *stalls
	renew  func(err error) // ends the session
	hard   context.Context //nolint:containedctx // of the session: when it has ended, so have messages that nobody has refused
	cl     *kgo.Client     // of the session

	n        atomic.Int32 // len(waits)
	untended atomic.Bool  // tend has something to do
	due      chan struct{}

	telling sync.Mutex // held over mu, so that what is told last is so

	mu     sync.Mutex
	waits  map[topicPartition]*wait
	lately map[topicPartition]lapse
	looks  map[string]*look // by the topic that is waited for
	wake   func()           // ends a poll
}

// wait is a partition that waits.
type wait struct {
	to     topicPartition // what does not take its answers; partition -1: the topic
	fault  fault
	err    error
	reason string
	sample sample // not changed any more once it is tended
	tended bool   // nothing of the partition is on its way any more, and it is where it goes on
	taken  bool   // the destination takes again what it has refused
}

// lapse is how long a partition that goes on had to wait between two looks.
type lapse struct {
	wait time.Duration
	at   time.Time
}

// look is when a topic is looked at next.
type look struct {
	wait    time.Duration
	at      time.Time
	said    string // what was logged last
	missing bool   // there was no such topic
	// stale says that the client knows a topic that is no more: it never learns of another one by that
	// name, and asks for its metadata all the time. It is to forget it, and that only then: it counts
	// the batches to each partition from 0 on again, and a partition that has its last five takes one
	// with the number of one of these for that one, and drops it.
	stale bool
}

func newDestinations(l *Lane, stalls *stalls, renew func(err error)) *destinations {
	return &destinations{
		Lane: l, stalls: stalls, renew: renew, due: make(chan struct{}, 1),
		waits: map[topicPartition]*wait{}, lately: map[topicPartition]lapse{}, looks: map[string]*look{},
	}
}

// blame finds out whether destinations have refused messages of a batch, and has the partitions wait
// whose requests these answer. batch are the partitions of its records. blamed says that at least one
// of these waits, and whole that so do all of which a message was refused.
func (d *destinations) blame(o *outbox, batch map[topicPartition]bool) (blamed, whole bool) {
	if d == nil || d.cfg.Origin == nil || d.hard.Err() != nil {
		return false, false
	}
	refused, wrong := o.refusals()
	heard := len(refused) < o.published || slices.ContainsFunc(refused, func(r refusal) bool {
		f := wrong(r)
		return f != ofSession && f != unanswered
	})
	news := false
	whole = true
	d.mu.Lock()
	for _, r := range refused {
		f := wrong(r)
		if f == ofSession || f == unanswered && !heard {
			whole = false
			continue
		}
		source, ok := d.cfg.Origin(messageOf(r.rec))
		if !ok {
			whole = false
			continue
		}
		for _, from := range d.concerned(source, f, batch) {
			w := d.waits[from]
			if w == nil {
				w = d.add(from, source, f, r)
				news = true
			}
			blamed = blamed || batch[from]
			if !w.tended && w.to.topic == r.rec.Topic && (source.Partition == schemas.AnyPartition || source.Partition == from.partition) {
				w.sample.add(r.rec, w.to.partition)
			}
		}
	}
	wake := d.wake
	d.mu.Unlock()
	if news && wake != nil {
		wake()
	}
	if news {
		d.tell()
	}
	return blamed, whole && blamed
}

// messageOf returns what was published.
func messageOf(r *kgo.Record) schemas.Message {
	m := schemas.Message{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: make([]schemas.Header, len(r.Headers))}
	for i, h := range r.Headers {
		m.Headers[i] = schemas.Header{Key: h.Key, Value: h.Value}
	}
	return m
}

// concerned returns the partitions that cannot be answered. The caller holds mu.
func (d *destinations) concerned(source Source, f fault, batch map[topicPartition]bool) []topicPartition {
	if source.Partition != schemas.AnyPartition && (!f.ofWholeTopic() || !source.SamePartition) {
		return []topicPartition{{source.Topic, source.Partition}}
	}
	all := d.waiting.of(source.Topic)
	for tp := range batch {
		if tp.topic == source.Topic && !slices.Contains(all, tp.partition) {
			all = append(all, tp.partition)
		}
	}
	out := make([]topicPartition, len(all))
	for i, partition := range all {
		out[i] = topicPartition{source.Topic, partition}
	}
	return out
}

// add has a partition wait. The caller holds mu.
func (d *destinations) add(from topicPartition, source Source, f fault, r refusal) *wait {
	w := &wait{to: topicPartition{r.rec.Topic, schemas.AnyPartition}, fault: f, err: r.err}
	if source.SamePartition {
		w.to.partition = from.partition
	}
	w.reason = reasonOf(w, found{})
	d.waits[from] = w
	d.n.Store(int32(len(d.waits)))
	d.untended.Store(true)
	d.cl.PauseFetchPartitions(map[string][]int32{from.topic: {from.partition}})
	l, again := d.looks[w.to.topic], d.lately[from]
	if l == nil {
		l = &look{}
		d.looks[w.to.topic] = l
	}
	if time.Since(again.at) > relapse {
		again.wait = 0
		l.said = ""
	}
	delete(d.lately, from)
	l.stale = l.stale || errors.Is(r.err, kerr.UnknownTopicID)
	l.wait = min(max(2*again.wait, leastDestinationWait), mostDestinationWait)
	l.at = time.Now().Add(l.wait)
	return w
}

// knowsTopic is outbox.knows; nil where nothing waits for destinations.
func (d *destinations) knowsTopic() func(topic string) bool {
	if d.cfg.Origin == nil {
		return nil
	}
	return func(topic string) bool {
		leader, _, err := d.cl.PartitionLeader(topic, 0)
		said, ok := errors.AsType[*kerr.Error](err)
		return leader >= 0 || ok && said != kerr.UnknownTopicOrPartition
	}
}

// has tells whether a partition waits.
func (d *destinations) has(topic string, partition int32) bool {
	if d.n.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waits[topicPartition{topic, partition}] != nil
}

// spare takes partitions that wait out of the offsets behind a batch, and tells whether there were
// none.
func (d *destinations) spare(ends map[string]map[int32]kgo.EpochOffset) (whole bool) {
	whole = true
	if d == nil || d.n.Load() == 0 {
		return whole
	}
	for topic, partitions := range ends {
		maps.DeleteFunc(partitions, func(partition int32, _ kgo.EpochOffset) bool {
			waits := d.has(topic, partition)
			whole = whole && !waits
			return waits
		})
	}
	return whole
}

// strip takes out of a poll what it has brought of partitions that have come to wait meanwhile.
func (d *destinations) strip(fetches kgo.Fetches) {
	if d.n.Load() > 0 {
		strip(fetches, d.has)
	}
}

// waking is told what ends the next poll, nil after it.
func (d *destinations) waking(wake func()) {
	d.mu.Lock()
	d.wake = wake
	d.mu.Unlock()
	if wake != nil && d.untended.Load() {
		wake()
	}
}

// tend lets partitions go on whose destinations take what they have refused, and has the client
// forget topics that are gone. It is called between two batches, by the goroutine that polls. settled
// waits until nothing is on its way, and returns the partitions that have come to wait to where they
// go on.
func (d *destinations) tend(settled func(partitions []topicPartition)) {
	if !d.untended.Swap(false) {
		return
	}
	purge, resume, young := []string(nil), map[string][]int32{}, []topicPartition(nil)
	d.mu.Lock()
	for from, w := range d.waits {
		switch {
		case !w.tended:
			w.tended = true
			young = append(young, from)
			if w.fault == tooLarge { // fewer records make a smaller batch, where the topic's limit cannot be learned
				d.polls.failed()
			}
		case w.taken:
			if !d.stalls.has(from.topic, from.partition) {
				resume[from.topic] = append(resume[from.topic], from.partition)
			}
			d.lately[from] = lapse{d.looks[w.to.topic].wait, time.Now()}
			delete(d.waits, from)
		}
	}
	for topic, l := range d.looks {
		if l.stale {
			purge = append(purge, topic)
			l.stale = false
		}
	}
	d.n.Store(int32(len(d.waits)))
	d.mu.Unlock()
	if len(young)+len(purge) > 0 && settled != nil {
		settled(young)
	}
	d.cl.PurgeTopicsFromProducing(purge...)
	if len(resume) > 0 {
		d.cl.ResumeFetchPartitions(resume)
		d.tell()
		for topic, partitions := range resume {
			d.log.Info().Str("topic", topic).Ints32("partitions", partitions).Msg("what answers these partitions is taken again; they go on")
		}
	}
	d.remind()
}

// remind has the prober look when it is to look next.
func (d *destinations) remind() {
	select {
	case d.due <- struct{}{}:
	default: // it has not seen the last one yet
	}
}

// gone forgets partitions that are taken away: whoever is assigned them finds out anew.
func (d *destinations) gone(partitions map[string][]int32) {
	if d == nil || d.n.Load() == 0 {
		return
	}
	resume, news := map[string][]int32{}, false
	d.mu.Lock()
	for topic, of := range partitions {
		for _, partition := range of {
			tp := topicPartition{topic, partition}
			if d.waits[tp] == nil {
				continue
			}
			delete(d.waits, tp)
			news = true
			resume[topic] = append(resume[topic], partition)
		}
	}
	d.n.Store(int32(len(d.waits)))
	d.mu.Unlock()
	if news {
		d.cl.ResumeFetchPartitions(resume)
		d.tell()
	}
}

// end tells that nothing waits any more, at the end of the session.
func (d *destinations) end() {
	d.mu.Lock()
	waited := len(d.waits) > 0
	clear(d.waits)
	d.mu.Unlock()
	d.n.Store(0)
	if waited {
		d.tell()
	}
}

// tell tells of all that waits.
func (d *destinations) tell() {
	if d.cfg.Awaited != nil {
		d.telling.Lock()
		defer d.telling.Unlock()
		d.cfg.Awaited(d.awaited())
	}
}

func (d *destinations) awaited() []Awaited {
	type key struct{ requests, topic, reason string }
	d.mu.Lock()
	defer d.mu.Unlock()
	by := map[key][]int32{}
	for from, w := range d.waits {
		k := key{from.topic, w.to.topic, w.reason}
		by[k] = append(by[k], from.partition)
	}
	out := make([]Awaited, 0, len(by))
	for k, partitions := range by {
		slices.Sort(partitions)
		out = append(out, Awaited{Requests: k.requests, Partitions: partitions, Topic: k.topic, Reason: k.reason})
	}
	slices.SortFunc(out, func(a, b Awaited) int {
		return cmp.Or(cmp.Compare(a.Requests, b.Requests), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// limits are how large a batch topics take that take less than they should. They outlive sessions,
// whose clients ask for them only once. limits is safe for concurrent use.
type limits struct {
	mu sync.Mutex
	of map[string]int32
}

// errLimit ends a session whose client is to ask again.
var errLimit = errors.New("a topic takes batches of another size than before")

// learn takes note of a topic's limit.
func (l *limits) learn(topic string, bytes int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[string]int32{}
	}
	l.of[topic] = bytes
}

// at returns how large a batch a topic takes, at most that many bytes.
func (l *limits) at(topic string, most int32) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, ok := l.of[topic]; ok {
		return min(n, most)
	}
	return most
}

// found is what a look at a topic has found.
type found struct {
	looked     bool
	missing    bool
	partitions int
	limit      int32 // 0: not known
}

// reasonOf says why a partition waits, and what mends that.
func reasonOf(w *wait, f found) string {
	topic := w.to.topic
	const apply = "`millrace topics apply`"
	switch {
	case f.missing, w.fault == noTopic && !f.looked:
		return fmt.Sprintf("topic %s does not exist; %s makes it", topic, apply)
	case f.looked && w.to.partition >= 0 && int(w.to.partition) >= f.partitions:
		return fmt.Sprintf("topic %s has %d partitions, fewer than its requests; %s adds them", topic, f.partitions, apply)
	case w.fault == noPartition:
		return fmt.Sprintf("topic %s has fewer partitions than its requests; %s adds them", topic, apply)
	case w.fault == forbidden:
		return lacking(kerr.TopicAuthorizationFailed, onTopics("Write", topic)).Error()
	case w.fault == tooLarge && f.limit > 0:
		return fmt.Sprintf("topic %s takes no message of that size: its max.message.bytes is %d; %s sets what is needed", topic, f.limit, apply)
	case w.fault == tooLarge:
		return fmt.Sprintf("topic %s takes no message of that size; %s sets its max.message.bytes", topic, apply)
	case w.fault == unanswered, w.fault == givenUp:
		return fmt.Sprintf("topic %s partition %d does not answer, while others do; see that its leader and replicas are there", topic, w.to.partition)
	case w.fault == noTopic: // and there is one by now
		return fmt.Sprintf("topic %s was deleted and made again; it is looked at", topic)
	}
	return fmt.Sprintf("topic %s partition %d does not take it: %v", topic, w.to.partition, w.err)
}
