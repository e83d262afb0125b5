package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/schemas"
)

// sample is what a worker has produced, for pass-through to produce again.
type sample struct {
	Results         [][]byte `json:"results"`          // values of some results
	Observation     []byte   `json:"observation"`      // value of the largest observation record
	ObservationRows int64    `json:"observation_rows"` // in it
}

// passThroughSpec says what a pass-through consumes and produces.
type passThroughSpec struct {
	Brokers      []string `json:"brokers"`
	Group        string   `json:"group"`
	Delivery     Delivery `json:"delivery"`
	Requests     string   `json:"requests"` // topics
	Results      string   `json:"results"`
	Observations string   `json:"observations"`
	Lanes        int      `json:"lanes"`
	MinRecords   int      `json:"min_records"`     // polled before they are answered, while there are more; 0: as many as one poll gives
	MaxRecords   int      `json:"max_records"`     // of one poll
	RowsEach     int64    `json:"rows_per_record"` // of a request
	Sample       sample   `json:"sample"`
	Profile      string   `json:"profile"`
}

// passLane is one lane of a pass-through.
type passLane struct {
	*passThroughSpec
	blocks  [][]kgo.Record // never moved, since the client keeps pointers
	used    int
	headers []kgo.RecordHeader // of observations
	next    int                // result of the sample
	open    sync.WaitGroup     // promises
	failed  atomic.Pointer[error]
	promise func(*kgo.Record, error)
	batches *atomic.Int64 // of all lanes
	rows    *atomic.Int64 // of them
}

// passThrough consumes requests and produces the sample, until its parent wants the end.
// Its options are those that the lanes had when it was written: it is a fixed measure, and does
// not follow them.
func passThrough(ctx context.Context, c *child) error {
	var spec passThroughSpec
	if err := c.read(&spec); err != nil {
		return err
	}
	writeProfiles, err := profile(spec.Profile)
	if err != nil {
		return err
	}
	var batches, rows atomic.Int64
	group, lanes := errgroup.WithContext(ctx)
	for lane := range spec.Lanes {
		l := &passLane{passThroughSpec: &spec, batches: &batches, rows: &rows, headers: []kgo.RecordHeader{
			{Key: schemas.HeaderModel, Value: []byte(modelName)},
			{Key: schemas.HeaderVersion, Value: []byte("1")},
			{Key: schemas.HeaderRows, Value: strconv.AppendInt(nil, spec.Sample.ObservationRows, 10)},
		}}
		l.promise = func(_ *kgo.Record, err error) {
			if err != nil {
				failure := err // or every err would be on the heap
				l.failed.CompareAndSwap(nil, &failure)
			}
			l.open.Done()
		}
		group.Go(func() error { return l.run(lanes, lane) }) // ends with ctx
	}
	err = c.answerUntil(group.Wait, func() (roleStats, error) {
		s, err := processStats()
		s.Batches, s.Rows = batches.Load(), rows.Load()
		return s, err
	})
	return errors.Join(err, writeProfiles())
}

func (l *passLane) options() []kgo.Opt {
	const session = 10 * time.Second
	return []kgo.Opt{
		kgo.SeedBrokers(l.Brokers...), kgo.ClientID("bench-pass-through"),
		kgo.ConsumerGroup(l.Group), kgo.ConsumeTopics(l.Requests),
		kgo.SessionTimeout(session), kgo.HeartbeatInterval(session / 4), kgo.RebalanceTimeout(6 * session),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(500 * time.Millisecond), kgo.FetchMaxBytes(32 << 20), kgo.FetchMaxPartitionBytes(8 << 20),
		kgo.BrokerMaxReadBytes(128 << 20),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytesFn(l.maxBytes),
		kgo.ProducerBatchCompression(kgo.SnappyCompression()),
		kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1 << 20), kgo.MaxBufferedBytes(256 << 20),
	}
}

func (l *passLane) maxBytes(topic string) int32 {
	if topic == l.Observations {
		return schemas.MaxSmallRecordBytes
	}
	return schemas.MaxResultBytes
}

func (l *passLane) run(ctx context.Context, lane int) error {
	if l.Delivery == ExactlyOnce {
		return l.exactlyOnce(ctx, lane)
	}
	return l.atLeastOnce(ctx)
}

