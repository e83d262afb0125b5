package clickhouse_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// A cluster that is not as the configuration says is refused before anything is made.
func TestClusterIsAsConfigured(t *testing.T) {
	cluster := clickhousetest.NewCluster(t, 2, 1)
	migrate := func(name, database string, addr ...string) error {
		c, err := clickhouse.Open(clickhouse.Options{Addr: addr, Logger: zerolog.Nop(), Storage: schemas.Storage{Database: database, TTLDays: 1, Cluster: name}})
		require.NoError(t, err)
		defer c.Close()
		return c.Migrate(t.Context())
	}
	require.ErrorContains(t, migrate("other", cluster.Database, cluster.Addr...), "the server knows no cluster other; there are: main")
	require.ErrorContains(t, migrate("main", cluster.Database, cluster.Addr[0]), "clickhouse.addr names servers of 1 of the 2 shards of cluster main: name all servers")
	for _, r := range cluster.Take() {
		require.False(t, strings.HasPrefix(r.Text, "CREATE"), r.Text)
	}
	plain := clickhousetest.Client(t)
	require.ErrorContains(t, migrate(clickhousetest.OneShard, plain.Database(), clickhousetest.Addr()), "is there and is no replicated one (")
	_, err := clickhouse.Open(clickhouse.Options{Addr: []string{"ch:8123"}, Storage: schemas.Storage{Database: "d", TTLDays: 1, Cluster: "it's"}})
	require.ErrorContains(t, err, `clickhouse.cluster: "it's" is no name of a cluster`)
	_, err = clickhouse.Open(clickhouse.Options{Addr: []string{"ch:8123"}, Storage: schemas.Storage{Database: "d", TTLDays: 1, Quorum: "0"}})
	require.ErrorContains(t, err, "clickhouse.insert_quorum: must be auto or a number of replicas from 1 to 99")
}

// A monitor whose server fails goes on at another, once that has what was noted through the first.
func TestMonitorReadsWhatItWroteElsewhere(t *testing.T) {
	cluster := clickhousetest.NewCluster(t, 1, 2)
	c := cluster.Open(t)
	require.NoError(t, c.Migrate(t.Context()))
	store := history.New(c, c.Database())
	m := &schemas.Manifest{Name: "shop", Version: "1"}
	at := time.Unix(1e9, 0).UTC()
	require.NoError(t, store.NoteLabels(t.Context(), m, at))
	cluster.Take()
	cluster.Stop(0)
	for range 20 { // connections to the first may be open
		noted, err := store.LabelsNoted(t.Context(), m)
		if err == nil {
			require.Equal(t, at, noted)
			break
		}
		require.Contains(t, err.Error(), cluster.Addr[0])
	}
	asked := cluster.Take()
	read := slices.IndexFunc(asked, func(r clickhousetest.Request) bool {
		return strings.Contains(r.Text, ".label_looks FINAL") && r.Server == 1
	})
	require.Positive(t, read, "the second server was asked")
	sync := slices.IndexFunc(asked, func(r clickhousetest.Request) bool {
		return r.Server == 1 && r.Text == "SYSTEM SYNC REPLICA "+cluster.Database+".label_looks LIGHTWEIGHT"
	})
	require.True(t, sync >= 0 && sync < read, "it had caught up")
}
