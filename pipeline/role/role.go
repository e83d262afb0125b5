package role

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
)

// Env is what one role gets from its process. It is safe for concurrent use.
type Env struct {
	Role   config.Role
	Config config.Config
	Kafka  consumers.Connection // what every client of Kafka is dialled by
	Log    zerolog.Logger
	Memory memory.Allocator
	Ready  *Readiness // of the whole process
	Done   *Progress  // of the whole process
	Began  func()     // called once, when the role is set up: from now on it fails alone
}

// Progress counts what the roles of a process have done. It may be read at any time.
type Progress struct {
	Answered     atomic.Int64 // requests with a result
	DeadLetters  atomic.Int64
	Observations atomic.Int64 // rows stored
	Labels       atomic.Int64 // rows stored
	Ticks        atomic.Int64 // finished passes of the monitor
	Retrainings  atomic.Int64 // retraining events published
}

// Connection is what every client of Kafka is dialled by.
func (e *Env) Connection() consumers.Connection { return e.Kafka }

// Group returns how a consumer group of that name is joined.
func (e *Env) Group(name string) consumers.Group {
	return consumers.Group{Name: name, SessionTimeout: e.Config.Kafka.SessionTimeout, Unreadable: e.Config.Consumers.Unreadable}
}

// Retry runs what until it succeeds or ctx ends, telling readiness what it waits for. An error of
// Permanent ends it too.
func (e *Env) Retry(ctx context.Context, what func(ctx context.Context) error) error {
	last := ""
	for backoff := 100 * time.Millisecond; ; backoff = min(2*backoff, 5*time.Second) {
		err := what(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if permanent, ok := errors.AsType[*permanentError](err); ok {
			return permanent.error
		}
		e.Ready.Set(string(e.Role), err.Error())
		if text := err.Error(); text != last { // once, not at each try
			last = text
			e.Log.Warn().Err(err).Str("role", string(e.Role)).Msg("not ready; waiting (is Kafka, and ClickHouse, there? `millrace dev` runs both)")
		}
		timer := time.NewTimer(backoff)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// permanentError is one that no retry mends.
type permanentError struct{ error }

// Permanent marks an error that no retry mends: Retry returns it as it was.
func Permanent(err error) error { return &permanentError{err} }

// NeedTopics waits for Kafka and checks that the topics are there and large enough, but for those
// of models: a worker waits for them by itself.
func (e *Env) NeedTopics(ctx context.Context) error {
	admin, err := consumers.NewAdmin(e.Connection())
	if err != nil {
		return err
	}
	defer admin.Close()
	specs := e.Config.Topics.Specs(nil, e.Config.Topics.TopicSettings)
	return e.Retry(ctx, func(ctx context.Context) error { return e.CheckTopics(ctx, admin, specs) })
}

// CheckTopics checks that topics are there, and logs what else is not as it should be.
func (e *Env) CheckTopics(ctx context.Context, admin *consumers.Admin, specs []schemas.TopicSpec) error {
	problems, err := admin.CheckTopics(ctx, specs)
	if err != nil {
		return err
	}
	for _, p := range problems {
		if p.Missing { // whoever makes the topics may just be about to
			return fmt.Errorf("topic %s", p)
		}
	}
	for _, p := range problems {
		e.Log.Warn().Str("topic", p.Topic).Msg(p.What)
	}
	return nil
}

// Health returns a function that makes the role unready while one of its parts fails. It may
// be called by several goroutines.
func (e *Env) Health(part int) func(err error) {
	name := fmt.Sprintf("%s %d", e.Role, part)
	var mu sync.Mutex
	failing := false
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil && !failing {
			return
		}
		if failing = err != nil; failing {
			e.Ready.Set(name, err.Error())
		} else {
			e.Ready.Set(name, "")
		}
	}
}

// Orderly turns the error of a start that a shutdown interrupted into none.
func Orderly(soft context.Context, err error) error {
	if soft.Err() != nil {
		return nil //nolint:nilerr // what failed is the start of what is no longer wanted
	}
	return err
}
