package clickhouse_test

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
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

// datedDDL makes the tables as the release of 2026-11-26 made them, with those of a model.
//
//go:embed testdata/tables_2026-11-26.sql
var datedDDL string

// datedTables makes a database of the last release, with rows of every age in it.
func datedTables(t *testing.T, storage schemas.Storage) *clickhouse.Client {
	t.Helper()
	c := clickhousetest.Open(t, storage)
	db := storage.Database
	exec := func(statement string) {
		t.Helper()
		require.NoError(t, c.Exec(t.Context(), strings.NewReplacer("{{database}}", db, "{db}", db, "{{ttl_days}}", strconv.Itoa(storage.TTLDays)).Replace(statement)))
	}
	exec("CREATE DATABASE {db}")
	exec("CREATE TABLE {db}.migrations (number UInt32, name String, applied_at DateTime64(6, 'UTC')) ENGINE = ReplacingMergeTree(applied_at) ORDER BY number")
	for statement := range strings.SplitSeq(datedDDL, "\n--\n") {
		exec(strings.TrimSpace(statement))
	}
	exec("INSERT INTO {db}.migrations VALUES (1, 'tables', now())")
	exec("INSERT INTO {db}.model_versions VALUES ('flights', 'v1', 'label,probability', 'probability', now())")
	for _, table := range []string{"feedback", "dead_letters", "events"} { // what is past its time is not deleted meanwhile
		exec("SYSTEM STOP TTL MERGES {db}." + table)
	}
	// Of today, 40 days ago, 1970, 2200.
	const times = "[now64(6) - INTERVAL 1 HOUR, now64(6) - INTERVAL 40 DAY, toDateTime64(7, 6, 'UTC'), toDateTime64('2200-01-01 00:00:00', 6, 'UTC')]"
	exec("INSERT INTO {db}.feedback (model, request_id, label, received_at, feedback_topic_id, feedback_partition, feedback_offset) " +
		"SELECT 'flights', toString(number), number, " + times + "[number % 4 + 1], 'a', number % 3, number FROM numbers(2000)")
	exec("INSERT INTO {db}.dead_letters (error_class, reason, failed_at, dead_letter_topic_id, dead_letter_partition, dead_letter_offset) " +
		"SELECT 'malformed', toString(number), " + times + "[number % 4 + 1], 'b', number % 3, number FROM numbers(2000)")
	exec("INSERT INTO {db}.events (id, time, event_topic_id, event_partition, event_offset) " +
		"SELECT toString(number), " + times + "[number % 4 + 1], 'c', number % 3, number FROM numbers(2000)")
	return c
}

// requireDated checks that all rows of datedTables are there once, that those whose time
// was plausible keep it, and that the others were stored at the time of the migration.
func requireDated(t *testing.T, c *clickhouse.Client, more int) {
	t.Helper()
	for table, columns := range map[string][3]string{
		"feedback": {"feedback", "received_at", "request_id"}, "dead_letters": {"dead_letter", "failed_at", "reason"}, "events": {"event", "time", "id"},
	} {
		offset, at := columns[0]+"_offset", columns[1]
		count := func(what string) uint64 {
			return clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}."+table+" WHERE "+what)
		}
		require.EqualValues(t, 2000+more, count("1"), table)
		require.EqualValues(t, 2000+more, clickhousetest.Count(t, c, "SELECT uniqExact("+columns[0]+"_partition, "+offset+") AS n FROM {db}."+table), table)
		require.EqualValues(t, 2000, count(offset+" < 2000 AND toString("+offset+") = "+columns[2]), table)
		require.EqualValues(t, 500, count(offset+" < 2000 AND stored_at = toDateTime("+at+", 'UTC') AND stored_at > now() - INTERVAL 2 HOUR"), table)
		require.EqualValues(t, 1500+more, count("stored_at != toDateTime("+at+", 'UTC') AND stored_at > now() - INTERVAL 1 HOUR OR "+offset+" % 4 = 1 AND "+offset+" < 2000"), table)
	}
	for _, table := range tablesOf(t, c, "name LIKE '%\\_dated' OR name LIKE '%\\_copy\\_%' OR name LIKE '%\\_retired\\_%'") {
		t.Errorf("table %s is left over", table.Name)
	}
	for _, table := range tablesOf(t, c, "name IN ('feedback', 'dead_letters', 'events', 'minute_states', 'observations_flights')") {
		require.Contains(t, table.Query, "TTL stored_at + toIntervalDay(30)", table.Name)
	}
}

