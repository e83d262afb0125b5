package pipeline_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// sent is a request with what must become of it.
type sent struct {
	*kgo.Record
	id    string             // request id; "" where it is the coordinates
	total float64            // the answer, where class is ""
	class schemas.ErrorClass // of the dead letter
	row   bool               // it reaches the model, and so is an observation
	hour  int                // it is sent with the fares of that hour
}

func (s sent) place() place { return place{s.Partition, s.Offset} }

// badFares are requests that cannot be decoded, by class.
func badFares() map[schemas.ErrorClass][][]byte {
	good := `"at":"2024-05-01T00:30:00Z","price":1,"count":1,"carrier":"AA"`
	return map[schemas.ErrorClass][][]byte{
		schemas.ErrorClassMalformed: {
			nil,
			{},
			[]byte("{"), []byte(`{"at":"2024-05-`), []byte(`[1,2]`), []byte("null"), []byte("{" + good + "} {}"),
			[]byte("{" + good + `,"note":"` + "\xff\xfe" + `"}`), []byte("\x00\x01\x02"), []byte(`{"price":01}`),
			[]byte(`{"deep":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "," + good + "}"),
		},
		schemas.ErrorClassDuplicateKey:   {[]byte("{" + good + `,"price":2}`), []byte("{" + good + `,"x":1,"x":1}`)},
		schemas.ErrorClassMissingFeature: {[]byte("{}"), []byte(`{"at":"2024-05-01T00:30:00Z","price":1,"count":1}`), []byte(`{"at":null,"price":1,"count":1,"carrier":"AA"}`)},
		schemas.ErrorClassWrongType: {
			[]byte(strings.Replace("{"+good+"}", `"price":1`, `"price":"1"`, 1)),
			[]byte(strings.Replace("{"+good+"}", `"price":1`, `"price":1e999`, 1)),
			[]byte(strings.Replace("{"+good+"}", `"count":1`, `"count":1.5`, 1)),
			[]byte(strings.Replace("{"+good+"}", `"count":1`, `"count":99999999999999999999`, 1)),
			[]byte(strings.Replace("{"+good+"}", "2024-05-01T00:30:00Z", "yesterday", 1)),
		},
		schemas.ErrorClassOutOfRange:      {[]byte(strings.Replace("{"+good+"}", `"price":1`, `"price":1000.5`, 1))},
		schemas.ErrorClassUnknownCategory: {[]byte(strings.Replace("{"+good+"}", "AA", "ZZ", 1))},
		schemas.ErrorClassTooLarge:        {[]byte("{" + good + `,"note":"` + strings.Repeat("x", 2<<20) + `"}`)},
	}
}

// TestEndToEnd sends good and bad requests and labels through all roles, and looks at
// everything that comes out.
func TestEndToEnd(t *testing.T) {
	parallel(t)
	const goodFares, hours = 3000, 3
	rnd := seeded(t)
	admin := freeAddr(t)
	hook := newWebhook(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares, catalogtest.Prices, catalogtest.Ratios}, "http.addr="+admin, "alerts="+
		`[{name: hook, webhook: {url: "`+hook.URL+`"}, kinds: [retraining]},
		{name: copy, kafka: {topic: copied.events}, models: [fares], min_severity: critical},
		{name: nothing, webhook: {url: "`+hook.URL+`"}, models: [other]}]`)
	topics := h.cfg.Topics
	nobody := topics.RequestsOf("nobody")
	_, err := h.admin.CreateTopic(t.Context(), 3, -1, nil, nobody)
	require.NoError(t, err)

	var all []sent
	add := func(topic string, value []byte, s sent) {
		n := strconv.Itoa(len(all))
		if s.hour < 0 {
			s.hour = len(all) % hours
		}
		s.Record = &kgo.Record{
			Topic: topic, Partition: int32(len(all) % 3), Key: []byte("key-" + n), Value: value,
			Headers: []kgo.RecordHeader{{Key: "n", Value: []byte(n)}, {Key: "bin", Value: []byte{0, 0xff}}, {Key: "traceparent", Value: []byte("00-" + n)}},
		}
		if s.id != "" && !bytes.Contains(value, []byte(s.id)) {
			s.Headers = append(s.Headers, kgo.RecordHeader{Key: schemas.HeaderRequestID, Value: []byte(s.id)})
		}
		all = append(all, s)
	}
	// Three hours of event time: as the reference, then far away, then enough to close both.
	for i := range goodFares {
		f := catalogtest.Fare{
			At: catalogtest.Epoch.Add(time.Duration(i) * hours * time.Hour / goodFares), Price: rnd.Float64(), Count: 1,
			Carrier: []string{"AA", "UA", "WN"}[rnd.IntN(3)], Urgent: rnd.IntN(4) == 0,
		}
		s := sent{hour: int(f.At.Sub(catalogtest.Epoch) / time.Hour), row: true}
		if s.hour == 1 {
			f.Price += 10
		}
		s.total = f.Total()
		value := f.JSON()
		switch i / 3 % 3 {
		case 0:
			s.id = fmt.Sprintf("header-%d", i)
		case 1:
			s.id = fmt.Sprintf("field-%d", i)
			value = append(fmt.Appendf(nil, `{"request_id":%q,`, s.id), value[1:]...)
		}
		add(topics.RequestsOf("fares"), value, s)
	}
	bad := badFares()
	for _, class := range slices.Sorted(maps.Keys(bad)) {
		for _, value := range bad[class] {
			add(topics.RequestsOf("fares"), value, sent{class: class, hour: -1})
		}
	}
	for i := range 60 {
		s := sent{total: []float64{10, 20, 30}[i%3], row: true, hour: -1}
		index := i % 3
		if i%10 == 9 {
			index, s.class = 7, schemas.ErrorClassInferenceFailed
		}
		add(topics.RequestsOf("prices"), fmt.Appendf(nil, `{"index":%d}`, index), s)
		s = sent{total: float64(i) / 2, row: true, hour: -1}
		b := 2
		if i%10 == 5 {
			b, s.class = 0, schemas.ErrorClassInvalidPrediction
		}
		add(topics.RequestsOf("ratios"), fmt.Appendf(nil, `{"a":%d,"b":%d}`, i, b), s)
	}
	add(nobody, []byte(`{"a":1}`), sent{class: schemas.ErrorClassNoVersion, hour: -1})

	topicIDs := map[string]string{}
	details, err := h.admin.ListTopics(t.Context(), topics.RequestsOf("fares"), topics.RequestsOf("prices"), topics.RequestsOf("ratios"), nobody)
	require.NoError(t, err)
	for name, d := range details {
		topicIDs[name] = uuid.UUID(d.ID).String()
	}
	roles := h.start("worker,recorder,monitor")
	labels := []*kgo.Record{{Topic: topics.Feedback, Key: []byte("no label"), Value: []byte(`{"model":"fares"}`)}}
	for hour := range hours {
		var requests []*kgo.Record
		for _, s := range all {
			if s.hour == hour {
				requests = append(requests, s.Record)
			}
		}
		// Good and bad ones mixed; the good ones of an hour need no order.
		rnd.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
		h.produce(requests...)
		h.settled(slices.Collect(maps.Keys(topicIDs))...)
		first := len(labels)
		for i := range all {
			s := &all[i]
			if s.hour != hour {
				continue
			}
			if s.id == "" {
				s.id = fmt.Sprintf("%s/%s", topicIDs[s.Topic], s.place())
			}
			if s.Topic == topics.RequestsOf("fares") && s.class == "" {
				labels = append(labels, &kgo.Record{
					Topic: topics.Feedback, Partition: s.Partition, Key: []byte(s.id), Value: feedbackOf("fares", s.id, s.total > 0.5),
				})
			}
		}
		if hour == 0 {
			first = 0
		}
		h.produce(labels[first:]...)
		h.settled(topics.RequestsOf("fares"))
	}

	var good, failed, letters []sent
	for _, s := range all {
		if s.class == "" {
			good = append(good, s)
			continue
		}
		letters = append(letters, s)
		if s.row {
			failed = append(failed, s)
		}
	}
	of := func(list []sent, model string) (out []sent) {
		for _, s := range list {
			if s.Topic == topics.RequestsOf(model) {
				out = append(out, s)
			}
		}
		return out
	}

	t.Run("results", func(t *testing.T) {
		h := h.with(t)
		for model, output := range map[string]string{"fares": "total", "prices": "price", "ratios": "ratio"} {
			byID := map[string]sent{}
			for _, s := range of(good, model) {
				byID[s.id] = s
			}
			last := map[int32]int64{}
			results := h.read(topics.ResultsOf(model))
			require.Len(t, results, len(byID), model)
			for _, r := range results {
				var got result
				dec := json.NewDecoder(bytes.NewReader(r.Value))
				dec.DisallowUnknownFields()
				require.NoError(t, dec.Decode(&got), "%s", r.Value)
				s, ok := byID[got.RequestID]
				require.True(t, ok, "a second result, or of no request: %s", r.Value)
				delete(byID, got.RequestID)
				require.Equal(t, string(s.Key), string(r.Key))
				require.Equal(t, s.Partition, r.Partition)
				require.Greater(t, s.Offset, last[s.Partition]-1, "order within the partition")
				last[s.Partition] = s.Offset + 1
				require.Equal(t, headersOf(s.Record), r.Headers)
				require.Equal(t, model, got.Model)
				require.Equal(t, "1", got.Version)
				var value float64
				require.NoError(t, json.Unmarshal(got.Predictions[output], &value))
				require.InDelta(t, s.total, value, 1e-6*max(1, s.total))
				require.NotNil(t, got.LatencyUS)
				require.NotNil(t, got.QueueUS)
				require.GreaterOrEqual(t, *got.LatencyUS, int64(0))
				require.GreaterOrEqual(t, *got.QueueUS, int64(0))
				require.Regexp(t, `^\{"request_id":"[^"]*","model":"[a-z]+","version":"1","predictions":\{.*\},"latency_us":\d+,"queue_us":\d+\}$`, string(r.Value))
			}
		}
	})

	t.Run("observations", func(t *testing.T) {
		h := h.with(t)
		for _, model := range []string{"fares", "prices", "ratios"} {
			h.requireRows("observations_"+model, "request", len(of(good, model))+len(of(failed, model)))
			for _, where := range []struct {
				outcome string
				list    []sent
			}{{"ok", of(good, model)}, {"failed", of(failed, model)}} {
				want := map[string]bool{}
				for _, s := range where.list {
					want[fmt.Sprintf("%s %s %s %s", topicIDs[s.Topic], s.place(), s.id, s.class)] = true
				}
				got := map[string]bool{}
				for _, row := range h.sql(fmt.Sprintf(`SELECT concat(request_topic_id, ' ', toString(request_partition), '/', toString(request_offset), ' ',
					request_id, ' ', error_class) FROM millrace.observations_%s WHERE outcome = '%s' AND request_row = 0`, model, where.outcome)) {
					got[row[0]] = true
				}
				require.Equal(t, want, got, "%s %s", model, where.outcome)
			}
			h.requireMinutes(model)
		}
		types := map[string]string{}
		for _, row := range h.sql("SELECT name, type FROM system.columns WHERE database = 'millrace' AND table = 'observations_fares'") {
			types[row[0]] = row[1]
		}
		require.Equal(t, map[string]string{
			"price": "Float64", "count": "Int64", "carrier": "LowCardinality(String)", "urgent": "Bool",
			"total": "Nullable(Float64)", "relaxed": "Nullable(Bool)",
			"request_id": "String", "event_time": "DateTime64(6, 'UTC')", "scored_at": "DateTime64(6, 'UTC')", "stored_at": "DateTime('UTC')",
			"version": "LowCardinality(String)", "variant": "LowCardinality(String)", "outcome": "LowCardinality(String)", "error_class": "LowCardinality(String)",
			"latency_us": "Int64", "queue_us": "Nullable(Int64)",
			"request_topic_id": "LowCardinality(String)", "request_partition": "Int32", "request_offset": "Int64", "request_row": "Int32",
		}, types)
		// As an analyst writes it.
		rows := h.sql("SELECT toHour(event_time) AS h, floor(avg(price)), countIf(urgent) BETWEEN 100 AND 500 FROM millrace.observations_fares GROUP BY h ORDER BY h")
		require.Equal(t, [][]string{{"0", "0", "1"}, {"1", "10", "1"}, {"2", "0", "1"}}, rows)
		require.Equal(t, "0", h.sqlOne("SELECT count() FROM millrace.observations_fares WHERE abs(price * count + if(urgent, indexOf(['AA','UA','WN'], toString(carrier)), 0) - total) > 1e-6")[0])
		require.Equal(t, "0", h.sqlOne("SELECT countIf(price IS NOT NULL) FROM millrace.observations_prices WHERE outcome = 'failed'")[0], "outputs of failed rows are NULL")
		require.Equal(t, strconv.Itoa(len(good)+len(failed)), h.sqlOne("SELECT count() FROM millrace.predictions")[0])
		require.Equal(t, []string{strconv.Itoa(len(of(good, "prices")))}, h.sqlOne("SELECT count() FROM millrace.predictions WHERE model = 'prices' AND prediction IN (10, 20, 30)"))
	})

	t.Run("dead letters", func(t *testing.T) {
		h := h.with(t)
		want := map[string]sent{}
		for _, s := range letters {
			want[s.Topic+" "+s.place().String()] = s
		}
		places := map[string]sent{} // by the place of the dead letter
		for _, r := range h.read(topics.DeadLetters) {
			at := headerOf(&r, schemas.HeaderTopic) + " " + headerOf(&r, schemas.HeaderPartition) + "/" + headerOf(&r, schemas.HeaderOffset)
			s, ok := want[at]
			require.True(t, ok, "a second dead letter, or of no bad request: %s", at)
			delete(want, at)
			places[place{r.Partition, r.Offset}.String()] = s
			require.Equal(t, string(s.class), headerOf(&r, schemas.HeaderErrorClass), "%.200q", s.Value)
			require.NotEmpty(t, headerOf(&r, schemas.HeaderReason))
			require.Equal(t, topicIDs[s.Topic], headerOf(&r, schemas.HeaderTopicID))
			require.Equal(t, string(s.Key), string(r.Key))
			require.Equal(t, string(s.Value), string(r.Value))
			require.Equal(t, headersOf(s.Record), r.Headers[:len(s.Headers)])
			_, err := time.Parse(time.RFC3339, headerOf(&r, schemas.HeaderFailedAt))
			require.NoError(t, err)
		}
		require.Empty(t, want, "bad requests without a dead letter")

		h.requireRows("dead_letters", "dead_letter", len(letters)+1)
		rows := h.sql(`SELECT concat(toString(dead_letter_partition), '/', toString(dead_letter_offset)), error_class, topic, request_topic_id,
			concat(toString(request_partition), '/', toString(request_offset)), hex(key), hex(value), headers['n'], hex(headers['bin']), length(headers), reason != ''
			FROM millrace.dead_letters WHERE topic != 'millrace.feedback'`)
		require.Len(t, rows, len(places))
		for _, row := range rows {
			s := places[row[0]]
			require.Equal(t, []string{
				string(s.class), s.Topic, topicIDs[s.Topic], s.place().String(),
				fmt.Sprintf("%X", s.Key), fmt.Sprintf("%X", s.Value), string(s.Headers[0].Value), "00FF", "3", "1",
			}, row[1:])
		}
		require.Equal(t, []string{"missing_feature", "0"}, h.sqlOne("SELECT error_class, request_partition FROM millrace.dead_letters WHERE topic = 'millrace.feedback'"))
	})

	t.Run("feedback", func(t *testing.T) {
		h := h.with(t)
		h.requireRows("feedback", "feedback", len(labels)-1)
		want := 0
		for _, s := range of(good, "fares") {
			if s.total > 0.5 {
				want++
			}
		}
		require.Equal(t, []string{strconv.Itoa(len(labels) - 1), strconv.Itoa(want)}, h.sqlOne(`SELECT count(), countIf(f.label = 1)
			FROM millrace.feedback AS f INNER JOIN millrace.observations_fares AS o ON o.request_id = f.request_id WHERE f.model = 'fares'`))
	})

	t.Run("admin", func(t *testing.T) {
		h := h.with(t)
		status, body := h.get("http://" + admin + "/healthz")
		require.Equal(t, []any{http.StatusOK, "ok\n"}, []any{status, body})
		status, body = h.get("http://" + admin + "/readyz")
		require.Equal(t, http.StatusOK, status)
		var parts map[string]string
		require.NoError(t, json.Unmarshal([]byte(body), &parts))
		for _, part := range []string{"worker", "recorder", "monitor"} { // others are named once they have failed
			require.Equal(t, "ready", parts[part], body)
		}
		status, body = h.get("http://" + admin + "/metrics")
		require.Equal(t, http.StatusOK, status)
		for metric, want := range map[string]int{
			`millrace_requests_total{model="fares",outcome="ok",version="1"}`:       len(of(good, "fares")),
			`millrace_requests_total{model="prices",outcome="failed",version="1"}`:  len(of(failed, "prices")),
			`millrace_dead_letters_total{error_class="wrong_type",model="fares"}`:   len(bad[schemas.ErrorClassWrongType]),
			`millrace_dead_letters_total{error_class="no_version",model="nobody"}`:  1,
			`millrace_stored_rows_total{table="observations"}`:                      len(good) + len(failed),
			`millrace_stored_rows_total{table="feedback"}`:                          len(labels) - 1,
			`millrace_events_total{kind="retraining",model="fares"}`:                1,
			`millrace_alert_deliveries_total{outcome="failed",subscription="hook"}`: 1,
			`go_goroutines`: 1,
		} {
			at := strings.Index(body, "\n"+metric+" ")
			require.GreaterOrEqual(t, at, 0, metric)
			var value float64
			_, err := fmt.Sscan(body[at+len(metric)+2:], &value)
			require.NoError(t, err)
			if strings.HasPrefix(metric, "millrace_requests_total") || strings.HasPrefix(metric, "millrace_dead_letters_total") {
				require.InDelta(t, want, value, 0, "%s: a batch that a rebalance aborted must not count", metric)
			}
			require.GreaterOrEqual(t, value, float64(want), metric)
		}
		require.Equal(t, int64(len(good)), roles.app.Done.Answered.Load())
		require.Equal(t, int64(len(good)+len(failed)), roles.app.Done.Observations.Load())
	})

	t.Run("deadletters", func(t *testing.T) { testDeadLetters(t, h.with(t), letters) })

	t.Run("monitor", func(t *testing.T) {
		h := h.with(t)
		// The second hour's prices are far from the reference; both closed hours have labels.
		require.Equal(t, [][]string{
			{"0", "accuracy", "ok", "1000", "1000"},
			{"0", "drift", "ok", "1000", "0"},
			{"1", "accuracy", "ok", "1000", "1000"},
			{"1", "drift", "breached", "1000", "0"},
		}, h.sql("SELECT toHour(window_start) AS h, job, verdict, rows, labels FROM millrace.windows FINAL WHERE job != 'report' ORDER BY h, job"))
		require.Equal(t, [][]string{{"0", "0"}, {"1", "1"}}, h.sql(`SELECT toHour(window_start) AS h, drifted::UInt8 FROM millrace.drift_results FINAL
			WHERE column = 'price' AND stattest = 'psi' ORDER BY h`))
		// A label says total > 0.5 and the model total >= 0.5: only rounding could tell them apart.
		require.Equal(t, [][]string{{"0", "1"}, {"1", "1"}}, h.sql(`SELECT toHour(window_start) AS h, value FROM millrace.accuracy_results FINAL
			WHERE metric = 'accuracy' ORDER BY h`))

		events := h.read(topics.Events)
		require.Len(t, events, 1, "one retraining event for the window")
		var event schemas.Event
		require.NoError(t, json.Unmarshal(events[0].Value, &event))
		require.Equal(t, schemas.EventRetraining, event.Data.Kind)
		require.Equal(t, "fares/1", event.Subject)
		require.Equal(t, catalogtest.Epoch.Add(time.Hour), event.Data.WindowStart)
		require.Equal(t, schemas.SeverityCritical, event.Data.Severity)
		require.Len(t, event.Data.Breaches, 1)
		require.Equal(t, "price", event.Data.Breaches[0].Column)
		require.Greater(t, event.Data.Breaches[0].Value, 0.5)
		require.NotEmpty(t, h.sql(event.Data.TrainingSQL+" LIMIT 1"))
		h.eventually("the event is stored", func() (string, bool) {
			n := h.count("SELECT count() FROM millrace.events WHERE kind = 'retraining'")
			return strconv.Itoa(n), n == 1
		})
		h.eventually("the event is delivered", func() (string, bool) {
			copies := h.read("copied.events")
			state := fmt.Sprintf("%d by webhook, %d by topic", len(hook.bodies()), len(copies))
			return state, len(hook.bodies()) > 0 && len(copies) > 0
		})
		require.JSONEq(t, string(events[0].Value), hook.bodies()[0], "after one attempt that the receiver refused")
		require.Equal(t, 1, hook.refused())
		require.JSONEq(t, string(events[0].Value), string(h.read("copied.events")[0].Value))

		h.eventually("both closed windows have reports", func() (string, bool) {
			n := h.count("SELECT uniqExact(window_start) FROM millrace.windows WHERE job = 'report'")
			return strconv.Itoa(n), n == 2
		})
		kinds := map[string]int{}
		require.NoError(t, filepath.WalkDir(h.cfg.Monitor.ReportsDir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				kinds[filepath.Ext(path)]++
				var info fs.FileInfo
				info, err = d.Info()
				require.Positive(t, info.Size(), path)
			}
			return err
		}))
		require.GreaterOrEqual(t, kinds[".html"], 3, "one for each window, and the index")
		require.Equal(t, 2, kinds[".json"])
		require.FileExists(t, filepath.Join(h.cfg.Monitor.ReportsDir, "index.html"))
	})
}

