package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
	sink "github.com/millrace/millrace/sinks/kafka"
)

// load is the requests of a run. Which they are follows from their numbers alone.
type load struct {
	total int
	topic string
}

// badEvery is how many requests there are for each bad one.
const badEvery = 40

// idOf and indexOf name requests.
func idOf(i int) string { return "r" + strconv.Itoa(i) }

func (l load) indexOf(id string) (int, error) {
	text, ok := strings.CutPrefix(id, "r")
	i, err := strconv.Atoi(text)
	if !ok || err != nil || i < 0 || i >= l.total {
		return 0, fmt.Errorf("%.100q is not the id of a request of this run", id)
	}
	return i, nil
}

// class is the error class that a request must be refused with, or "" for a good one.
func (l load) class(i int) schemas.ErrorClass {
	if i%badEvery != badEvery/2 {
		return ""
	}
	return []schemas.ErrorClass{schemas.ErrorClassMalformed, schemas.ErrorClassMissingFeature, schemas.ErrorClassWrongType}[i/badEvery%3]
}

// features are exact as floats, and so is the prediction.
func features(i int) (f0, f1, f2 int) { return i % 1000, i / 1000 % 1000, i / 1_000_000 }

// prediction is what the model answers.
func prediction(i int) float64 {
	f0, f1, f2 := features(i)
	return 0.5*float64(f0) - 1.25*float64(f1) + 2*float64(f2) + 0.75
}

// request returns a request, under one of some keys.
func (l load) request(i int) schemas.Message {
	f0, f1, f2 := features(i)
	var value []byte
	switch l.class(i) {
	case schemas.ErrorClassMalformed:
		value = fmt.Appendf(nil, `{"f0":%d,"f1":`, f0)
	case schemas.ErrorClassMissingFeature:
		value = fmt.Appendf(nil, `{"f0":%d,"f1":%d}`, f0, f1)
	case schemas.ErrorClassWrongType:
		value = fmt.Appendf(nil, `{"f0":%d,"f1":"much","f2":%d}`, f0, f2)
	default:
		value = fmt.Appendf(nil, `{"f0":%d,"f1":%d,"f2":%d}`, f0, f1, f2)
	}
	return schemas.Message{
		Topic: l.topic, Partition: schemas.AnyPartition, Key: strconv.AppendInt([]byte("k"), int64(i%997), 10), Value: value,
		Headers: []schemas.Header{
			{Key: schemas.HeaderRequestID, Value: []byte(idOf(i))},
			{Key: "lot", Value: strconv.AppendInt(nil, int64(i%89), 10)}, // comes back, whatever it is
		},
	}
}

// Produce sends the requests with those numbers, evenly over a time, and returns when Kafka
// has them. When Kafka is away it waits, and then catches up. to is exclusive.
func (l load) Produce(ctx context.Context, conn consumers.Connection, from, to int, over time.Duration) error {
	conn.ClientID = "chaos-load"
	p, err := sink.NewProducer(conn.Dial, 50_000, schemas.DefaultTopics().MaxBytes)
	if err != nil {
		return err
	}
	defer p.Close()
	began := time.Now()
	for sent := from; sent < to; {
		due := to
		if elapsed := time.Since(began); elapsed < over {
			due = from + int(float64(to-from)*elapsed.Seconds()/over.Seconds())
		}
		for ; sent < due && ctx.Err() == nil; sent++ {
			p.Enqueue(ctx, l.request(sent))
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("after %d requests: %w", sent, err)
		}
	}
	return p.Flush(ctx)
}
