package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
)

// place is where a record lies in its topic.
type place struct {
	partition int32
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%d/%d", p.partition, p.offset) }

// entry is one record or row about a request.
type entry struct {
	id      string
	at      time.Time // when it was appended to Kafka, scored or refused
	topic   string    // id of the requests topic, which is another after it was made again; of a result, unknown
	request place     // coordinates of the request in it; of a result, unknown
	own     place     // of a record, and of a dead letter's row: where the record lies
	letters string    // of a dead letter and its row: id of the topic that own is in
	row     bool      // it is of a table
	value   float64   // of results and rows: the prediction
	class   string    // of dead letters

	// What comes back of the request, as strings: its key and its headers, and in dead letters
	// its bytes. Observations do not have them.
	key, headers, bytes string
}

// minute is what the minute statistics say of some rows, and what the rows say.
type minute struct {
	at            time.Time
	partition     int32
	outcome       string
	class         string // of the error, or ""
	rows, counted int64
	// Microseconds: the sum of the rows' latency, and that of the statistics.
	latency, counting int64
}

// evidence is all that a run has left behind. Records are in the order of their partitions,
// those of a topic that was deleted before those of the one that was made in its place.
type evidence struct {
	requests   []entry
	results    []entry
	letters    []entry
	rows       []entry
	letterRows []entry
	minutes    []minute
}

// originalHeaders are those that a request came with, a line each, sorted.
func originalHeaders(headers []schemas.Header) string {
	var lines []string
	for _, h := range headers {
		if !strings.HasPrefix(h.Key, "millrace-") {
			lines = append(lines, h.Key+"="+string(h.Value))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// collect reads the topics as committed, and the tables, and returns it with what was kept
// of topics that were deleted.
func collect(ctx context.Context, op *kafkatest.Operator, cfg config.Config, kept *evidence, unreadable []kafkatest.Batch) (*evidence, error) {
	e := &evidence{requests: slices.Clone(kept.requests), results: slices.Clone(kept.results), letters: slices.Clone(kept.letters)}
	for _, topic := range []string{cfg.Topics.RequestsOf(model), cfg.Topics.ResultsOf(model), cfg.Topics.DeadLetters} {
		if err := e.read(ctx, op, cfg, topic, unreadable); err != nil {
			return nil, err
		}
	}
	return e, e.collectTables(ctx, cfg)
}

// read adds what one of the topics holds. Observations are judged by their rows alone.
func (e *evidence) read(ctx context.Context, op *kafkatest.Operator, cfg config.Config, topic string, unreadable []kafkatest.Batch) error {
	visit := map[string]func(rec *schemas.Record) error{
		cfg.Topics.RequestsOf(model): e.addRequest, cfg.Topics.ResultsOf(model): e.addResult, cfg.Topics.DeadLetters: e.addLetter,
	}[topic]
	if visit == nil {
		return nil
	}
	return op.Read(ctx, topic, unreadable, visit)
}

func newEntry(rec *schemas.Record) entry {
	id, _ := rec.Header(schemas.HeaderRequestID)
	return entry{
		id: string(id), at: rec.Timestamp, own: place{rec.Partition, rec.Offset},
		key: string(rec.Key), headers: originalHeaders(rec.Headers),
	}
}

func (e *evidence) addRequest(rec *schemas.Record) error {
	r := newEntry(rec)
	r.topic, r.request = rec.TopicID.String(), r.own
	e.requests = append(e.requests, r)
	return nil
}

func (e *evidence) addResult(rec *schemas.Record) error {
	var result struct {
		ID          string             `json:"request_id"`
		Predictions map[string]float64 `json:"predictions"`
	}
	if err := json.Unmarshal(rec.Value, &result); err != nil {
		return fmt.Errorf("result %s: %w", place{rec.Partition, rec.Offset}, err)
	}
	r := newEntry(rec)
	if r.id != result.ID {
		return fmt.Errorf("result %s is of %q by its header and of %q by its value", r.own, r.id, result.ID)
	}
	r.value = result.Predictions["y"]
	e.results = append(e.results, r)
	return nil
}

func (e *evidence) addLetter(rec *schemas.Record) error {
	r := newEntry(rec)
	text := func(key string) string {
		value, _ := rec.Header(key)
		return string(value)
	}
	p, err := strconv.ParseInt(text(schemas.HeaderPartition), 10, 32)
	if err == nil {
		r.request.partition = int32(p)
		r.request.offset, err = strconv.ParseInt(text(schemas.HeaderOffset), 10, 64)
	}
	if err != nil {
		return fmt.Errorf("dead letter %s: %w", r.own, err)
	}
	r.topic, r.letters, r.class, r.bytes = text(schemas.HeaderTopicID), rec.TopicID.String(), text(schemas.HeaderErrorClass), string(rec.Value)
	e.letters = append(e.letters, r)
	return nil
}

// noInserts waits until ClickHouse has none under way.
func (c *cluster) noInserts(ctx context.Context) error {
	db, err := openTables(c.cfg)
	if err != nil {
		return err
	}
	defer db.Close() // nothing is pending
	for {
		var running []struct {
			ID string `ch:"query_id"`
		}
		if err := db.Select(ctx, &running, "SELECT query_id FROM system.processes WHERE query_kind = 'Insert'"); err != nil {
			return err
		}
		if len(running) == 0 {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%d inserts do not end: %w", len(running), err)
		}
	}
}

func (e *evidence) collectTables(ctx context.Context, cfg config.Config) error {
	db, err := openTables(cfg)
	if err != nil {
		return err
	}
	defer db.Close() // nothing is pending
	var rows []struct {
		ID        string    `ch:"request_id"`
		Topic     string    `ch:"request_topic_id"`
		Partition int32     `ch:"request_partition"`
		Offset    int64     `ch:"request_offset"`
		At        time.Time `ch:"scored_at"`
		Y         *float64  `ch:"value"`
	}
	table := db.Database() + "." + schemas.ObservationsTable(model)
	if err := db.Select(ctx, &rows, "SELECT request_id, toString(request_topic_id) AS request_topic_id, request_partition, request_offset, scored_at, "+
		"CAST(y, 'Nullable(Float64)') AS value FROM "+table); err != nil {
		return err
	}
	for _, r := range rows {
		value := math.NaN()
		if r.Y != nil {
			value = *r.Y
		}
		e.rows = append(e.rows, entry{row: true, id: r.ID, topic: r.Topic, request: place{r.Partition, r.Offset}, at: r.At, value: value})
	}
	var letters []struct {
		Class        string            `ch:"class"`
		Topic        string            `ch:"request_topic_id"`
		Partition    int32             `ch:"request_partition"`
		Offset       int64             `ch:"request_offset"`
		OwnTopic     string            `ch:"dead_letter_topic_id"`
		OwnPartition int32             `ch:"dead_letter_partition"`
		OwnOffset    int64             `ch:"dead_letter_offset"`
		At           time.Time         `ch:"failed_at"`
		Headers      map[string]string `ch:"headers"`
		Key          string            `ch:"key"`
		Bytes        string            `ch:"value"`
	}
	if err := db.Select(ctx, &letters, "SELECT toString(error_class) AS class, toString(request_topic_id) AS request_topic_id, request_partition, request_offset, "+
		"toString(dead_letter_topic_id) AS dead_letter_topic_id, dead_letter_partition, dead_letter_offset, failed_at, headers, key, value FROM "+db.Database()+".dead_letters"); err != nil {
		return err
	}
	for _, r := range letters {
		headers := make([]schemas.Header, 0, len(r.Headers))
		for key, value := range r.Headers {
			headers = append(headers, schemas.Header{Key: key, Value: []byte(value)})
		}
		e.letterRows = append(e.letterRows, entry{
			row: true, letters: r.OwnTopic, id: r.Headers[schemas.HeaderRequestID], topic: r.Topic, request: place{r.Partition, r.Offset},
			own: place{r.OwnPartition, r.OwnOffset}, at: r.At, class: r.Class,
			key: r.Key, headers: originalHeaders(headers), bytes: r.Bytes,
		})
	}
	var minutes []struct {
		At        time.Time `ch:"m"`
		Partition int32     `ch:"p"`
		Outcome   string    `ch:"o"`
		Class     string    `ch:"c"`
		Rows      int64     `ch:"stored"`
		Counted   int64     `ch:"counted"`
		Latency   int64     `ch:"took"`
		Counting  int64     `ch:"counted_took"`
	}
	if err := db.Select(ctx, &minutes, `SELECT m, p, o, c, sum(n) AS stored, sum(l) AS took, sum(s) AS counted, sum(t) AS counted_took FROM (
    SELECT toStartOfMinute(toDateTime(scored_at, 'UTC')) AS m, request_partition AS p, toString(outcome) AS o, toString(error_class) AS c,
        toInt64(count()) AS n, toInt64(sum(latency_us)) AS l, toInt64(0) AS s, toInt64(0) AS t
    FROM `+table+` GROUP BY m, p, o, c
    UNION ALL
    SELECT minute AS m, request_partition AS p, toString(outcome) AS o, toString(error_class) AS c,
        toInt64(0) AS n, toInt64(0) AS l, toInt64(sum(requests)) AS s, toInt64(sum(latency_sum_us)) AS t
    FROM `+db.Database()+`.minute_states WHERE model = '`+model+`' GROUP BY m, p, o, c)
GROUP BY m, p, o, c ORDER BY m, p, o, c`); err != nil {
		return err
	}
	for _, m := range minutes {
		e.minutes = append(e.minutes, minute{m.At, m.Partition, m.Outcome, m.Class, m.Rows, m.Counted, m.Latency, m.Counting})
	}
	return nil
}
