package store_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/store"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

func TestStoreSplices(t *testing.T) {
	for name, opts := range map[string][]ipc.Option{
		"uncompressed": nil, "lz4": {ipc.WithLZ4()}, "zstd": {ipc.WithZstd()},
	} {
		t.Run(name, func(t *testing.T) {
			c := clickhousetest.Client(t)
			s := storetest.New(t, c)
			records := storetest.Observations(t, observetest.Manifest("flights", "v1"), 25, 4000, opts...)
			stats, err := s.Store(t.Context(), records, false)
			require.NoError(t, err)
			require.Equal(t, 100_000, stats.Observations)
			require.Equal(t, 1, stats.Inserts)
			require.EqualValues(t, 100_000, clickhousetest.Count(t, c, "SELECT uniqExact(request_partition, request_offset) AS n FROM {db}.observations_flights"))
			require.EqualValues(t, 100_000, clickhousetest.Count(t, c, "SELECT sum(requests) AS n FROM {db}.minute_statistics"))
		})
	}
}

// One insert takes one stream: what follows its end is dropped without an error. That is
// why records are spliced, and why a record that holds more than one stream is refused.
func TestConcatenatedStreamsAreNotOneInsert(t *testing.T) {
	c := clickhousetest.Client(t)
	m := observetest.Manifest("flights", "v1")
	require.NoError(t, c.EnsureTable(t.Context(), m.ObservationSchema()))
	records := storetest.Observations(t, m, 2, 100)
	both := slices.Concat(records[0].Value, records[1].Value)
	err := clickhousetest.Conn(t).InsertFormat(t.Context(), "ArrowStream", "INSERT INTO "+c.Database()+".observations_flights", bytes.NewReader(both))
	require.NoError(t, err)
	require.EqualValues(t, 100, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights"))

	r := observetest.Record(schemas.DefaultTopics().Observations, 7, nil, both)
	stats, err := storetest.New(t, c).Store(t.Context(), []schemas.Record{r}, false)
	require.NoError(t, err)
	require.Equal(t, store.Stats{DeadLetters: 1, Refused: 1, Inserts: 1, Bytes: stats.Bytes}, stats)
}

// Several batches in a record, dictionaries that are replaced or grow, and none at all.
func TestStoreManyBatchesInARecord(t *testing.T) {
	c := clickhousetest.Client(t)
	m := observetest.Manifest("flights", "v1")
	var batches []observetest.Batch
	for i := range 5 {
		batches = append(batches, observetest.Batch{Manifest: m, Rows: 20, Offset: int64(20 * i), Partition: int32(i), Variant: fmt.Sprint("variant ", i)})
	}
	batches = append(batches, observetest.Batch{Manifest: m})
	topic := schemas.DefaultTopics().Observations
	records := []schemas.Record{
		observetest.Record(topic, 0, nil, observetest.Stream(t, batches)),
		observetest.Record(topic, 1, nil, observetest.Stream(t, batches[5:])), // no rows
	}
	for i := range batches {
		batches[i].Offset += 1000
	}
	records = append(records, observetest.Record(topic, 2, nil, observetest.Stream(t, batches, ipc.WithDictionaryDeltas(true), ipc.WithZstd())))
	stats, err := storetest.New(t, c).Store(t.Context(), records, false)
	require.NoError(t, err)
	require.Equal(t, store.Stats{Observations: 200, Inserts: 1, Bytes: stats.Bytes}, stats)
	require.EqualValues(t, 200, clickhousetest.Count(t, c, "SELECT uniqExact(request_partition, request_offset) AS n FROM {db}.observations_flights WHERE variant = concat('variant ', toString(request_partition))"))
	stats, err = storetest.New(t, c).Store(t.Context(), records, true)
	require.NoError(t, err)
	require.Equal(t, store.Stats{Present: 200}, stats)
}

func TestStoreLimitsInserts(t *testing.T) {
	c := clickhousetest.Client(t)
	stats, err := storetest.New(t, c).Store(t.Context(), storetest.Observations(t, observetest.Manifest("flights", "v1"), 7, 30_000), false)
	require.NoError(t, err)
	require.Equal(t, 210_000, stats.Observations)
	require.Equal(t, 3, stats.Inserts)
	require.EqualValues(t, 3, clickhousetest.Count(t, c, "SELECT count() AS n FROM system.parts WHERE database = '{db}' AND table = 'observations_flights' AND level = 0"), "each insert is one part")
}

// Replayed history can hold more days than an insert may have partitions.
func TestStoreManyDays(t *testing.T) {
	c := clickhousetest.Client(t)
	var records []schemas.Record
	for i := range 120 {
		records = append(records, observetest.Observations(t, int64(i), observetest.Batch{
			Manifest: observetest.Manifest("flights", "v1"), Rows: 2, Offset: int64(2 * i),
			ScoredAt: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, i),
		}))
	}
	stats, err := storetest.New(t, c).Store(t.Context(), records, false)
	require.NoError(t, err)
	require.Equal(t, 240, stats.Observations)
	require.Equal(t, 1, stats.Inserts)
}