func headersOf(r *kgo.Record) []schemas.Header {
	out := make([]schemas.Header, len(r.Headers))
	for i, h := range r.Headers {
		out[i] = schemas.Header{Key: h.Key, Value: h.Value}
	}
	return out
}

// testDeadLetters lists, shows and replays the letters.
func testDeadLetters(t *testing.T, h *harness, letters []sent) {
	t.Helper()
	list := func(f operate.LetterFilter) [][]string {
		var out bytes.Buffer
		require.NoError(t, operate.ListDeadLetters(t.Context(), h.cfg, f, &out))
		var rows [][]string
		for line := range strings.Lines(out.String()) {
			rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
		}
		return rows
	}
	require.Len(t, list(operate.LetterFilter{}), len(letters))
	require.Len(t, list(operate.LetterFilter{Limit: 5}), 5)
	require.Len(t, list(operate.LetterFilter{Class: "no_version"}), 1)
	require.Len(t, list(operate.LetterFilter{Class: "no_version", Model: "fares"}), 0)
	category := list(operate.LetterFilter{Model: "fares", Class: "unknown_category"})
	require.Len(t, category, 1)
	require.Len(t, category[0], 7)
	require.Equal(t, "unknown_category", category[0][2])
	require.Equal(t, h.cfg.Topics.RequestsOf("fares"), category[0][4])

	var id operate.LetterID
	_, err := fmt.Sscanf(category[0][0], "%d/%d", &id.Partition, &id.Offset)
	require.NoError(t, err)
	var shown bytes.Buffer
	require.NoError(t, operate.ShowDeadLetter(t.Context(), h.cfg, id.Partition, id.Offset, &shown))
	i := slices.IndexFunc(letters, func(s sent) bool { return s.class == schemas.ErrorClassUnknownCategory })
	require.Contains(t, shown.String(), string(letters[i].Value))
	require.Contains(t, shown.String(), "key: "+string(letters[i].Key))
	require.Contains(t, shown.String(), "millrace-error-class: unknown_category")
	require.Contains(t, shown.String(), `bin: "\x00\xff"`)
	require.Error(t, operate.ShowDeadLetter(t.Context(), h.cfg, 0, 1_000_000, &shown))

	// A replay is answered as the request was: by another dead letter.
	done, err := operate.ReplayDeadLetters(t.Context(), h.cfg, operate.LetterFilter{Only: []operate.LetterID{id}})
	require.NoError(t, err)
	require.Equal(t, operate.Replayed{Sent: 1}, done)
	h.settled(h.cfg.Topics.RequestsOf("fares"))
	again := list(operate.LetterFilter{Class: "unknown_category"})
	require.Len(t, again, 2)
	require.NotEqual(t, again[0][3], again[1][3], "it has coordinates of its own")
	done, err = operate.ReplayDeadLetters(t.Context(), h.cfg, operate.LetterFilter{Only: []operate.LetterID{{Partition: 0, Offset: 1_000_000}}})
	require.Error(t, err)
	require.Zero(t, done)
	require.Equal(t, "2", h.sqlOne("SELECT count() FROM millrace.dead_letters WHERE error_class = 'unknown_category'")[0])
	require.Equal(t, letters[i].id, h.sqlOne("SELECT max(headers['millrace-replay-of']) FROM millrace.dead_letters WHERE error_class = 'unknown_category'")[0])
}
