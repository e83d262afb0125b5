package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Ask produces each value as a request, with its request id (the field's, else a new one) in the
// header. It waits for Kafka and for the topics, and hands results and dead letters to visit as
// they arrive, in no order. It returns when each request has one, or with ctx's cause. It is for
// people and smoke tests, not for traffic.
func (a *Admin) Ask(ctx context.Context, requests string, values [][]byte, answers []string, visit func(rec *schemas.Record) error) error {
	ends, err := a.awaitTopics(ctx, append([]string{requests}, answers...))
	if err != nil {
		return err
	}
	from := map[string]map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Topic == requests {
			return
		}
		if from[o.Topic] == nil {
			from[o.Topic] = map[int32]kgo.Offset{}
		}
		from[o.Topic][o.Partition] = kgo.NewOffset().At(o.Offset)
	})
	cl, err := a.conn.Dial(
		kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.BrokerMaxReadBytes(128<<20),
		kgo.ProducerBatchMaxBytes(schemas.MaxRequestBytes))
	if err != nil {
		return fmt.Errorf("open a Kafka client: %w", err)
	}
	defer cl.Close()
	open := map[string]bool{}
	for _, value := range values {
		id := requestID(value)
		if id == "" || open[id] {
			id = uuid.NewString()
		}
		open[id] = true
		rec := &kgo.Record{Topic: requests, Key: []byte(id), Value: value, Headers: []kgo.RecordHeader{{Key: schemas.HeaderRequestID, Value: []byte(id)}}}
		if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
			return fmt.Errorf("produce to topic %s: %w", requests, lacking(err, onTopics("Write", requests)))
		}
	}
	var in converter
	for len(open) > 0 {
		fetches := cl.PollRecords(ctx, 1000)
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d requests were not answered: %w", len(open), len(values), context.Cause(ctx))
		}
		for _, e := range fetches.Errors() {
			if isForbidden(e.Err) {
				return fmt.Errorf("read topic %s: %w", e.Topic, lacking(e.Err, onTopics("Read", e.Topic)))
			}
		}
		in.reset()
		in.add(fetches, time.Now())
		for i := range in.records {
			rec := &in.records[i]
			id, _ := rec.Header(schemas.HeaderRequestID)
			if !open[string(id)] {
				continue
			}
			delete(open, string(id))
			if err := visit(rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitTopics returns the ends of the topics when all of them are there.
func (a *Admin) awaitTopics(ctx context.Context, topics []string) (kadm.ListedOffsets, error) {
	for {
		ends, err := whole(a.adm.ListEndOffsets(ctx, topics...))
		if err == nil {
			return ends, nil
		}
		if isForbidden(err) {
			return nil, eachOf(err, topics, func(topic string) error {
				_, err := whole(a.adm.ListEndOffsets(ctx, topic))
				return lacking(err, onTopics("Describe", topic))
			})
		}
		if refused, ok := errors.AsType[*RefusedError](err); ok {
			return nil, refused // it may be waited for, but not by people
		}
		if sleep(ctx, 250*time.Millisecond) != nil {
			if gone := absent(ends); len(gone) > 0 {
				return nil, fmt.Errorf("topics %v do not exist; `millrace topics apply` makes those of the models in the repository: %w", gone, err)
			}
			return nil, fmt.Errorf("reach Kafka at %v: %w", a.conn.Brokers, err)
		}
	}
}

// absent returns the topics that were asked for and that no broker knows, in order.
func absent(offsets kadm.ListedOffsets) (topics []string) {
	offsets.Each(func(o kadm.ListedOffset) {
		if errors.Is(o.Err, kerr.UnknownTopicOrPartition) && !slices.Contains(topics, o.Topic) {
			topics = append(topics, o.Topic)
		}
	})
	slices.Sort(topics)
	return topics
}

// requestID returns the request id that a request's own field names, "" if none.
func requestID(value []byte) string {
	var request struct {
		ID string `json:"request_id"`
	}
	if json.Unmarshal(value, &request) != nil {
		return "" // the worker will say what is wrong with it
	}
	return request.ID
}