type tableQuery struct {
	Name  string `ch:"name"`
	Query string `ch:"create_table_query"`
}

// tablesOf returns the MergeTree tables of the client's database that a condition holds for.
func tablesOf(t *testing.T, c *clickhouse.Client, where string) []tableQuery {
	t.Helper()
	var tables []tableQuery
	require.NoError(t, c.Select(t.Context(), &tables, "SELECT name, create_table_query FROM system.tables WHERE database = ? AND endsWith(engine, 'MergeTree') AND ("+where+") ORDER BY name", c.Database()))
	return tables
}

// statements is a proxy that sees every statement, and lets fail those that break says.
type statements struct {
	mu     sync.Mutex
	seen   []string
	cut    func(statement string) (before, after bool) // whether to answer 502 instead of the server
	refuse func(statement string) bool                 // whether to answer with an exception
	// hold is called, by several goroutines, before a statement is sent on, and before it is answered.
	hold func(statement string, answered bool)
}

// ServeHTTP implements http.Handler.
func (s *statements) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	statement := r.URL.Query().Get("query")
	if statement == "" {
		statement = string(body)
	}
	s.mu.Lock()
	s.seen = append(s.seen, statement)
	before, after, refuse := false, false, s.refuse != nil && s.refuse(statement)
	if s.cut != nil {
		before, after = s.cut(statement)
	}
	s.mu.Unlock()
	switch {
	case refuse:
		w.Header().Set("X-ClickHouse-Exception-Code", "452")
		http.Error(w, "Code: 452. DB::Exception: Setting is not allowed. (SETTING_CONSTRAINT_VIOLATION)", http.StatusInternalServerError)
		return
	case before:
		http.Error(w, "the connection is cut", http.StatusBadGateway)
		return
	}
	if s.hold != nil {
		s.hold(statement, false)
		defer s.hold(statement, true)
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+clickhousetest.Addr()+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	out.Header = r.Header.Clone()
	resp, err := http.DefaultClient.Do(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	if after {
		http.Error(w, "the connection is cut", http.StatusBadGateway)
		return
	}
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // fails when the client has gone
}

// changes returns the statements seen that change a table.
func (s *statements) changes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes []string
	for _, statement := range s.seen {
		if !strings.HasPrefix(statement, "SELECT") && !strings.Contains(statement, "IF NOT EXISTS") && statement != "" {
			changes = append(changes, statement)
		}
	}
	return changes
}

func through(t *testing.T, storage schemas.Storage, proxy http.Handler) *clickhouse.Client {
	t.Helper()
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return clickhousetest.OpenAt(t, storage, strings.TrimPrefix(server.URL, "http://"))
}

// oldInsert is a statement of a recorder of the last release; n numbers its row.
func oldInsert(db string, n int) string {
	return fmt.Sprintf("INSERT INTO %s.feedback (model, request_id, received_at, feedback_topic_id, feedback_partition, feedback_offset) SELECT 'flights', 'x', now64(6), 'a', 0, %d", db, n)
}

