package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline"
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
	Brokers            []string       `json:"brokers"`
	Group              string         `json:"group"`
	Delivery           Delivery       `json:"delivery"`
	Topics             schemas.Topics `json:"topics"`
	SessionTimeout     time.Duration  `json:"session_timeout"`
	TransactionTimeout time.Duration  `json:"transaction_timeout"`
	Lanes              int            `json:"lanes"`
	MinRecords         int            `json:"min_records"`     // polled before they are answered, while there are more; 0: as many as one poll gives
	MaxRecords         int            `json:"max_records"`     // of one batch
	RowsEach           int64          `json:"rows_per_record"` // of a request
	Sample             sample         `json:"sample"`
	Profile            string         `json:"profile"`
}

// passLane is one lane of a pass-through.
type passLane struct {
	*passThroughSpec
	client  []kgo.Opt
	results string             // topic
	headers []kgo.RecordHeader // of observations
	next    int                // result of the sample
	batches *atomic.Int64      // of all lanes
	rows    *atomic.Int64      // of all lanes
}

// passThrough consumes requests and produces the sample, until its parent wants the end. Its
// clients have the options of the lanes' clients, and it collects garbage as a worker does; what
// it does with them is its own, and does not follow the lanes.
func passThrough(ctx context.Context, c *child) error {
	defer pipeline.SetGCPercent()()
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
		l := newPassLane(ctx, &spec, &batches, &rows)
		group.Go(func() error { return l.run(lanes, lane) }) // ends with ctx
	}
	err = c.answerUntil(group.Wait, func() (roleStats, error) {
		s, err := processStats()
		s.Batches, s.Rows = batches.Load(), rows.Load()
		return s, err
	})
	return errors.Join(err, writeProfiles())
}

func newPassLane(ctx context.Context, spec *passThroughSpec, batches, rows *atomic.Int64) *passLane {
	lane := consumers.NewLane(consumers.LaneConfig{
		Connection:  connection(spec.Brokers, "bench-pass-through"),
		Group:       consumers.Group{Name: spec.Group, SessionTimeout: spec.SessionTimeout},
		TopicPrefix: spec.Topics.Requests, MaxBytes: spec.Topics.MaxBytes, TransactionTimeout: spec.TransactionTimeout,
	}, zerolog.Nop())
	return &passLane{
		passThroughSpec: spec,
		client:          lane.ClientOptions(context.WithoutCancel(ctx)), // closed in order, and not cut off, when ctx ends
		results:         spec.Topics.ResultsOf(modelName),
		headers: []kgo.RecordHeader{
			{Key: schemas.HeaderModel, Value: []byte(modelName)},
			{Key: schemas.HeaderVersion, Value: []byte("1")},
			{Key: schemas.HeaderRows, Value: strconv.AppendInt(nil, spec.Sample.ObservationRows, 10)},
		},
		batches: batches, rows: rows,
	}
}

func (l *passLane) run(ctx context.Context, lane int) error {
	if l.Delivery == ExactlyOnce {
		return l.exactlyOnce(ctx, lane)
	}
	return l.atLeastOnce(ctx)
}

// exactlyOnce ends a transaction for each batch before it polls the next one.
func (l *passLane) exactlyOnce(ctx context.Context, lane int) error {
	sess, err := kgo.NewGroupTransactSession(append(l.client,
		kgo.TransactionalID(fmt.Sprintf("%s-%d", l.Group, lane)), kgo.TransactionTimeout(l.TransactionTimeout), kgo.ProducerLinger(time.Second))...)
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	defer sess.CloseAllowingRebalance()
	b := newPassBatch()
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
		l.produce(ctx, sess.Client(), b, fetches)
		if err := sess.Client().Flush(ctx); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
		if err := b.acknowledged(); err != nil {
			return err
		}
		if _, err := sess.End(ctx, kgo.TryCommit); err != nil && ctx.Err() == nil {
			return fmt.Errorf("end a transaction: %w", err)
		}
		b.recycle()
	}
}

// passFlights is how many batches of a lane may be on their way at least once, as many as a
// worker's.
const passFlights = 4