func TestStoreRefusesCorruptObservations(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	m := observetest.Manifest("flights", "v1")
	good := storetest.Observations(t, m, 1, 100)[0]
	corrupt := map[string]func(r *schemas.Record){
		"empty":                func(r *schemas.Record) { r.Value = nil },
		"cut in a message":     func(r *schemas.Record) { r.Value = r.Value[:len(r.Value)-100] },
		"cut between messages": func(r *schemas.Record) { r.Value = r.Value[:observetest.SchemaBytes(r.Value)] },
		"json":                 func(r *schemas.Record) { r.Value = []byte(`{"model":"flights"}`) },
		"two streams":          func(r *schemas.Record) { r.Value = slices.Concat(r.Value, r.Value) },
		"garbage at the end":   func(r *schemas.Record) { r.Value = append(slices.Clone(r.Value), 'x') },
		"header of other rows": func(r *schemas.Record) { r.Headers[2].Value = []byte("99") },
		"strings out of place": func(r *schemas.Record) {
			observetest.Damage(t, r, schemas.ColumnRequestID, 1, func(offsets []byte) { offsets[len(offsets)/2] ^= 0x40 })
		},
		"strings beyond values": func(r *schemas.Record) {
			observetest.Damage(t, r, schemas.ColumnRequestID, 1, func(offsets []byte) { offsets[4*100+2] = 0x7f })
		},
		"index beyond dictionary": func(r *schemas.Record) {
			observetest.Damage(t, r, "origin", 1, func(indexes []byte) { indexes[4*50] = 200 })
		},
		"index below dictionary": func(r *schemas.Record) {
			observetest.Damage(t, r, schemas.ColumnVersion, 1, func(indexes []byte) { indexes[4*50+3] = 0xff })
		},
		"header without number": func(r *schemas.Record) { r.Headers[2].Value = []byte("a\xff") },
	}
	records, names := []schemas.Record{good}, slices.Sorted(maps.Keys(corrupt))
	for i, name := range names {
		r := good
		r.Offset = int64(i + 1)
		r.Headers = slices.Clone(good.Headers)
		corrupt[name](&r)
		records = append(records, r)
	}
	for _, replay := range []bool{false, true} {
		stats, err := s.Store(t.Context(), records, replay)
		require.NoError(t, err)
		require.Equal(t, map[bool]int{false: len(names)}[replay], stats.Refused, "they are dead letters already")
		var letters []struct {
			Class   string            `ch:"error_class"`
			Reason  string            `ch:"reason"`
			Model   string            `ch:"model"`
			Topic   string            `ch:"topic"`
			Offset  int64             `ch:"request_offset"`
			Letter  int64             `ch:"dead_letter_offset"`
			Value   string            `ch:"value"`
			Headers map[string]string `ch:"headers"`
		}
		require.NoError(t, c.Select(t.Context(), &letters, "SELECT error_class, reason, model, topic, request_offset, dead_letter_offset, value, headers FROM "+c.Database()+".dead_letters ORDER BY request_offset"))
		require.Len(t, letters, len(names))
		for i, l := range letters {
			require.Equal(t, string(schemas.ErrorClassMalformed), l.Class)
			require.Contains(t, l.Reason, "malformed observation record", names[i])
			require.Equal(t, "flights", l.Model)
			require.Equal(t, schemas.DefaultTopics().Observations, l.Topic)
			require.Equal(t, records[i+1].Offset, l.Offset)
			require.Equal(t, l.Offset, l.Letter)
			require.Equal(t, string(records[i+1].Value), l.Value)
			require.Len(t, l.Headers, 3)
		}
		require.EqualValues(t, 100, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights"))
	}
}

// What the framing does not show is found when the insert is repeated.
func TestReplayRefusesWhatClickHouseRefuses(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	m := observetest.Manifest("flights", "v1")
	records := storetest.Observations(t, m, 3, 100, ipc.WithLZ4())
	observetest.Damage(t, &records[1], "f3", 1, func(stored []byte) { stored[8] ^= 0xff }) // no LZ4 frame
	_, err := s.Store(t.Context(), records, false)
	require.ErrorContains(t, err, "insert 300 rows into observations_flights")
	stats, err := s.Store(t.Context(), records, true)
	require.NoError(t, err)
	require.Equal(t, store.Stats{Observations: 200, DeadLetters: 1, Refused: 1, Inserts: 2, Bytes: stats.Bytes}, stats)
}

func TestStoreRefusesOtherTopics(t *testing.T) {
	c := clickhousetest.Client(t)
	_, err := storetest.New(t, c).Store(t.Context(), []schemas.Record{observetest.Record("millrace.control", 0, nil, nil)}, false)
	require.ErrorContains(t, err, "topic millrace.control is none of")
}

func TestStoreFeedback(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	topic := schemas.DefaultTopics().Feedback
	values := []string{
		`{"request_id":"a","model":"flights","label":1.5,"observed_at":978307200123}`,
		`{"request_id":"b","model":"flights","label":true,"observed_at":"2001-01-01T01:00:00.5+01:00"}`,
		`{"request_id":"c","model":"flights","label":"late"}`,
		`{"model":"flights","label":0}`,
		`{"request_id":"\u00e9\ud83d\ude00\n","model":"other","label":-1e-3,"note":null}`,
		`not json`,
		`{"request_id":"x","label":1}`,
		`{"request_id":"x","model":"flights","label":[1]}`,
		"",
	}
	var records []schemas.Record
	for i, v := range values {
		records = append(records, observetest.Record(topic, int64(i), []byte("key "+strconv.Itoa(i)), []byte(v)))
	}
	type row struct {
		Model      string    `ch:"model"`
		RequestID  string    `ch:"request_id"`
		Label      *float64  `ch:"label"`
		LabelClass string    `ch:"label_class"`
		ObservedAt time.Time `ch:"observed_at"`
		ReceivedAt time.Time `ch:"received_at"`
		Offset     int64     `ch:"feedback_offset"`
	}
	number := func(v float64) *float64 { return &v }
	at := func(i int) time.Time { return records[i].Timestamp }
	want := []row{
		{"flights", "a", number(1.5), "", time.Date(2001, 1, 1, 0, 0, 0, 123e6, time.UTC), at(0), 0},
		{"flights", "b", number(1), "", time.Date(2001, 1, 1, 0, 0, 0, 500e6, time.UTC), at(1), 1},
		{"flights", "c", nil, "late", at(2), at(2), 2},
		{"flights", "key 3", number(0), "", at(3), at(3), 3},
		{"other", "é😀\n", number(-1e-3), "", at(4), at(4), 4},
	}
	check := func() {
		t.Helper()
		var got []row
		require.NoError(t, c.Select(t.Context(), &got, "SELECT model, request_id, label, label_class, observed_at, received_at, feedback_offset FROM "+c.Database()+".feedback ORDER BY feedback_offset"))
		require.Equal(t, want, got)
		require.EqualValues(t, 4, clickhousetest.Count(t, c, "SELECT uniqExact(dead_letter_topic_id, dead_letter_offset) AS n FROM {db}.dead_letters WHERE topic = 'millrace.feedback'"))
		require.EqualValues(t, 4, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.dead_letters"))
		require.EqualValues(t, 1, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.dead_letters WHERE error_class = 'missing_feature' AND reason = '\"model\" is absent or null' AND key = 'key 6' AND request_offset = 6 AND value LIKE '%\"x\"%'"))
	}
	stats, err := s.Store(t.Context(), records[:7], false)
	require.NoError(t, err)
	require.Equal(t, store.Stats{Feedback: 5, DeadLetters: 2, Refused: 2, Inserts: 2, Bytes: stats.Bytes}, stats)
	for range 2 { // part of them is there, then all
		_, err = s.Store(t.Context(), records, true)
		require.NoError(t, err)
		check()
	}
}

func TestStoreDeadLetters(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	topic := schemas.DefaultTopics().DeadLetters
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	request := schemas.Coordinates{TopicID: observetest.RequestTopicID, Partition: 3, Offset: 1 << 40, Row: 17}
	failedAt := time.Date(2026, 11, 21, 1, 2, 3, 456789000, time.UTC)
	headers := []schemas.Header{
		{Key: "trace", Value: []byte("first")},
		{Key: "trace", Value: every},
		{Key: "", Value: nil},
		{Key: "é", Value: []byte("x")},
		{Key: schemas.HeaderRequestID, Value: []byte("id")},
		{Key: schemas.HeaderModel, Value: []byte("flights")},
		{Key: schemas.HeaderVersion, Value: []byte("v1")},
		{Key: schemas.HeaderErrorClass, Value: []byte(schemas.ErrorClassWrongType)},
		{Key: schemas.HeaderReason, Value: []byte("distance is \"far\"\xff")},
		{Key: schemas.HeaderTopic, Value: []byte("millrace.requests.flights")},
		{Key: schemas.HeaderTopicID, Value: []byte(request.TopicID.String())},
		{Key: schemas.HeaderPartition, Value: []byte("3")},
		{Key: schemas.HeaderOffset, Value: []byte("1099511627776")},
		{Key: schemas.HeaderRow, Value: []byte("17")},
		{Key: schemas.HeaderFailedAt, Value: []byte("2026-11-21T01:02:03.456789Z")},
	}
	whole := observetest.Record(topic, 0, nil, every)
	whole.Headers = headers
	big := observetest.Record(topic, 1, every, bytes.Repeat(every, 2<<20/256))
	big.Headers = headers[4:]
	bare := observetest.Record(topic, 2, []byte{}, nil)
	bare.Headers = []schemas.Header{{Key: schemas.HeaderErrorClass, Value: []byte("what")}, {Key: schemas.HeaderOffset, Value: []byte("-")}}
	records := []schemas.Record{whole, big, bare}
	for _, replay := range []bool{false, true} {
		stats, err := s.Store(t.Context(), records, replay)
		require.NoError(t, err)
		require.Zero(t, stats.Refused)
	}
	var got []struct {
		Class     string            `ch:"error_class"`
		Reason    string            `ch:"reason"`
		Model     string            `ch:"model"`
		Version   string            `ch:"version"`
		Topic     string            `ch:"topic"`
		TopicID   string            `ch:"request_topic_id"`
		Partition int32             `ch:"request_partition"`
		Offset    int64             `ch:"request_offset"`
		Row       int32             `ch:"request_row"`
		FailedAt  time.Time         `ch:"failed_at"`
		Key       string            `ch:"key"`
		Value     string            `ch:"value"`
		Headers   map[string]string `ch:"headers"`
	}
	require.NoError(t, c.Select(t.Context(), &got, `SELECT error_class, reason, model, version, topic, request_topic_id, request_partition,
		request_offset, request_row, failed_at, key, value, headers FROM `+c.Database()+".dead_letters ORDER BY dead_letter_offset"))
	require.Len(t, got, 3)
	require.Equal(t, "wrong_type", got[0].Class)
	require.Equal(t, "distance is \"far\"\uFFFD", got[0].Reason)
	require.Equal(t, "flights", got[0].Model)
	require.Equal(t, "v1", got[0].Version)
	require.Equal(t, "millrace.requests.flights", got[0].Topic)
	require.Equal(t, request, schemas.Coordinates{TopicID: uuid.MustParse(got[0].TopicID), Partition: got[0].Partition, Offset: got[0].Offset, Row: got[0].Row})
	require.Equal(t, failedAt, got[0].FailedAt)
	require.Empty(t, got[0].Key)
	require.Equal(t, string(every), got[0].Value)
	require.Equal(t, map[string]string{"trace": string(every), "": "", "é": "x", "request-id": "id"}, got[0].Headers)
	require.Equal(t, string(big.Value), got[1].Value)
	require.Equal(t, string(every), got[1].Key)
	require.Equal(t, map[string]string{"request-id": "id"}, got[1].Headers)
	require.Equal(t, "malformed", got[2].Class)
	require.Contains(t, got[2].Reason, `millrace-error-class="what"`)
	require.Equal(t, topic, got[2].Topic)
	require.EqualValues(t, 2, got[2].Offset)
	require.Equal(t, bare.Timestamp, got[2].FailedAt)
}

// Whoever writes requests chooses how many headers they have.
func TestStoreManyHeaders(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	r := observetest.Record(schemas.DefaultTopics().DeadLetters, 0, nil, nil)
	const n = 200_000
	for i := range n {
		r.Headers = append(r.Headers, schemas.Header{Key: strconv.Itoa(i % (n / 2)), Value: strconv.AppendInt(nil, int64(i), 10)})
	}
	start := time.Now()
	_, err := s.Store(t.Context(), []schemas.Record{r}, false)
	require.NoError(t, err)
	require.Less(t, time.Since(start), 20*time.Second, "a search per header takes minutes")
	require.EqualValues(t, n/2, clickhousetest.Count(t, c, "SELECT length(headers) AS n FROM {db}.dead_letters"))
	require.EqualValues(t, n-1, clickhousetest.Count(t, c, "SELECT toInt64(headers['99999']) AS n FROM {db}.dead_letters"))
}

func TestStoreEvents(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	topic := schemas.DefaultTopics().Events
	event := schemas.NewEvent(schemas.EventData{
		Kind: schemas.EventRetraining, Severity: schemas.SeverityCritical, Model: "flights", Version: "v1",
	}, time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC))
	body, err := json.Marshal(event)
	require.NoError(t, err)
	records := []schemas.Record{
		observetest.Record(topic, 0, []byte("flights"), body),
		observetest.Record(topic, 1, []byte("flights"), body), // a repeat has the same id, and its own row
		observetest.Record(topic, 2, nil, []byte(`{"id":""}`)),
		observetest.Record(topic, 3, nil, []byte("{\"id\":\"\xff\"}")),
	}
	for _, replay := range []bool{false, true} {
		stats, err := s.Store(t.Context(), records, replay)
		require.NoError(t, err)
		require.Equal(t, map[bool]int{false: 2}[replay], stats.Refused, "they are dead letters already")
	}
	var got []struct {
		ID       string    `ch:"id"`
		Type     string    `ch:"type"`
		Kind     string    `ch:"kind"`
		Severity string    `ch:"severity"`
		Model    string    `ch:"model"`
		Time     time.Time `ch:"time"`
		Body     string    `ch:"body"`
	}
	require.NoError(t, c.Select(t.Context(), &got, "SELECT id, type, kind, severity, model, time, body FROM "+c.Database()+".events ORDER BY event_offset"))
	require.Len(t, got, 2)
	require.Equal(t, got[0], got[1])
	require.Equal(t, event.ID, got[0].ID)
	require.Equal(t, "dev.millrace.retraining", got[0].Type)
	require.Equal(t, "retraining", got[0].Kind)
	require.Equal(t, "critical", got[0].Severity)
	require.Equal(t, event.Time, got[0].Time)
	require.Equal(t, string(body), got[0].Body)
	require.EqualValues(t, 2, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.dead_letters"))
}

// A topic has left nothing as long as no table that its records go to has a row.
func TestStoreEmpty(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	topics := schemas.DefaultTopics()
	empty := func() (names []string) {
		for _, topic := range []string{topics.Observations, topics.Feedback, topics.Events, topics.DeadLetters} {
			empty, err := s.Empty(t.Context(), topic)
			require.NoError(t, err)
			if empty {
				names = append(names, topic)
			}
		}
		return names
	}
	require.NoError(t, c.EnsureTable(t.Context(), observetest.Manifest("flights", "v1").ObservationSchema()))
	require.Equal(t, []string{topics.Observations, topics.Feedback, topics.Events, topics.DeadLetters}, empty())
	_, err := s.Store(t.Context(), storetest.Observations(t, observetest.Manifest("flights", "v1"), 1, 10), false)
	require.NoError(t, err)
	require.Equal(t, []string{topics.Feedback, topics.Events, topics.DeadLetters}, empty())
	_, err = s.Store(t.Context(), []schemas.Record{
		observetest.Record(topics.Feedback, 0, []byte("a"), []byte(`{"request_id":"a","model":"flights","label":1,"observed_at":1}`)),
	}, false)
	require.NoError(t, err)
	require.Equal(t, []string{topics.Events, topics.DeadLetters}, empty())
	_, err = s.Store(t.Context(), []schemas.Record{observetest.Record(topics.Feedback, 1, nil, []byte("no label"))}, false)
	require.NoError(t, err)
	require.Empty(t, empty(), "any record may have been refused")
}

// Where one of several inserts that run at a time fails, the others are finished, and a
// replay stores what is missing, once.
func TestStoreOneOfSeveralInsertsFails(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	records := storetest.Observations(t, observetest.Manifest("flights", "v1"), 6, 30_000, ipc.WithLZ4())
	whole := records[5].Value
	records[5].Value = slices.Clone(whole)
	observetest.Damage(t, &records[5], "f3", 1, func(stored []byte) { stored[8] ^= 0xff }) // no LZ4 frame, which the framing does not show
	stats, err := s.Store(t.Context(), records, false)
	require.ErrorContains(t, err, "insert 90000 rows into observations_flights")
	require.Equal(t, 2, stats.Inserts, "a recorder's pace counts those that fail too")
	records[5].Value = whole
	stats, err = s.Store(t.Context(), records, true)
	require.NoError(t, err)
	require.Equal(t, 90_000, stats.Present, "of the other insert")
	require.Equal(t, 90_000, stats.Observations)
	require.EqualValues(t, 180_000, clickhousetest.Count(t, c, "SELECT uniqExact(request_topic_id, request_partition, request_offset, request_row) AS n FROM {db}.observations_flights"))
	require.EqualValues(t, 180_000, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights"))
	require.EqualValues(t, 180_000, clickhousetest.Count(t, c, "SELECT sum(requests) AS n FROM {db}.minute_states"))
}
