package clickhouse_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/store"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

func TestOpenChecksOptions(t *testing.T) {
	for name, tc := range map[string]struct {
		options clickhouse.Options
		want    string
	}{
		"no address": {clickhouse.Options{Storage: schemas.Storage{Database: "millrace", TTLDays: 1}}, "clickhouse.addr: missing"},
		"database":   {clickhouse.Options{Addr: []string{"x"}, Storage: schemas.Storage{Database: "a b", TTLDays: 1}}, "clickhouse.database"},
		// 2026 and 100 years are past the end of DateTime: rows would expire at once.
		"ttl too long": {clickhouse.Options{Addr: []string{"x"}, Storage: schemas.Storage{Database: "a", TTLDays: 36500}}, "clickhouse.ttl_days"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := clickhouse.Open(tc.options)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestMigrate(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 90}
	c := clickhousetest.Open(t, storage)
	other := clickhousetest.Open(t, storage)
	require.NoError(t, c.Ping(t.Context()))
	g, ctx := errgroup.WithContext(t.Context())
	for _, client := range []*clickhouse.Client{c, other, c, other} {
		g.Go(func() error { return client.Migrate(ctx) })
	}
	require.NoError(t, g.Wait(), "several at once")
	require.NoError(t, c.Migrate(t.Context()), "again")
	migrations, err := schemas.Migrations(storage)
	require.NoError(t, err)
	require.EqualValues(t, len(migrations), clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.migrations FINAL"))
	require.Zero(t, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.predictions"))
	require.Zero(t, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.minute_statistics"))
}

// columnType returns the type of a column of observations_flights.
func columnType(t *testing.T, c *clickhouse.Client, column string) string {
	t.Helper()
	var rows []struct {
		Type string `ch:"type"`
	}
	require.NoError(t, c.Select(t.Context(), &rows,
		"SELECT type FROM system.columns WHERE database = ? AND table = 'observations_flights' AND name = ?", c.Database(), column))
	require.Len(t, rows, 1, column)
	return rows[0].Type
}

func TestEnsureTableTypes(t *testing.T) {
	c := clickhousetest.Client(t)
	m := observetest.Manifest("flights", "v1")
	m.Features = nil
	want := map[string]string{"label": "Nullable(Float64)", schemas.ColumnScoredAt: "DateTime64(6, 'UTC')", schemas.ColumnTopicID: "LowCardinality(String)"}
	for _, f := range []struct {
		feature schemas.Feature
		want    string
	}{
		{schemas.Feature{Name: "b", Type: schemas.TypeBool}, "Bool"},
		{schemas.Feature{Name: "i", Type: schemas.TypeInt32}, "Int32"},
		{schemas.Feature{Name: "l", Type: schemas.TypeInt64}, "Int64"},
		{schemas.Feature{Name: "f", Type: schemas.TypeFloat32, Optional: true}, "Nullable(Float32)"},
		{schemas.Feature{Name: "d", Type: schemas.TypeFloat64}, "Float64"},
		{schemas.Feature{Name: "s", Type: schemas.TypeString, Optional: true}, "Nullable(String)"},
		{schemas.Feature{Name: "c", Type: schemas.TypeCategory}, "LowCardinality(String)"},
		{schemas.Feature{Name: "o", Type: schemas.TypeCategory, Optional: true}, "LowCardinality(Nullable(String))"},
		// Names of columns of minute_states: the view must not mistake them.
		{schemas.Feature{Name: "requests", Type: schemas.TypeInt64}, "Int64"},
		{schemas.Feature{Name: "minute", Type: schemas.TypeInt32}, "Int32"},
		{schemas.Feature{Name: "score", Type: schemas.TypeString}, "String"},
		{schemas.Feature{Name: "model", Type: schemas.TypeString}, "String"},
		{schemas.Feature{Name: "latency", Type: schemas.TypeFloat64}, "Float64"},
		{schemas.Feature{Name: "prediction", Type: schemas.TypeFloat64}, "Float64"},
		{schemas.Feature{Name: "s_version", Type: schemas.TypeFloat64}, "Float64"},
	} {
		m.Features = append(m.Features, f.feature)
		want[f.feature.Name] = f.want
	}
	require.NoError(t, c.EnsureTable(t.Context(), m.ObservationSchema()))
	for column, typ := range want {
		require.Equal(t, typ, columnType(t, c, column), column)
	}
	stats, err := storetest.New(t, c).Store(t.Context(), storetest.Observations(t, m, 2, 100), false)
	require.NoError(t, err)
	require.Equal(t, 200, stats.Observations)
	require.EqualValues(t, 200, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights WHERE s LIKE 'text %' AND f > 0 AND o != '' AND toInt32(b) = 1 - i % 2"))
	require.EqualValues(t, 200, clickhousetest.Count(t, c, "SELECT sum(requests) AS n FROM {db}.minute_statistics"))
	require.EqualValues(t, 198, clickhousetest.Count(t, c, "SELECT count(prediction) AS n FROM {db}.predictions"))
}

func TestSchemaEvolution(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	v1 := observetest.Manifest("flights", "v1")
	_, err := s.Store(t.Context(), storetest.Observations(t, v1, 1, 100), false)
	require.NoError(t, err)

	// v2 adds a column, lets another be absent, drops one, and predicts with another output.
	v2 := observetest.Manifest("flights", "v2")
	v2.Features = append(v2.Features[1:], schemas.Feature{Name: "carrier", Type: schemas.TypeCategory}, schemas.Feature{Name: "seats", Type: schemas.TypeInt32})
	v2.Features[0].Optional = true
	v2.Target.Score = "label"
	_, err = s.Store(t.Context(), storetest.Observations(t, v2, 1, 100), false)
	require.NoError(t, err)
	require.Equal(t, "Nullable(Float32)", columnType(t, c, "f1"))
	require.Equal(t, "LowCardinality(Nullable(String))", columnType(t, c, "carrier"))
	require.Equal(t, "Nullable(Int32)", columnType(t, c, "seats"))

	// v1 goes on, beside it.
	more := []schemas.Record{observetest.Observations(t, 1, observetest.Batch{Manifest: v1, Rows: 50, Offset: 1000})}
	_, err = s.Store(t.Context(), more, false)
	require.NoError(t, err)
	require.EqualValues(t, 150, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights WHERE version = 'v1' AND carrier IS NULL AND f0 > 0"))
	require.EqualValues(t, 100, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights WHERE version = 'v2' AND carrier != '' AND f0 IS NULL"))

	// Each version's prediction is its own output, in the view and in the minutes.
	require.Zero(t, clickhousetest.Count(t, c, `SELECT count() AS n FROM {db}.predictions AS p
		INNER JOIN {db}.observations_flights AS o ON o.version = p.version AND o.request_offset = p.request_offset
		WHERE p.prediction IS DISTINCT FROM if(p.version = 'v1', o.probability, o.label)`))
	require.EqualValues(t, 2, clickhousetest.Count(t, c, `SELECT countIf(abs(m.score_mean - o.mean) < 1e-9) AS n
		FROM {db}.minute_statistics AS m
		INNER JOIN (SELECT version, avg(prediction) AS mean FROM {db}.predictions GROUP BY version) AS o ON o.version = m.version`))

	// A new process finds everything as it should be, and changes nothing.
	other := clickhousetest.Open(t, schemas.Storage{Database: c.Database(), TTLDays: 3650})
	require.NoError(t, other.EnsureTable(t.Context(), v1.ObservationSchema()))
	models, err := other.Models(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"flights"}, models)
}

func TestTypeConflictChangesNothing(t *testing.T) {
	c := clickhousetest.Client(t)
	require.NoError(t, c.EnsureTable(t.Context(), observetest.Manifest("flights", "v1").ObservationSchema()))
	v2 := observetest.Manifest("flights", "v2")
	v2.Features[0].Type = schemas.TypeString
	v2.Features = append(v2.Features, schemas.Feature{Name: "added", Type: schemas.TypeBool})
	err := c.EnsureTable(t.Context(), v2.ObservationSchema())
	require.ErrorIs(t, err, clickhouse.ErrSchemaConflict)
	require.ErrorContains(t, err, `table observations_flights for version v2: column type conflict: column "f0" is Float32 in the table and would be String`)
	require.Zero(t, clickhousetest.Count(t, c, "SELECT count() AS n FROM system.columns WHERE database = '{db}' AND table = 'observations_flights' AND name = 'added'"))
	require.Zero(t, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.model_versions WHERE version = 'v2'"))
}

// One version that cannot be stored does not keep the others from being stored.
func TestTypeConflictBecomesDeadLetters(t *testing.T) {
	c := clickhousetest.Client(t)
	var log bytes.Buffer
	clickhouse.SetLogger(c, zerolog.New(&log).Level(zerolog.ErrorLevel))
	s := storetest.New(t, c)
	require.NoError(t, c.EnsureTable(t.Context(), observetest.Manifest("flights", "v1").ObservationSchema()))
	v2 := observetest.Manifest("flights", "v2")
	v2.Features[0].Type, v2.Features[1].Type = schemas.TypeString, schemas.TypeBool
	records := storetest.Observations(t, v2, 3, 10)
	for i, m := range []*schemas.Manifest{observetest.Manifest("flights", "v1"), observetest.Manifest("words", "v1")} {
		r := storetest.Observations(t, m, 1, 20)[0]
		r.Offset = int64(3 + i)
		records = append(records, r)
	}
	records = append(records, observetest.Record(schemas.DefaultTopics().Feedback, 0, nil, []byte(`{"model":"flights","request_id":"a","label":1}`)))
	stats, err := s.Store(t.Context(), records, false)
	require.NoError(t, err)
	require.Equal(t, store.Stats{Observations: 40, Feedback: 1, DeadLetters: 3, Refused: 3, Inserts: 4, Bytes: stats.Bytes}, stats)
	stats, err = s.Store(t.Context(), records, true)
	require.NoError(t, err)
	require.Equal(t, store.Stats{Present: 40 + 3}, stats)

	var letters []struct {
		Class   string `ch:"error_class"`
		Reason  string `ch:"reason"`
		Version string `ch:"version"`
		Offset  int64  `ch:"request_offset"`
		Value   string `ch:"value"`
	}
	require.NoError(t, c.Select(t.Context(), &letters, "SELECT error_class, reason, version, request_offset, value FROM "+c.Database()+".dead_letters ORDER BY request_offset"))
	require.Len(t, letters, 3)
	for i, l := range letters {
		require.Equal(t, "malformed", l.Class)
		require.Equal(t, `table observations_flights for version v2: column type conflict: column "f0" is Float32 in the table and would be String; nothing was changed; `+
			`column type conflict: column "f1" is Float32 in the table and would be Bool; nothing was changed; `+
			"register the version again with the column types of the table, or under another model name", l.Reason)
		require.Equal(t, "v2", l.Version)
		require.EqualValues(t, i, l.Offset)
		require.Equal(t, string(records[i].Value), l.Value)
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("observations become dead letters")), log.String())
}

func TestPredictionsSpanModels(t *testing.T) {
	c := clickhousetest.Client(t)
	s := storetest.New(t, c)
	words := observetest.Manifest("words", "v1")
	words.Target, words.Outputs = nil, []schemas.Output{{Name: "word", Type: schemas.TypeString}} // no number: no score
	records := append(storetest.Observations(t, observetest.Manifest("flights", "v1"), 1, 10), storetest.Observations(t, words, 1, 20)...)
	stats, err := s.Store(t.Context(), records, false)
	require.NoError(t, err)
	require.Equal(t, 30, stats.Observations)
	require.Equal(t, 2, stats.Inserts)
	require.EqualValues(t, 9, clickhousetest.Count(t, c, "SELECT count(prediction) AS n FROM {db}.predictions WHERE model = 'flights'"))
	require.EqualValues(t, 20, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.predictions WHERE model = 'words' AND prediction IS NULL"))
	require.EqualValues(t, 20, clickhousetest.Count(t, c, "SELECT sum(requests) AS n FROM {db}.minute_statistics WHERE model = 'words'"))
}

// Two recorders meet two versions at the same time.
func TestEnsureTableAtOnce(t *testing.T) {
	c := clickhousetest.Client(t)
	g, ctx := errgroup.WithContext(t.Context())
	for _, version := range []string{"v1", "v2", "v3", "v4"} {
		m := observetest.Manifest("flights", version)
		if version > "v2" {
			m.Target.Score = "label"
		}
		client := clickhousetest.Open(t, schemas.Storage{Database: c.Database(), TTLDays: 3650})
		g.Go(func() error { return client.EnsureTable(ctx, m.ObservationSchema()) })
	}
	require.NoError(t, g.Wait())
	var views []struct {
		Query string `ch:"query"`
	}
	require.NoError(t, c.Select(t.Context(), &views, "SELECT create_table_query AS query FROM system.tables WHERE database = ? AND name IN ('predictions', 'minute_states_of_flights')", c.Database()))
	require.Len(t, views, 2)
	for _, v := range views {
		for _, version := range []string{"'v1'", "'v2'", "'v3'", "'v4'"} {
			require.Contains(t, v.Query, version)
		}
	}
}

func TestInsertRows(t *testing.T) {
	c := clickhousetest.Client(t)
	type result struct {
		Model       string    `ch:"model"`
		Version     string    `ch:"version"`
		WindowStart time.Time `ch:"window_start"`
		WindowEnd   time.Time `ch:"window_end"`
		Revision    uint32    `ch:"revision"`
		Column      string    `ch:"column"`
		Stattest    string    `ch:"stattest"`
		Score       float64   `ch:"score"`
		PValue      *float64  `ch:"p_value"`
		Drifted     bool      `ch:"drifted"`
		Rows        uint64    `ch:"rows"`
		ComputedAt  time.Time `ch:"computed_at"`
		note        string
	}
	at := time.Date(2026, 11, 22, 1, 2, 3, 456789000, time.UTC)
	p := 0.25
	want := []result{
		{Model: "flights", Version: "v1", WindowStart: at, WindowEnd: at.Add(time.Hour), Column: "distance", Stattest: "psi", Score: 0.125, Drifted: true, Rows: 7, ComputedAt: at},
		{Model: "flights", Version: "v1", WindowStart: at, WindowEnd: at.Add(time.Hour), Column: "origin", Stattest: "ks", PValue: &p, ComputedAt: at},
	}
	require.NoError(t, c.InsertRows(t.Context(), "drift_results", want))
	require.NoError(t, c.InsertRows(t.Context(), "drift_results", []*result{&want[0]}), "pointers, and the same row again")
	var got []result
	require.NoError(t, c.Select(t.Context(), &got, "SELECT model, version, window_start, window_end, revision, column, stattest, score, p_value, drifted, rows, computed_at FROM "+
		c.Database()+".drift_results FINAL WHERE model = ? ORDER BY column", "flights"))
	require.Equal(t, want, got)
	require.NoError(t, c.InsertRows(t.Context(), "drift_results", []result{}))
	require.ErrorContains(t, c.InsertRows(t.Context(), "drift_results", want[0]), "want a slice of structs")
	require.ErrorContains(t, c.InsertRows(t.Context(), "drift_results", []struct{ X int }{{1}}), "has no field with a tag")
	require.ErrorContains(t, c.InsertRows(t.Context(), "nothing", want), "insert 2 rows into nothing")
	_ = got[0].note
}

func TestErrorsNameTheStatement(t *testing.T) {
	c := clickhousetest.Client(t)
	require.ErrorContains(t, c.Exec(t.Context(), "DROP TABLE nothing.at_all"), "DROP TABLE nothing.at_all: ")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Exec(ctx, "SELECT 1"), context.Canceled)
}