// Every statement of the migration fails twice: once before it reaches the server, and once
// after the server has done it. A recorder of the last release stores meanwhile.
func TestMigrationOfDatedTablesKilledAnywhereKeepsEveryRow(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 30}
	c := datedTables(t, storage)
	observed := oneOldDay(t, c)
	random := regexp.MustCompile(`[0-9a-f]{32}|[0-9]{10}|= '[^']*'`)
	tries := map[string]int{}
	proxy := &statements{}
	broken := ""
	proxy.cut = func(statement string) (before, after bool) {
		if strings.HasPrefix(statement, "SELECT") || strings.HasPrefix(statement, "CREATE DATABASE") || broken != "" || statement == "" {
			return false, false
		}
		key := random.ReplaceAllString(statement, "?")
		tries[key]++
		switch tries[key] {
		case 1:
			broken = statement
			return true, false
		case 2:
			broken = statement
			return false, true
		}
		return false, false
	}
	more := 0
	for i := 0; ; i++ {
		require.Less(t, i, 500)
		if err := c.Exec(t.Context(), oldInsert(c.Database(), 5000+more)); err == nil {
			more++
		} else {
			require.ErrorContains(t, err, "UNKNOWN_TABLE", "an insert fails where the table is away, and only there")
		}
		broken = ""
		err := through(t, storage, proxy).Migrate(t.Context())
		if err == nil {
			require.Empty(t, broken)
			t.Logf("%d attempts, %d statements, %d rows stored meanwhile", i+1, len(tries), more)
			break
		}
		require.NotEmpty(t, broken, "%v", err)
	}
	for table, count := range map[string]uint64{"feedback": 2000 + uint64(more), "dead_letters": 2000, "events": 2000} {
		require.Equal(t, count, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}."+table), table)
	}
	require.NotZero(t, more)
	require.NoError(t, c.Exec(t.Context(), "DELETE FROM "+c.Database()+".feedback WHERE feedback_offset >= 5000"))
	requireDated(t, c, 0)
	requireOldDay(t, c, observed)

	// What is as it should be is not altered again.
	again := &statements{}
	require.NoError(t, through(t, storage, again).Migrate(t.Context()))
	require.Empty(t, again.changes())
}

// oneOldDay stores observations as the last release did.
func oneOldDay(t *testing.T, c *clickhouse.Client) []schemas.Record {
	t.Helper()
	m := observetest.Manifest("flights", "v1")
	var records []schemas.Record
	for i, at := range []time.Time{time.Now().Add(-time.Hour), time.Now().Add(time.Hour)} {
		r := observetest.Observations(t, int64(i), observetest.Batch{Manifest: m, Rows: 500, Offset: int64(500 * i), Failed: 50, ScoredAt: at})
		splice := storetest.Splice(t, []schemas.Record{r})
		require.NoError(t, clickhousetest.Conn(t).InsertFormat(t.Context(), "ArrowStream", "INSERT INTO "+c.Database()+".observations_flights", &splice))
		records = append(records, r)
	}
	return records
}

