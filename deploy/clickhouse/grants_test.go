// Package clickhouse_test runs each role with the grants that deploy/README.md lists for it.
package clickhouse_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	_ "github.com/millrace/millrace/deploy/native/nativetest" // where the engine lies
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/embedded"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/store"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	blocks = regexp.MustCompile("(?s)```sql\n(.*?)```")
	grant  = regexp.MustCompile(`^GRANT (.+) TO (millrace_\w+)$`)
)

// documented returns the statements of the README, and the grants of each user.
func documented(t *testing.T) (statements []string, grants map[string][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	grants = map[string][]string{}
	for _, block := range blocks.FindAllStringSubmatch(string(text), -1) {
		for statement := range strings.SplitSeq(block[1], ";") {
			if statement = strings.TrimSpace(statement); statement == "" {
				continue
			}
			statements = append(statements, statement)
			if m := grant.FindStringSubmatch(statement); m != nil {
				grants[m[2]] = append(grants[m[2]], m[1])
			}
		}
	}
	require.Len(t, grants, 3)
	return statements, grants
}

// engine runs the embedded ClickHouse, whose only user has these grants and this profile; no
// grants are all. Access of the engine comes from a file alone, so each user is a life of it.
func engine(t *testing.T, dir string, grants []string, readonly string, do func(addr string)) {
	t.Helper()
	var user strings.Builder
	for _, g := range grants {
		fmt.Fprintf(&user, "<query>GRANT %s</query>", g)
	}
	access := "<access_management>1</access_management>"
	if user.Len() > 0 {
		access = "<grants>" + user.String() + "</grants>"
	}
	users := filepath.Join(dir, "users.xml")
	require.NoError(t, os.WriteFile(users, []byte(`<clickhouse>
<profiles><default><readonly>`+readonly+`</readonly></default></profiles><quotas><default/></quotas>
<users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>`+access+`</default></users>
</clickhouse>`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.xml"), []byte(`<clickhouse>
<merge_tree><auto_statistics_types></auto_statistics_types></merge_tree>
<user_directories><users_xml><path>`+users+`</path></users_xml></user_directories><users_config>`+users+`</users_config>
<tcp_port>9000</tcp_port><remote_servers><one><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard></one></remote_servers>
</clickhouse>`), 0o600))
	e, err := embedded.Open(embedded.Config{Dir: dir, AllowExternal: true})
	require.NoError(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx, listener) }() // stopped below
	defer func() {
		cancel()
		require.NoError(t, <-served)
	}()
	do(listener.Addr().String())
}

// client returns a client that do uses.
func client(t *testing.T, addr string, days int, do func(c *clickhouse.Client)) {
	t.Helper()
	c, err := clickhouse.Open(clickhouse.Options{
		Addr: []string{addr}, Storage: schemas.Storage{Database: "millrace", TTLDays: days, Durability: schemas.DurabilityFsync},
		Logger: zerolog.New(zerolog.NewTestWriter(t)),
	})
	require.NoError(t, err)
	do(c)
	require.NoError(t, c.Close())
}

// TestLeastGrants has each role do what it does with ClickHouse by a user with the grants of the
// README, in a database that an administrator has made.
func TestLeastGrants(t *testing.T) {
	statements, grants := documented(t)
	dir := t.TempDir()
	denied := func(c *clickhouse.Client, statement string) {
		t.Helper()
		require.ErrorContains(t, c.Exec(t.Context(), statement), "user default (clickhouse.username) lacks this grant")
	}
	engine(t, dir, nil, "0", func(addr string) {
		client(t, addr, 30, func(c *clickhouse.Client) {
			for _, s := range statements {
				require.NoError(t, c.Exec(t.Context(), "EXPLAIN AST "+s), s)
			}
			require.NoError(t, c.Exec(t.Context(), "CREATE DATABASE other"))
			require.NoError(t, c.Exec(t.Context(), "CREATE TABLE other.t (a Int32) ENGINE = MergeTree ORDER BY a"))
		})
	})
	// The front of the embedded engine gives it the rows of an insert as a file.
	front := "READ ON FILE"
	engine(t, dir, append([]string{front}, grants["millrace_recorder"]...), "0", func(addr string) {
		client(t, addr, 30, func(c *clickhouse.Client) {
			require.ErrorContains(t, c.Migrate(t.Context()), "database millrace (clickhouse.database) is not there, or user default may not see it, and it may not be made by that user")
		})
	})
	engine(t, dir, nil, "0", func(addr string) {
		client(t, addr, 30, func(c *clickhouse.Client) { require.NoError(t, c.Exec(t.Context(), statements[0])) })
	})
	m := observetest.Manifest("flights", "v1")
	engine(t, dir, append([]string{front}, grants["millrace_recorder"]...), "0", func(addr string) {
		client(t, addr, 30, func(c *clickhouse.Client) { record(t, c, m) })
		client(t, addr, 31, func(c *clickhouse.Client) { require.NoError(t, c.Migrate(t.Context()), "another ttl_days") })
		client(t, addr, 31, func(c *clickhouse.Client) {
			l := schemas.Layout{Cluster: "one", Sharded: true, Shared: true}
			require.NoError(t, c.Exec(t.Context(), "CREATE TABLE millrace.local_minute_states (a Int32) ENGINE = MergeTree ORDER BY a"))
			require.NoError(t, c.Exec(t.Context(), strings.ReplaceAll(l.DistributedDDL("millrace", "minute_states"), "millrace.minute_states", "millrace.all_minutes")))
			denied(c, "CREATE DATABASE third")
			denied(c, "DROP TABLE millrace.events")
			denied(c, "SELECT * FROM other.t")
		})
	})
	engine(t, dir, append([]string{front}, grants["millrace_monitor"]...), "0", func(addr string) {
		client(t, addr, 31, func(c *clickhouse.Client) {
			judge(t, c, m)
			denied(c, "INSERT INTO millrace.model_versions (model) VALUES ('m')")
			denied(c, "ALTER TABLE millrace.windows ADD COLUMN x Int32")
			denied(c, "SELECT * FROM other.t")
		})
	})
	engine(t, dir, grants["millrace_analyst"], "2", func(addr string) {
		client(t, addr, 31, func(c *clickhouse.Client) {
			models, err := c.StoredModels(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{"flights"}, models)
			stream, err := c.QueryArrow(t.Context(), history.New(c, "millrace").RowsSQL(m, profile.Span{End: time.Now()}))
			require.NoError(t, err)
			require.NoError(t, stream.Close())
			_, err = store.ObservationsLedger("flights").Sums(t.Context(), c, store.Reach{})
			require.NoError(t, err)
			_, err = c.DifferingMinutes(t.Context(), "flights", time.Unix(0, 0), time.Now())
			require.NoError(t, err)
			_, err = c.Servers(t.Context())
			require.NoError(t, err)
			require.Error(t, c.Exec(t.Context(), "INSERT INTO millrace.windows (model) VALUES ('m')"))
		})
	})
	engine(t, dir, grants["millrace_analyst"], "1", func(addr string) {
		client(t, addr, 31, func(c *clickhouse.Client) {
			require.ErrorContains(t, c.Ping(t.Context()), "readonly must be 2 for a user that only reads")
		})
	})
}

// record does what a recorder does.
func record(t *testing.T, c *clickhouse.Client, m *schemas.Manifest) {
	t.Helper()
	require.NoError(t, c.Migrate(t.Context()))
	monitored, ref := monitored(m)
	_, err := history.NewProfiler(c, "millrace").Plan(t.Context(), monitored, ref)
	require.NoError(t, err)
	s := storetest.New(t, c)
	records := storetest.Observations(t, m, 2, 100)
	topics := schemas.DefaultTopics()
	letter := observetest.Record(topics.DeadLetters, 1, nil, []byte("x"))
	label := observetest.Record(topics.Feedback, 1, []byte("id"), []byte(`{"model": "flights", "label": 1}`))
	all := slices.Concat(records, []schemas.Record{letter, label})
	stored, err := s.Store(t.Context(), all, false)
	require.NoError(t, err)
	require.Positive(t, stored.Profiles)
	next := observetest.Manifest(m.Name, "v2")
	next.Outputs[1].Name, next.Target.Score = "other", "other"
	next.Features[0].Optional = true
	_, err = s.Store(t.Context(), storetest.Observations(t, next, 1, 10), false)
	require.NoError(t, err)
	// A replay after rows and minutes were lost.
	require.NoError(t, c.Exec(t.Context(), "DELETE FROM millrace.observations_flights WHERE request_offset % 7 = 0"))
	stats, err := s.Store(t.Context(), all, true)
	require.NoError(t, err)
	require.Positive(t, stats.Observations)
	require.NoError(t, c.Exec(t.Context(), "DELETE FROM millrace.minute_states WHERE 1"))
	repaired, err := c.Reconcile(t.Context(), m.Name, time.Unix(0, 0), time.Now().AddDate(1, 0, 0))
	require.NoError(t, err)
	require.Positive(t, repaired)
	_, err = s.Claim(t.Context(), topics.Observations, observetest.RequestTopicID, "g", "")
	require.NoError(t, err)
	_, err = s.Empty(t.Context(), topics.Observations)
	require.NoError(t, err)
	_, err = c.Servers(t.Context())
	require.NoError(t, err)
	ledger := store.ObservationsLedger(m.Name)
	_, err = ledger.Sums(t.Context(), c, store.Reach{})
	require.NoError(t, err)
	removed, err := ledger.Remove(t.Context(), c, []store.Single{{Version: m.Version, Coordinates: schemas.Coordinates{TopicID: observetest.RequestTopicID, Offset: 3}}})
	require.NoError(t, err)
	require.Equal(t, 1, removed)
}

// judge does what a monitor does.
func judge(t *testing.T, c *clickhouse.Client, m *schemas.Manifest) {
	t.Helper()
	require.NoError(t, c.Migrate(t.Context()), "nothing is to be done")
	monitored, ref := monitored(m)
	h := history.New(c, "millrace")
	at := time.Now().UTC().Truncate(time.Hour)
	_, err := h.Progress(t.Context(), []string{m.Name}, time.Time{})
	require.NoError(t, err)
	_, err = h.CountQuality(t.Context(), monitored, []time.Time{at})
	require.NoError(t, err)
	_, err = history.NewLabelCounter(h).Count(t.Context(), []*schemas.Manifest{monitored})
	require.NoError(t, err)
	require.NoError(t, c.InsertRows(t.Context(), "label_counts", []schemas.LabelCount{{Model: m.Name, StoredFrom: at, StoredTo: at}}))
	require.NoError(t, h.NoteLabels(t.Context(), m, at))
	require.NoError(t, h.WriteReference(t.Context(), schemas.LearnedReference{Model: m.Name, Version: m.Version, LearnedTo: at}))
	require.NoError(t, h.WriteAlarmCalibration(t.Context(), schemas.AlarmCalibration{Model: m.Name, Version: m.Version, From: at, To: at}))
	require.NoError(t, h.WriteAlarms(t.Context(), []schemas.AlarmWindow{{Model: m.Name, Version: m.Version, WindowStart: at, WindowEnd: at, DecidedAt: at}}))
	_, err = h.AlarmCalibrations(t.Context(), monitored)
	require.NoError(t, err)
	_, _, err = h.LearnedReference(t.Context(), m)
	require.NoError(t, err)
	require.NoError(t, h.WriteResults(t.Context(), []schemas.DriftResult{{Model: m.Name, WindowStart: at, WindowEnd: at, ComputedAt: at}}, []schemas.AccuracyResult{{Model: m.Name, WindowStart: at, WindowEnd: at, ComputedAt: at}}))
	require.NoError(t, h.WriteFound(t.Context(), schemas.Found{
		Segments:     []schemas.SegmentResult{{Model: m.Name, WindowStart: at, WindowEnd: at, ComputedAt: at}},
		Requirements: []schemas.RequirementResult{{Model: m.Name, WindowStart: at, WindowEnd: at, ComputedAt: at}},
		Delays:       []schemas.LabelDelayResult{{Model: m.Name, WindowStart: at, WindowEnd: at, ComputedAt: at}},
	}))
	_, err = h.Found(t.Context(), m, at, at)
	require.NoError(t, err)
	require.NoError(t, h.WriteEstimator(t.Context(), schemas.LearnedEstimator{Model: m.Name, Version: m.Version, LearnedTo: at}))
	_, _, err = h.LearnedEstimator(t.Context(), m, at)
	require.NoError(t, err)
	require.NoError(t, h.WriteWindows(t.Context(), []schemas.FinishedWindow{{Model: m.Name, WindowStart: at, WindowEnd: at, DoneAt: at}}))
	_, err = h.Results(t.Context(), m, at, at)
	require.NoError(t, err)
	now, err := c.Now(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.InsertRowsWithin(t.Context(), "windows", []schemas.FinishedWindow{{Model: m.Name, WindowStart: at, WindowEnd: at, DoneAt: at}},
		schemas.Lease{Announced: now, Deadline: now.Add(time.Minute)}))
	require.NoError(t, c.AwaitInserts(t.Context(), "windows"))
	p := history.NewProfiler(c, "millrace")
	ref.Columns[0].Edges = []float64{400}
	_, err = p.Plan(t.Context(), monitored, ref)
	require.NoError(t, err)
	p.Settled(-time.Hour)
	for range 2 { // with and without counts that are there
		span, _, err := p.Stored(t.Context(), monitored, time.Time{})
		require.NoError(t, err)
		done, err := p.Fill(t.Context(), monitored, ref, span, 1<<40)
		require.NoError(t, err)
		require.Positive(t, done.Buckets)
		require.NoError(t, c.InsertRows(t.Context(), "profiles", []profiled{{m.Name, m.Version, profile.PlanOf(monitored, ref, nil).ID(), ref.Columns[0].Name, "", span.Start, 1}}))
	}
}

// profiled is a row of profiles.
type profiled struct {
	Model   string    `ch:"model"`
	Version string    `ch:"version"`
	Plan    string    `ch:"plan"`
	Column  string    `ch:"column"`
	Variant string    `ch:"variant"`
	Bucket  time.Time `ch:"bucket"`
	Rows    uint64    `ch:"rows"`
}

// monitored is the manifest with windows of an hour, and a reference.
func monitored(m *schemas.Manifest) (*schemas.Manifest, *schemas.Reference) {
	monitored := *m
	monitored.Monitoring = &schemas.Monitoring{Window: schemas.Duration(time.Hour)}
	return &monitored, &schemas.Reference{Columns: []schemas.ReferenceColumn{{Name: "f0", Edges: []float64{500}, Counts: make([]int64, 2)}}}
}
