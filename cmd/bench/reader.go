package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// readerSpec says what a reader reads.
type readerSpec struct {
	Brokers []string `json:"brokers"`
	Topic   string   `json:"topic"`
}

// readerCommand is a schedule whose results are awaited; the first of them are warm-up.
type readerCommand struct {
	Schedule
	Skip int64 `json:"skip"`
}

// latencies are in microseconds.
type latencies struct {
	Results    int64 `json:"results"` // warm-up included
	Duplicates int64 `json:"duplicates"`
	P50        int64 `json:"p50"`
	P99        int64 `json:"p99"`
	P999       int64 `json:"p999"`
}

// awaited is a schedule with what has come of it.
type awaited struct {
	readerCommand
	took       []int64 // nanoseconds; -1 until the result is there
	left       int64
	duplicates int64
	done       chan struct{} // closed when nothing is left
}

// latencyReader reads committed results. awaited is shared by the goroutine that reads and
// the one that asks.
type latencyReader struct {
	mu      sync.Mutex
	awaited *awaited
}

// readLatency is the reader: it tells when it reads, and then of each schedule how long its
// results took. A result that does not come within patience is missed by the parent.
func readLatency(ctx context.Context, c *child) error {
	var spec readerSpec
	if err := c.read(&spec); err != nil {
		return err
	}
	cl, err := connection(spec.Brokers, "bench-reader").Dial(
		kgo.ConsumeTopics(spec.Topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return fmt.Errorf("open the reader's client: %w", err)
	}
	defer cl.Close()
	var r latencyReader
	reading := make(chan struct{})
	go func() { // ends with ctx
		defer close(reading)
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			r.take(fetches, monotonic())
		}
	}()
	defer func() { <-reading }()
	if err := c.say(latencies{}); err != nil {
		return err
	}
	for {
		var command readerCommand
		ok, err := c.next(&command)
		if err != nil || !ok {
			return err
		}
		a := r.await(command)
		if err := c.say(latencies{}); err != nil { // it is listening
			return err
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := c.say(r.result(a)); err != nil {
			return err
		}
	}
}

func (r *latencyReader) await(command readerCommand) *awaited {
	a := &awaited{readerCommand: command, took: make([]int64, command.Records), left: command.Records, done: make(chan struct{})}
	for i := range a.took {
		a.took[i] = -1
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaited = a
	return a
}

// take notes the results of one poll.
func (r *latencyReader) take(fetches kgo.Fetches, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.awaited == nil {
		return
	}
	fetches.EachRecord(func(rec *kgo.Record) { r.awaited.take(sequence(rec.Key), now) })
}

func (a *awaited) take(seq, now int64) {
	i := seq - a.First
	if i < 0 || i >= a.Records {
		return
	}
	if a.took[i] >= 0 {
		a.duplicates++
		return
	}
	a.took[i] = max(0, now-a.due(i))
	if a.left--; a.left == 0 {
		close(a.done)
	}
}

// result sums a schedule up, all of whose results are there.
func (r *latencyReader) result(a *awaited) latencies {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaited = nil
	took := a.took[a.Skip:]
	slices.Sort(took)
	us := func(q float64) int64 { return quantile(took, q) / 1000 }
	return latencies{Results: a.Records - a.left, Duplicates: a.duplicates, P50: us(0.5), P99: us(0.99), P999: us(0.999)}
}