func requireOldDay(t *testing.T, c *clickhouse.Client, records []schemas.Record) {
	t.Helper()
	storetest.RequireExact(t, c, 1000)
	require.EqualValues(t, 500, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights WHERE stored_at = toDateTime(scored_at, 'UTC')"))
	require.EqualValues(t, 500, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights WHERE scored_at > now() AND stored_at <= now()"))
	// A replay finds what the last release stored, and new rows have the server's time.
	more := observetest.Observations(t, 2, observetest.Batch{Manifest: observetest.Manifest("flights", "v1"), Rows: 500, Offset: 1000, ScoredAt: time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC)})
	stats, err := storetest.New(t, c).Store(t.Context(), append(records, more), true)
	require.NoError(t, err)
	require.Equal(t, 1000, stats.Present)
	require.Equal(t, 500, stats.Observations)
	for _, table := range []string{"observations_flights", "minute_states"} {
		require.NoError(t, c.Exec(t.Context(), "OPTIMIZE TABLE "+c.Database()+"."+table+" FINAL"))
	}
	storetest.RequireExact(t, c, 1500)
}

// Recorders start at the same time, and one of the last release goes on storing.
func TestMigrationOfDatedTablesBySeveralAtOnceKeepsEveryRow(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 30}
	c := datedTables(t, storage)
	var group, old errgroup.Group
	done := make(chan struct{})
	more := 0
	old.Go(func() error { // ends when the migrations have
		for i := 0; ; i++ {
			err := c.Exec(t.Context(), oldInsert(c.Database(), 5000+more))
			if err == nil {
				more++
			} else if !strings.Contains(err.Error(), "UNKNOWN_TABLE") {
				return err
			}
			select {
			case <-done:
				return nil
			default:
			}
		}
	})
	for range 4 {
		client := clickhousetest.Open(t, storage)
		group.Go(func() error { return client.Migrate(t.Context()) }) // ends with its migration
	}
	err := group.Wait()
	close(done)
	require.NoError(t, err)
	require.NoError(t, old.Wait())
	require.EqualValues(t, 2000+more, clickhousetest.Count(t, c, "SELECT uniqExact(feedback_partition, feedback_offset) AS n FROM {db}.feedback"))
	require.EqualValues(t, 2000+more, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.feedback"))
	require.NoError(t, c.Exec(t.Context(), "DELETE FROM "+c.Database()+".feedback WHERE feedback_offset >= 5000"))
	requireDated(t, c, 0)
}

// A process that was slow has renamed the new table: it is neither copied from nor dropped.
func TestMigrationGivesANewTableItsNameBack(t *testing.T) {
	c := clickhousetest.Client(t)
	_, err := storetest.New(t, c).Store(t.Context(), oneOfEach(t), false)
	require.NoError(t, err)
	for _, name := range []string{"feedback_dated", "feedback_retired_0123456789abcdef0123456789abcdef"} {
		require.NoError(t, c.Exec(t.Context(), "RENAME TABLE "+c.Database()+".feedback TO "+c.Database()+"."+name))
		require.NoError(t, c.Migrate(t.Context()))
		requireEach(t, c)
	}
	// Two tables of which neither is made of the other are for a person to judge.
	require.NoError(t, c.Exec(t.Context(), "CREATE TABLE "+c.Database()+".feedback_dated AS "+c.Database()+".feedback"))
	require.ErrorContains(t, c.Migrate(t.Context()), "move the rows of feedback_dated by hand")
}

// What lacks a row of the old table is not taken for its copy.
func TestMigrationDropsNoTableWhoseRowsAreNotThere(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 30}
	c := datedTables(t, storage)
	require.NoError(t, c.Exec(t.Context(), "RENAME TABLE "+c.Database()+".feedback TO "+c.Database()+".feedback_dated"))
	create, err := schemas.CreateTable(storage, "feedback", "feedback")
	require.NoError(t, err)
	require.NoError(t, c.Exec(t.Context(), create))
	err = c.Migrate(t.Context())
	require.ErrorIs(t, err, clickhouse.ErrIncomplete)
	require.ErrorContains(t, err, "table feedback lacks rows that feedback_dated has")
}

// settle makes every merge happen that a TTL asks for.
func settle(t *testing.T, c *clickhouse.Client) {
	t.Helper()
	for _, table := range tablesOf(t, c, "1") {
		require.NoError(t, c.Exec(t.Context(), "OPTIMIZE TABLE "+c.Database()+"."+table.Name+" FINAL"))
	}
}

