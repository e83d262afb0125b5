package consumers

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// assignments knows, of each partition of a session, the id of the member that it was assigned
// to when its offset was fetched. A member that the group has given up joins anew under another
// id, and the client goes on with the partitions that it gets back as if nothing had happened: it
// neither says that they were lost nor asks how far another member has come meanwhile.
// assignments is safe for concurrent use.
type assignments struct {
	log      zerolog.Logger
	cl       atomic.Pointer[kgo.Client]
	group    string
	instance string // of a static member
	start    func(ctx context.Context, partitions []Unstarted) ([]int64, error)
	refuse   func(err error) // ends the session

	reading *reading // told where partitions begin; nil: nobody is

	mu      sync.Mutex
	members map[topicPartition]string
	fresh   map[topicPartition]int64 // where those begin that since has not returned yet
	times   int                      // how often partitions were assigned
	aside   []*UnreadableBatchError  // the next transaction commits offsets behind these batches
	stalls  *stalls                  // partitions of which nothing is committed; nil: none
}

func newAssignments(log zerolog.Logger) *assignments {
	return &assignments{log: log, members: map[topicPartition]string{}, fresh: map[topicPartition]int64{}}
}

// assignments returns the assignments of a session of the lane; refuse ends the session.
func (l *Lane) assignments(refuse func(err error)) *assignments {
	a := newAssignments(l.log)
	a.group, a.instance, a.start, a.refuse, a.reading = l.cfg.Name, l.staticInstance(), l.cfg.Start, refuse, l.reading
	return a
}

// OnNewClient implements kgo.HookNewClient.
func (a *assignments) OnNewClient(cl *kgo.Client) { a.cl.Store(cl) }

// fetched is told of the offsets of partitions that are assigned, before they are read.
func (a *assignments) fetched(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	cl := a.cl.Load()
	for backoff := longer(0); ; backoff = longer(backoff) {
		err := a.begin(ctx, cl, offsets)
		if err == nil {
			break
		}
		if hopeless(err) {
			a.refuse(err)
			return nil, err
		}
		if ctx.Err() != nil { // the session ends, perhaps by what another lane has found
			return nil, ctx.Err()
		}
		a.log.Warn().Err(err).Dur("retry_in", backoff).Msg("looking up where partitions begin failed; trying again")
		if err := sleep(ctx, backoff); err != nil {
			return nil, err
		}
	}
	if a.reading != nil {
		a.reading.assigned(offsets)
	}
	member, _ := cl.GroupMetadata()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.times++
	for topic, partitions := range offsets {
		for partition, o := range partitions {
			tp := topicPartition{topic, partition}
			a.members[tp], a.fresh[tp] = member, o.EpochOffset().Offset
		}
	}
	return offsets, nil
}

// since returns the partitions that were assigned between the poll before and this one: what was
// known of them may have a gap. A partition of which this poll still brought records from before
// its assignment is returned later.
func (a *assignments) since(fetches kgo.Fetches) map[string][]int32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.fresh) == 0 {
		return nil
	}
	older := map[topicPartition]bool{} // polled before their partition was assigned anew
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		tp := topicPartition{p.Topic, p.Partition}
		if at, ok := a.fresh[tp]; ok && len(p.Records) > 0 && p.Records[0].Offset < at {
			older[tp] = true
		}
	})
	since := map[string][]int32{}
	for tp := range a.fresh {
		if !older[tp] {
			since[tp.topic] = append(since[tp.topic], tp.partition)
			delete(a.fresh, tp)
		}
	}
	return since
}

// check refuses records that were polled as a member that the group has replaced.
func (a *assignments) check(fetches kgo.Fetches) error {
	member, _ := a.cl.Load().GroupMetadata()
	a.mu.Lock()
	defer a.mu.Unlock()
	var err error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) > 0 && a.members[topicPartition{p.Topic, p.Partition}] != member {
			err = errReplaced
		}
	})
	return err
}

// setAside has the next transaction commit offsets behind these batches. It returns how often
// partitions were assigned.
func (a *assignments) setAside(aside []*UnreadableBatchError) (times int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.aside = aside
	return a.times
}

// complete takes partitions that are stopped out of the commit of a transaction, of which the
// client commits all that was polled, and adds those that go on behind a batch that was set aside.
func (a *assignments) complete(req *kmsg.TxnOffsetCommitRequest) {
	if a.stalls != nil && a.stalls.err() != nil {
		for i := range req.Topics {
			t := &req.Topics[i]
			t.Partitions = slices.DeleteFunc(t.Partitions, func(p kmsg.TxnOffsetCommitRequestTopicPartition) bool {
				return a.stalls.has(t.Topic, p.Partition)
			})
		}
		req.Topics = slices.DeleteFunc(req.Topics, func(t kmsg.TxnOffsetCommitRequestTopic) bool { return len(t.Partitions) == 0 })
	}
	for _, e := range a.aside {
		t := kmsg.NewTxnOffsetCommitRequestTopic()
		t.Topic, t.TopicID = e.Topic, e.TopicID
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch = e.Partition, e.Next, e.epoch
		t.Partitions = append(t.Partitions, p)
		at := slices.IndexFunc(req.Topics, func(t kmsg.TxnOffsetCommitRequestTopic) bool { return t.Topic == e.Topic })
		if at < 0 {
			req.Topics = append(req.Topics, t)
		} else {
			req.Topics[at].Partitions = append(req.Topics[at].Partitions, p)
		}
	}
}

// guardTransaction returns a context under which a transaction is aborted that would commit
// offsets of partitions which another member was assigned.
func (a *assignments) guardTransaction(ctx context.Context) context.Context {
	return kgo.PreTxnCommitFnContext(ctx, func(req *kmsg.TxnOffsetCommitRequest) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.complete(req)
		for i := range req.Topics {
			for _, p := range req.Topics[i].Partitions {
				if a.members[topicPartition{req.Topics[i].Topic, p.Partition}] != req.MemberID {
					return errReplaced
				}
			}
		}
		return nil
	})
}

// guardCommits returns a context under which offsets of partitions that another member was
// assigned are not committed: fail is told instead.
func (a *assignments) guardCommits(ctx context.Context, fail func(error)) context.Context {
	return kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		for i := range req.Topics {
			for _, p := range req.Topics[i].Partitions {
				if a.members[topicPartition{req.Topics[i].Topic, p.Partition}] != req.MemberID {
					fail(errReplaced)
					return errReplaced
				}
			}
		}
		return nil
	})
}