// atLeastOnce polls while batches are on their way. They are awaited, and their offsets marked for
// commit, in the order in which they were polled, and before partitions go to another lane.
func (l *passLane) atLeastOnce(ctx context.Context) error {
	work, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var flying sync.WaitGroup // no batch starts while partitions are handed over
	cl, err := kgo.NewClient(append(l.client,
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(100*time.Millisecond), kgo.ProducerLinger(0), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, _ map[string][]int32) {
			flying.Wait()
			if err := cl.CommitMarkedOffsets(ctx); err != nil {
				fail(fmt.Errorf("commit before a rebalance: %w", err))
			}
		}))...)
	if err != nil {
		return fmt.Errorf("open a client: %w", err)
	}
	defer cl.CloseAllowingRebalance()
	flights, free := make(chan *passBatch, passFlights), make(chan *passBatch, passFlights)
	for range passFlights {
		free <- newPassBatch()
	}
	landed := make(chan struct{})
	go func() { // ends with flights
		defer close(landed)
		for b := range flights {
			if err := b.acknowledged(); err != nil {
				fail(err)
			}
			if work.Err() == nil {
				b.mark(cl)
			}
			b.recycle()
			free <- b
			flying.Done()
		}
	}()
	defer func() {
		close(flights)
		<-landed
	}()
	for {
		fetches, err := l.poll(work, cl)
		if ctx.Err() != nil {
			return nil
		}
		if work.Err() != nil {
			return context.Cause(work)
		}
		if err != nil {
			return err
		}
		b := <-free
		l.produce(work, cl, b, fetches)
		flying.Add(1)
		flights <- b
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

// produce answers what was polled.
func (l *passLane) produce(ctx context.Context, cl *kgo.Client, b *passBatch, polled kgo.Fetches) {
	b.polled, b.used = polled, 0
	rows := int64(0)
	polled.EachRecord(func(r *kgo.Record) {
		*b.record() = kgo.Record{Topic: l.results, Partition: r.Partition, Key: r.Key, Value: l.Sample.Results[l.next], Headers: r.Headers}
		l.next = (l.next + 1) % len(l.Sample.Results)
		rows += l.RowsEach
	})
	if rows == 0 {
		return
	}
	l.batches.Add(1)
	l.rows.Add(rows)
	for rows > 0 {
		n := min(rows, l.Sample.ObservationRows)
		rows -= n
		value := l.Sample.Observation[:int64(len(l.Sample.Observation))*n/l.Sample.ObservationRows]
		*b.record() = kgo.Record{Topic: l.Topics.Observations, Key: l.headers[0].Value, Value: value, Headers: l.headers}
	}
	b.open.Add(b.used)
	for i := range b.used {
		cl.Produce(ctx, &b.blocks[i/passBlock][i%passBlock], b.promise)
	}
}

// passBatch is what was polled together, and what is produced of it. Its memory is used again.
type passBatch struct {
	polled  kgo.Fetches    // what is produced points into it
	blocks  [][]kgo.Record // never moved, since the client keeps pointers
	used    int
	open    sync.WaitGroup // promises
	failed  atomic.Pointer[error]
	promise func(*kgo.Record, error)
}

func newPassBatch() *passBatch {
	b := &passBatch{}
	b.promise = func(_ *kgo.Record, err error) {
		if err != nil {
			failure := err // or every err would be on the heap
			b.failed.CompareAndSwap(nil, &failure)
		}
		b.open.Done()
	}
	return b
}

const passBlock = 1024

// record returns the next record to fill.
func (b *passBatch) record() *kgo.Record {
	if b.used/passBlock == len(b.blocks) {
		b.blocks = append(b.blocks, make([]kgo.Record, passBlock))
	}
	r := &b.blocks[b.used/passBlock][b.used%passBlock]
	b.used++
	return r
}

// acknowledged waits for all that was produced. A lane ends with the first failure.
func (b *passBatch) acknowledged() error {
	b.open.Wait()
	if failed := b.failed.Load(); failed != nil {
		return fmt.Errorf("produce: %w", *failed)
	}
	return nil
}

// mark marks the offsets behind the batch for commit.
func (b *passBatch) mark(cl *kgo.Client) {
	b.polled.EachPartition(func(p kgo.FetchTopicPartition) {
		if n := len(p.Records); n > 0 {
			cl.MarkCommitRecords(p.Records[n-1])
		}
	})
}

// recycle gives the memory of what was polled back to the client.
func (b *passBatch) recycle() {
	b.polled.EachRecord((*kgo.Record).Recycle)
	b.polled = nil
}
