package consumers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// lookTimeout bounds one look at all destinations that are due.
const lookTimeout = 4 * time.Second

// probe looks at what is waited for, until ctx ends. A look produces what was refused once more, by
// a client of its own, in a transaction that it aborts: so it neither holds up the lane nor shows
// readers of committed records anything. Each look is by a new client, which knows no topic from
// before it was made again.
func (d *destinations) probe(ctx context.Context) {
	for {
		var timer <-chan time.Time
		if at, ok := d.nextLook(); ok {
			timer = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return
		case <-d.due:
		case <-timer:
			d.look(ctx)
		}
	}
}

// nextLook returns when the next look is due; ok is false where nothing waits for one.
func (d *destinations) nextLook() (at time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.waits {
		if l := d.looks[w.to.topic]; w.tended && !w.taken && (!ok || l.at.Before(at)) {
			at, ok = l.at, true
		}
	}
	return at, ok
}

// asked is a partition that waits, as one look asks for it.
type asked struct {
	from topicPartition
	*wait
	said error // why its sample was refused
}

// look asks the topics that are due whether they take what they have refused.
func (d *destinations) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	now := time.Now()
	byTopic := map[string][]*asked{}
	d.mu.Lock()
	for from, w := range d.waits {
		if w.tended && !w.taken && !d.looks[w.to.topic].at.After(now) {
			byTopic[w.to.topic] = append(byTopic[w.to.topic], &asked{from: from, wait: w})
		}
	}
	d.mu.Unlock()
	for topic, all := range byTopic {
		f, err := d.ask(ctx, topic, all)
		if ctx.Err() != nil && err == nil {
			err = ctx.Err()
		}
		d.learn(topic, all, f, err)
	}
}

// ask looks at one topic. An error says that it could not be looked at.
func (d *destinations) ask(ctx context.Context, topic string, all []*asked) (found, error) {
	cl, err := d.cfg.Dial(
		kgo.TransactionalID(fmt.Sprintf("%s-%s-%d-probe", d.cfg.Name, d.cfg.Instance, d.cfg.Lane)), kgo.TransactionTimeout(2*lookTimeout),
		kgo.WithContext(ctx), kgo.RecordDeliveryTimeout(lookTimeout/2), kgo.UnknownTopicRetries(0), kgo.MetadataMinAge(leastDestinationWait),
		kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerBatchMaxBytesFn(d.maxBytes), kgo.ProducerBatchCompression(kgo.SnappyCompression()), kgo.MaxBufferedBytes(256<<20))
	if err != nil {
		return found{}, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	details, err := adm.ListTopics(kadm.WithAuthorizedOps(ctx), topic) // which makes kadm ask a broker, and not its cache
	if err != nil {
		return found{}, err
	}
	t := details[topic]
	f := found{looked: true, partitions: len(t.Partitions), missing: errors.Is(t.Err, kerr.UnknownTopicOrPartition)}
	switch {
	case f.missing:
		return f, nil
	case errors.Is(t.Err, kerr.TopicAuthorizationFailed): // not even to be seen
		for _, a := range all {
			a.said = t.Err
		}
		return found{}, nil
	case t.Err != nil:
		return found{}, t.Err
	}
	f.limit = d.learnLimit(ctx, adm, topic, all)
	return f, d.produce(ctx, cl, f, all)
}

// learnLimit learns how large a batch a topic takes that has found one too large; 0 where it is not
// to be known.
func (d *destinations) learnLimit(ctx context.Context, adm *kadm.Client, topic string, all []*asked) int32 {
	of := false
	for _, a := range all {
		of = of || a.fault == tooLarge
	}
	if !of {
		return 0
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return 0
	}
	limit := int64(0)
	for _, rc := range configs {
		for _, c := range rc.Configs {
			if c.Key == "max.message.bytes" {
				limit, _ = strconv.ParseInt(c.MaybeValue(), 10, 32)
			}
		}
	}
	if limit < 1<<10 { // with less, the client opens no session
		return 0
	}
	before := d.maxBytes(topic)
	d.limits.learn(topic, int32(limit))
	if d.maxBytes(topic) != before { // else the client makes the same batches as now
		d.renew(fmt.Errorf("topic %s takes %d bytes: %w", topic, limit, errLimit))
	}
	return int32(limit)
}

// produce produces what was refused, and aborts it.
func (d *destinations) produce(ctx context.Context, cl *kgo.Client, f found, all []*asked) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	var mu sync.Mutex
	session := error(nil)
	said := map[*asked]error{} // a promise can be kept after ctx has ended and all is told, so asked has it later
	for _, a := range all {
		if int(a.to.partition) >= f.partitions {
			a.said = errors.New(noSuchPartition)
			continue
		}
		for _, r := range a.sample.records {
			again := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}
			cl.Produce(ctx, again, func(_ *kgo.Record, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil && said[a] == nil {
					said[a] = err
				}
				if err != nil && faultOf(err) == ofSession {
					session = err
				}
			})
		}
	}
	err := cl.Flush(ctx)
	if aborted := cl.AbortBufferedRecords(ctx); err == nil {
		err = aborted
	}
	if ended := cl.EndTransaction(ctx, kgo.TryAbort); err == nil {
		err = ended
	}
	mu.Lock()
	defer mu.Unlock()
	mayNot := errors.Is(session, kerr.TransactionalIDAuthorizationFailed)
	for a, err := range said {
		// Who may not use the probe's transactional id is told nothing of the topic by that. The lane
		// itself finds out, at growing intervals.
		if !mayNot || faultOf(err) != ofSession {
			a.said = err
		}
	}
	switch {
	case mayNot:
		return nil
	case session != nil:
		return session
	}
	return err
}