// Producers set Kafka timestamps, and times in what they send: backfills, mirrored topics,
// wrong clocks. None of them decides how long a row stays, or how many partitions there are.
func TestTimesOfProducersDecideNothing(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 30}
	c := clickhousetest.Open(t, storage)
	require.NoError(t, c.Migrate(t.Context()))
	topics := schemas.DefaultTopics()
	times := []time.Time{
		time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), time.UnixMilli(0), time.UnixMilli(-1), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2106, 2, 8, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for day := range 100 {
		times = append(times, time.Date(2010, 1, 1+day, 0, 0, 0, 0, time.UTC))
	}
	var records []schemas.Record
	m := observetest.Manifest("flights", "v1")
	for i, at := range times {
		observed := ""
		if y := at.Year(); y > 1900 && y < 2299 { // others are refused
			observed = `,"observed_at":` + strconv.FormatInt(at.UnixMilli(), 10)
		}
		of := []schemas.Record{
			observetest.Record(topics.Feedback, int64(2*i), nil, []byte(`{"model":"flights","request_id":"a","label":1`+observed+`}`)),
			observetest.Record(topics.Feedback, int64(2*i+1), nil, []byte("bad")),
			observetest.Record(topics.Events, int64(i), nil, []byte(`{"id":"e","type":"t","time":"`+at.UTC().Format(time.RFC3339)+`","data":{}}`)),
			observetest.Record(topics.DeadLetters, int64(i), nil, []byte("x")),
		}
		of[3].Headers = append(of[3].Headers, schemas.Header{Key: schemas.HeaderFailedAt, Value: []byte(at.UTC().Format(time.RFC3339))})
		if observed != "" {
			of = append(of, observetest.Observations(t, int64(i), observetest.Batch{Manifest: m, Rows: 10, Offset: int64(10 * i), ScoredAt: at}))
		}
		for j := range of {
			of[j].Timestamp = at
		}
		records = append(records, of...)
	}
	s := storetest.New(t, c)
	stats, err := s.Store(t.Context(), records, false)
	require.NoError(t, err)
	require.Equal(t, store.Stats{
		Observations: 10 * (len(times) - 2), Feedback: len(times), DeadLetters: 2 * len(times), Events: len(times), Refused: len(times), Inserts: 4, Bytes: stats.Bytes,
	}, stats)
	settle(t, c)
	requireStored := func() {
		t.Helper()
		for table, want := range map[string]int{"feedback": len(times), "dead_letters": 2 * len(times), "events": len(times), "observations_flights": 10 * (len(times) - 2)} {
			require.EqualValues(t, want, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}."+table), table)
			partitions := clickhousetest.Count(t, c, "SELECT uniqExact(_partition_id) AS n FROM {db}."+table)
			require.LessOrEqual(t, partitions, uint64(2), "%s: today, and tomorrow where the test runs at midnight", table)
		}
		require.EqualValues(t, 10*(len(times)-2), clickhousetest.Count(t, c, "SELECT sum(requests) AS n FROM {db}.minute_statistics"))
	}
	requireStored()
	stats, err = s.Store(t.Context(), records, true)
	require.NoError(t, err)
	require.Zero(t, stats.Inserts+stats.Repaired, "%+v", stats)
	settle(t, c)
	requireStored()
}

// Who writes to the topic of observations cannot say when a row was stored.
func TestStoredAtIsTheServers(t *testing.T) {
	c := clickhousetest.Client(t)
	m := observetest.Manifest("flights", "v1")
	m.Features = append(m.Features, schemas.Feature{Name: schemas.ColumnStoredAt, Type: schemas.TypeInt64})
	stats, err := storetest.New(t, c).Store(t.Context(), storetest.Observations(t, m, 1, 10), false)
	require.NoError(t, err)
	require.Equal(t, 1, stats.Refused)
	require.EqualValues(t, 1, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.dead_letters WHERE reason LIKE '%column stored_at is the server''s%'"))
	require.ErrorContains(t, c.Exec(t.Context(), "INSERT INTO "+c.Database()+".feedback (model, stored_at) SELECT 'flights', now()"), "MATERIALIZED")
}

func TestChangedTTLReachesTablesThatExist(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 60}
	c := datedTables(t, storage)
	var log bytes.Buffer
	clickhouse.SetLogger(c, zerolog.New(&log))
	require.NoError(t, c.Migrate(t.Context()))
	require.NoError(t, c.EnsureTable(t.Context(), observetest.Manifest("flights", "v1").ObservationSchema()))
	settle(t, c)
	count := func(table string) uint64 {
		return clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}."+table)
	}
	require.EqualValues(t, 2000, count("feedback"))
	expiring := "name IN ('feedback', 'dead_letters', 'events', 'minute_states', 'label_counts', 'profiles') OR startsWith(name, 'observations_')"

	log.Reset()
	storage.TTLDays = 365
	proxy := &statements{}
	c = through(t, storage, proxy)
	clickhouse.SetLogger(c, zerolog.New(&log))
	require.NoError(t, c.Migrate(t.Context()))
	require.Equal(t, 1, strings.Count(log.String(), "clickhouse.ttl_days"), log.String())
	require.Contains(t, log.String(), `"tables":["dead_letters","events","feedback","label_counts","minute_states","observations_flights","profiles"],"ttl_days":365`)
	tables := tablesOf(t, c, expiring)
	require.Len(t, tables, 7)
	for _, table := range tables {
		require.Contains(t, table.Query, "TTL stored_at + toIntervalDay(365)", table.Name)
	}
	require.Len(t, proxy.changes(), 7)
	require.NoError(t, c.Migrate(t.Context()))
	require.Len(t, proxy.changes(), 7, "nothing is altered that does not differ")

	// Shorter: what is older goes.
	storage.TTLDays = 20
	c = clickhousetest.Open(t, storage)
	require.NoError(t, c.Migrate(t.Context()))
	for clickhousetest.Count(t, c, "SELECT count() AS n FROM system.mutations WHERE database = '{db}' AND NOT is_done") > 0 {
		require.NoError(t, t.Context().Err())
	}
	settle(t, c)
	for _, table := range []string{"feedback", "dead_letters", "events"} {
		require.EqualValues(t, 1500, count(table), table)
	}

	// An operator's own TTL is left alone, and said.
	log.Reset()
	require.NoError(t, c.Exec(t.Context(), "ALTER TABLE "+c.Database()+".feedback MODIFY TTL stored_at + INTERVAL 20 DAY DELETE WHERE model != 'kept'"))
	storage.TTLDays = 21
	c = clickhousetest.Open(t, storage)
	clickhouse.SetLogger(c, zerolog.New(&log))
	require.NoError(t, c.Migrate(t.Context()))
	require.Contains(t, log.String(), "the table has a TTL of its own")
	require.Contains(t, tablesOf(t, c, "name = 'feedback'")[0].Query, "model != 'kept'")
}

