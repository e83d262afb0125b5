package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

// TestMoveToAnotherDatabase stores in a new database what Kafka still has, and brings the rest
// there by the statements that deploy/clickhouse/move.sql prints: each row is there once, also when
// they are run twice, and the minutes are those of the rows.
func TestMoveToAnotherDatabase(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "clickhouse", "move.sql"))
	require.NoError(t, err)
	query, found := strings.CutSuffix(strings.TrimSpace(string(text)), "FORMAT TSVRaw")
	require.True(t, found)
	conn := clickhousetest.Conn(t)
	printed := func(from, to, cluster string) (statements []string) {
		rows, err := conn.Query(ch.Context(t.Context(), ch.WithParameters(ch.Parameters{"old": from, "new": to, "cluster": cluster})), query)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var s string
			require.NoError(t, rows.Scan(&s))
			statements = append(statements, strings.TrimSuffix(s, ";"))
		}
		require.NoError(t, rows.Err())
		return statements
	}
	run := func(statements []string) {
		for _, s := range statements {
			require.NoError(t, conn.Exec(t.Context(), s), s)
		}
	}

	v1, v2 := observetest.Manifest("flights", "v1"), observetest.Manifest("flights", "v2")
	v2.Features[0].Optional = true
	v2.Features = append(v2.Features, schemas.Feature{Name: "gust", Type: schemas.TypeFloat64, Optional: true})
	first := storetest.Observations(t, v1, 6, 50)
	topics := schemas.DefaultTopics()
	for _, offset := range []int64{1, 2} {
		first = append(first,
			observetest.Record(topics.DeadLetters, offset, nil, []byte("x")),
			observetest.Record(topics.Feedback, offset, []byte("id"), []byte(`{"model": "flights", "label": 1}`)))
	}
	last := storetest.Observations(t, v2, 12, 50)[6:]

	old := clickhousetest.Client(t)
	s := storetest.New(t, old)
	for _, records := range [][]schemas.Record{first, last} {
		_, err := s.Store(t.Context(), records, false)
		require.NoError(t, err)
	}
	at := time.Unix(1e9, 0).UTC()
	require.NoError(t, history.New(old, old.Database()).WriteWindows(t.Context(), []schemas.FinishedWindow{{Model: "flights", WindowStart: at, WindowEnd: at, DoneAt: at}}))

	kept := clickhousetest.Client(t)
	s = storetest.New(t, kept)
	_, err = s.Store(t.Context(), append(last, first[4:8]...), false)
	require.NoError(t, err)
	require.NoError(t, conn.Exec(t.Context(), "ALTER TABLE "+kept.Database()+".observations_flights DROP COLUMN gust"))
	for range 2 {
		run(printed(old.Database(), kept.Database(), ""))
		storetest.RequireExact(t, kept, 600)
		for table, n := range map[string]int{"observations_flights": 600, "feedback": 2, "dead_letters": 2, "windows FINAL": 1, "model_versions FINAL": 2} {
			require.EqualValues(t, n, clickhousetest.Count(t, kept, "SELECT count() AS n FROM {db}."+table), table)
		}
	}

	// Of a cluster with shards, rows go to the table of one shard.
	shards := clickhousetest.NewDatabase(t)
	run([]string{
		"CREATE DATABASE " + shards,
		"CREATE TABLE " + shards + ".local_observations_flights AS " + old.Database() + ".observations_flights ENGINE = MergeTree ORDER BY version",
		"CREATE TABLE " + shards + ".observations_flights AS " + shards + ".local_observations_flights ENGINE = Merge('" + shards + "', '^local_observations_flights$')",
	})
	run(printed(old.Database(), shards, ""))
	require.EqualValues(t, 600, clickhousetest.Count(t, kept, "SELECT count() AS n FROM "+shards+".observations_flights"))
	run([]string{"ALTER TABLE " + shards + ".local_observations_flights DROP COLUMN gust"})
	require.Contains(t, printed(old.Database(), shards, "main"),
		"ALTER TABLE "+shards+".local_observations_flights ON CLUSTER 'main' ADD COLUMN IF NOT EXISTS `gust` Nullable(Float64)")
}