// exactlyOnce ends a transaction for each poll.
func (l *passLane) exactlyOnce(ctx context.Context, lane int) error {
	sess, err := kgo.NewGroupTransactSession(append(l.options(),
		kgo.TransactionalID(fmt.Sprintf("%s-%d", l.Group, lane)), kgo.TransactionTimeout(10*time.Second), kgo.ProducerLinger(time.Second))...)
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	defer sess.CloseAllowingRebalance()
	for {
		fetches, err := l.poll(ctx, sess.Client())
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := sess.Begin(); err != nil {
			return fmt.Errorf("begin a transaction: %w", err)
		}
		if err := l.produce(ctx, sess.Client(), fetches); err != nil {
			return err
		}
		if _, err := sess.End(ctx, kgo.TryCommit); err != nil && ctx.Err() == nil {
			return fmt.Errorf("end a transaction: %w", err)
		}
	}
}

// atLeastOnce commits the offsets of a poll when what it produced is acknowledged, and before the
// partitions go to another lane.
func (l *passLane) atLeastOnce(ctx context.Context) error {
	cl, err := kgo.NewClient(append(l.options(), kgo.AutoCommitMarks(), kgo.AutoCommitInterval(100*time.Millisecond), kgo.BlockRebalanceOnPoll())...)
	if err != nil {
		return fmt.Errorf("open a client: %w", err)
	}
	defer cl.CloseAllowingRebalance()
	for {
		fetches, err := l.poll(ctx, cl)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := l.produce(ctx, cl, fetches); err != nil {
			return err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if n := len(p.Records); n > 0 {
				cl.MarkCommitRecords(p.Records[n-1])
			}
		})
		cl.AllowRebalance()
	}
}

// pollAgain is how long further records are awaited: the last batch of a topic is smaller.
const pollAgain = 50 * time.Millisecond

// poll gathers a batch.
func (l *passLane) poll(ctx context.Context, cl *kgo.Client) (kgo.Fetches, error) {
	batch := cl.PollRecords(ctx, l.MaxRecords)
	for ctx.Err() == nil && batch.Err() == nil && batch.NumRecords() < l.MinRecords {
		again, cancel := context.WithTimeout(ctx, pollAgain)
		more := cl.PollRecords(again, l.MinRecords-batch.NumRecords())
		late := again.Err() != nil
		cancel()
		if late && more.NumRecords() == 0 {
			break
		}
		batch = append(batch, more...)
	}
	if err := batch.Err(); err != nil {
		return nil, fmt.Errorf("poll: %w", err)
	}
	return batch, nil
}

// produce answers what was polled, and waits for the acknowledgements.
func (l *passLane) produce(ctx context.Context, cl *kgo.Client, fetches kgo.Fetches) error {
	l.used = 0
	rows := int64(0)
	fetches.EachRecord(func(r *kgo.Record) {
		*l.record() = kgo.Record{Topic: l.Results, Partition: r.Partition, Key: r.Key, Value: l.Sample.Results[l.next], Headers: r.Headers}
		l.next = (l.next + 1) % len(l.Sample.Results)
		rows += l.RowsEach
	})
	if rows == 0 {
		return nil
	}
	l.batches.Add(1)
	l.rows.Add(rows)
	for rows > 0 {
		n := min(rows, l.Sample.ObservationRows)
		rows -= n
		value := l.Sample.Observation[:int64(len(l.Sample.Observation))*n/l.Sample.ObservationRows]
		*l.record() = kgo.Record{Topic: l.Observations, Key: l.headers[0].Value, Value: value, Headers: l.headers}
	}
	l.open.Add(l.used)
	for i := range l.used {
		cl.Produce(ctx, &l.blocks[i/passBlock][i%passBlock], l.promise)
	}
	if err := cl.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	l.open.Wait()
	if failed := l.failed.Load(); failed != nil {
		return fmt.Errorf("produce: %w", *failed)
	}
	return nil
}

const passBlock = 1024

// record returns the next record to fill.
func (l *passLane) record() *kgo.Record {
	if l.used/passBlock == len(l.blocks) {
		l.blocks = append(l.blocks, make([]kgo.Record, passBlock))
	}
	r := &l.blocks[l.used/passBlock][l.used%passBlock]
	l.used++
	return r
}