// fsyncs returns how many files the server has made reach the disk.
func fsyncs(t *testing.T, c *clickhouse.Client) uint64 {
	t.Helper()
	return clickhousetest.Count(t, c, "SELECT sum(value) AS n FROM system.events WHERE event IN ('FileSync', 'DirectorySync')")
}

func TestDurability(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 30, Durability: schemas.DurabilityFsync}
	c := clickhousetest.Open(t, storage)
	require.NoError(t, c.Migrate(t.Context()))
	require.NoError(t, c.EnsureTable(t.Context(), observetest.Manifest("flights", "v1").ObservationSchema()))
	settings := []string{"fsync_after_insert = 1", "fsync_part_directory = 1", "min_rows_to_fsync_after_merge = 1", "min_compressed_bytes_to_fsync_after_merge = 1"}
	tables := tablesOf(t, c, "1")
	require.Len(t, tables, 23)
	for _, table := range tables {
		for _, setting := range settings {
			if table.Name == "profiles" { // made again of rows
				require.NotContains(t, table.Query, setting)
				continue
			}
			require.Contains(t, table.Query, setting, table.Name)
		}
	}
	before := fsyncs(t, c)
	_, err := storetest.New(t, c).Store(t.Context(), oneOfEach(t), false)
	require.NoError(t, err)
	require.GreaterOrEqual(t, fsyncs(t, c)-before, uint64(5), "a file at least of observations, minutes, feedback, events and dead letters")

	// Tables that exist follow the configuration.
	storage.Durability = schemas.DurabilityNone
	proxy := &statements{}
	c = through(t, storage, proxy)
	require.NoError(t, c.Migrate(t.Context()))
	for _, table := range tablesOf(t, c, "1") {
		require.NotContains(t, table.Query, "fsync", table.Name)
	}
	require.Len(t, proxy.changes(), len(tables)-1)
	require.NoError(t, c.Migrate(t.Context()))
	require.Len(t, proxy.changes(), len(tables)-1, "nothing is altered that does not differ")
}

// A managed service stores in its own way.
func TestDurabilityThatAServerRefusesIsSaidOnce(t *testing.T) {
	storage := schemas.Storage{Database: clickhousetest.NewDatabase(t), TTLDays: 30, Durability: schemas.DurabilityFsync}
	c := through(t, storage, &statements{refuse: func(statement string) bool { return strings.Contains(statement, "MODIFY SETTING") }})
	var log bytes.Buffer
	clickhouse.SetLogger(c, zerolog.New(&log))
	require.NoError(t, c.Migrate(t.Context()))
	stats, err := storetest.New(t, c).Store(t.Context(), oneOfEach(t), false)
	require.NoError(t, err)
	require.Equal(t, storetest.ReplayRows, stats.Observations)
	require.Equal(t, 1, strings.Count(log.String(), "clickhouse does not let settings of tables be changed"), log.String())
	require.NotContains(t, log.String(), "settings of tables changed")
}