// learn takes note of what a look has found.
func (d *destinations) learn(topic string, all []*asked, f found, failed error) {
	taken, refused, news := 0, error(nil), false
	for _, a := range all {
		if a.said != nil && faultOf(a.said).ofWholeTopic() {
			refused = a.said
		}
	}
	d.mu.Lock()
	l := d.looks[topic]
	for _, a := range all {
		if d.waits[a.from] != a.wait {
			continue // it was taken away
		}
		said := a.said
		if said == nil && len(a.sample.records) == 0 {
			said = refused
		}
		if failed == nil && said == nil && !f.missing && d.knows(a.wait) {
			a.taken = true
			taken++
			continue
		}
		switch {
		case f.missing:
			a.fault = noTopic
		case said != nil:
			a.fault, a.err = faultOf(said), said
		}
		if reason := reasonOf(a.wait, f); (f.looked || said != nil) && reason != a.reason {
			a.reason, news = reason, true
		}
		if l.said != a.reason {
			l.said = a.reason
			d.log.Error().Str("topic", a.from.topic).Int32("partition", a.from.partition).Str("to", topic).Str("reason", a.reason).
				Msg("what answers this partition is not taken; it waits, and the others go on")
		}
	}
	if failed == nil {
		l.stale = l.stale || f.missing && !l.missing
		l.missing = f.missing
	}
	l.wait = min(2*l.wait, mostDestinationWait)
	l.at = time.Now().Add(l.wait)
	wake := d.wake
	tend := taken > 0 || l.stale
	if tend {
		d.untended.Store(true)
	}
	d.mu.Unlock()
	if news {
		d.tell()
	}
	if tend && wake != nil {
		wake()
	}
}

// knows tells whether the lane's client knows a partition that was not there, and has it ask where
// it does not. The caller holds mu.
func (d *destinations) knows(w *wait) bool {
	if w.fault != noPartition || w.to.partition == schemas.AnyPartition {
		return true
	}
	if leader, _, _ := d.cl.PartitionLeader(w.to.topic, w.to.partition); leader >= 0 {
		return true
	}
	if leader, _, _ := d.cl.PartitionLeader(w.to.topic, 0); leader < 0 { // it knows nothing of the topic, and will ask
		return true
	}
	d.cl.ForceMetadataRefresh()
	return false
}
