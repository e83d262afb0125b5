package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/kafka"
)

// Why what a former owner writes is there before its successor looks, or never.
//
// Rows: each insert bears a lease that its owner has announced in a commit, which Kafka refuses where
// the group has given the partition to another. Whoever gets the partition waits at every server until
// the lease is over and the inserts that have begun have ended; see deadline.go in sinks/clickhouse.
//
// Events: each partition has a transactional id. An owner takes it over before it announces for the
// first time, and so before it publishes. A former owner has taken it over, and then announced, before
// its successor got the partition: the successor fences it. If it thaws, and takes the id over once more,
// it has to announce before it publishes, and cannot; its successor, fenced by that, does the same, and can.

// Group names the consumer group of those who judge, whichever they are.
func Group(topics schemas.Topics) string { return topics.Control + "-monitors" }

// TransactionalID is that of the events of a partition's models.
func TransactionalID(topics schemas.Topics, partition int32) string {
	return Group(topics) + "-" + strconv.Itoa(int(partition))
}

// Topic is the one by whose partitions models are shared. It has several, for any number of models.
func Topic(topics schemas.Topics) string { return topics.Feedback }

// tables are all that owners write to.
var tables = []string{
	"windows", "drift_results", "accuracy_results", "label_looks", "label_counts", "learned_references", "break_states",
	"accuracy_segments", "requirement_results", "label_delays", "learned_estimators", "alarm_calibrations", "alarms",
}

// Office is what owners need to have in common.
type Office struct {
	Connection consumers.Connection
	Session    time.Duration // a holder that is silent for this long has left
	Topics     schemas.Topics
	MaxBytes   func(topic string) int
	Client     *clickhouse.Client
	Deadline   time.Duration // from an announcement to the refusal of its inserts
	Log        zerolog.Logger
	Health     func(err error) // nil: nobody is told
}

// Open returns an Office of a configuration.
func Open(cfg config.Config, connection consumers.Connection, client *clickhouse.Client, log zerolog.Logger) Office {
	return Office{
		Connection: connection, Session: cfg.Kafka.SessionTimeout, Topics: cfg.Topics.Topics, MaxBytes: cfg.Topics.MaxBytes,
		Client: client, Deadline: cfg.Recorder.InsertDeadline, Log: log,
	}
}

// Share shares the work on models until ctx ends, as consumers.Sharing does. work is called for each partition
// that this process owns, after all that earlier owners have begun is over.
func (o Office) Share(ctx context.Context, work func(ctx context.Context, own *Owner) error) error {
	return o.share(ctx, "", work)
}

func (o Office) share(ctx context.Context, model string, work func(ctx context.Context, own *Owner) error) error {
	sharing := consumers.Sharing{
		Connection: o.Connection, Group: consumers.Group{Name: Group(o.Topics), SessionTimeout: o.Session}, Topic: Topic(o.Topics),
		Wanted: model, Log: o.Log, Health: o.Health,
	}
	return sharing.Run(ctx, func(ctx context.Context, held *consumers.Share) error {
		own := &Owner{office: o, held: held}
		defer own.leave(ctx)
		if err := own.takeOver(ctx); err != nil {
			if o.Health != nil && ctx.Err() == nil {
				o.Health(err)
			}
			return err
		}
		return work(ctx, own)
	})
}

// ErrTaken says that the ownership ended in the middle of the work.
var ErrTaken = errors.New("another process has taken over the work on the model, since this one was not heard of in time")

// Take owns a model while work runs, once. Monitors that own its partition give it up before, and
// go on afterwards.
func (o Office) Take(ctx context.Context, model string, work func(ctx context.Context, own *Owner) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var once sync.Once
	var refused error
	o.Health = func(err error) {
		if err != nil { // a command waits for no mending
			once.Do(func() { refused = err; stop(err) })
		}
	}
	began, worked := false, error(nil)
	err := o.share(ctx, model, func(held context.Context, own *Owner) error {
		if began || !own.Owns(model) {
			return nil
		}
		began = true
		worked = work(held, own)
		if held.Err() != nil && ctx.Err() == nil {
			worked = errors.Join(ErrTaken, worked)
		}
		stop(nil)
		return nil
	})
	if err == nil && refused == nil && !began {
		err = context.Cause(ctx)
	}
	return errors.Join(err, refused, worked)
}

// Owner is the ownership of a partition's models: a history.Conn and a drift.Publisher that write within it. It is
// safe for concurrent use.
type Owner struct {
	office Office
	held   *consumers.Share

	mu         sync.Mutex
	transactor *kafka.Transactor
	lease      schemas.Lease // announced; zero: none
	at         time.Time     // when lease was announced, by this process's clock
	unsettled  bool          // an insert of the lease has got no answer
}

// Owns tells whether a model is the owner's.
func (o *Owner) Owns(model string) bool { return o.held.Holds(model) }

// Partition is the one whose models are owned.
func (o *Owner) Partition() int32 { return o.held.Partition }

// takeOver returns when nothing of earlier owners can come any more.
func (o *Owner) takeOver(ctx context.Context) error {
	if err := o.fence(ctx); err != nil {
		return err
	}
	if o.held.Earlier.IsZero() {
		return nil
	}
	client := o.office.Client
	if err := client.AwaitLease(ctx, o.held.Earlier, func(error) {}); err != nil {
		return err
	}
	for _, table := range tables {
		if err := client.AwaitInserts(ctx, table); err != nil {
			return err
		}
	}
	return nil
}

// fence takes over the transactional id. What is published afterwards needs a new announcement.
func (o *Owner) fence(ctx context.Context) error {
	t, err := kafka.NewTransactor(ctx, o.office.Connection.Dial, TransactionalID(o.office.Topics, o.held.Partition))
	if err != nil {
		return err
	}
	o.transactor, o.at = t, time.Time{}
	return nil
}

// leave takes back what was announced, so that the next owner does not wait, unless something is still to come.
func (o *Owner) leave(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.transactor != nil {
		o.transactor.Close()
	}
	if o.unsettled || o.lease.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := o.held.Announce(ctx, schemas.Lease{}); err != nil {
		o.office.Log.Debug().Err(err).Int32("partition", o.held.Partition).Msg("the next owner waits until what was announced is over")
	}
}

// announced returns a lease of which at least half is left. The caller holds mu.
func (o *Owner) announced(ctx context.Context) (schemas.Lease, error) {
	if !o.at.IsZero() && time.Since(o.at) < o.lease.Span()/2 {
		return o.lease, nil
	}
	began := time.Now()
	now, err := o.office.Client.Now(ctx)
	if err != nil {
		return schemas.Lease{}, err
	}
	lease := schemas.Lease{Announced: now, Deadline: now.Add(o.office.Deadline)}
	if err := o.held.Announce(ctx, lease); err != nil {
		return schemas.Lease{}, fmt.Errorf("own the models of partition %d: %w", o.held.Partition, err)
	}
	o.lease, o.at = lease, began
	return lease, nil
}

// Select implements history.Conn.
func (o *Owner) Select(ctx context.Context, dest any, query string, args ...any) error {
	return o.office.Client.Select(ctx, dest, query, args...)
}

// InsertRows implements history.Conn, within the ownership.
func (o *Owner) InsertRows(ctx context.Context, table string, rows any) error {
	o.mu.Lock()
	lease, err := o.announced(ctx)
	o.mu.Unlock()
	if err != nil {
		return err
	}
	if err = o.office.Client.InsertRowsWithin(ctx, table, rows, lease); err == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at = time.Time{} // it may be over
	o.unsettled = o.unsettled || !clickhouse.Answered(err)
	return err
}

// Publish implements drift.Publisher, within the ownership.
func (o *Owner) Publish(ctx context.Context, e schemas.Event) error {
	m, err := kafka.EventMessage(o.office.Topics.Events, e)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.transactor == nil {
		if err := o.fence(ctx); err != nil {
			return err
		}
	}
	if _, err := o.announced(ctx); err != nil {
		return err
	}
	if err := o.transactor.Commit(ctx, []schemas.Message{m}); err != nil {
		o.transactor.Close()
		o.transactor = nil
		return err
	}
	return nil
}
