package store_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/store"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

var defines = regexp.MustCompile(`(?m)^(CREATE|ALTER|RENAME|DROP|SYSTEM DROP) `)

// On a cluster every table is made on all servers and replicated, rows are stored on one server of
// a shard and found on one that has caught up, and a replay stores none of them again, on
// whichever shard they lie. How the engine stands for a cluster: clickhousetest.Cluster.
func TestStoreOnACluster(t *testing.T) {
	for _, shards := range []int{1, 2} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			cluster := clickhousetest.NewCluster(t, shards, 2)
			c := cluster.Open(t)
			require.NoError(t, c.Migrate(t.Context()))
			local, distributedTables := "observations_flights", 0
			if shards > 1 {
				local, distributedTables = "local_observations_flights", 1
			}
			checkDefinitions(t, cluster, distributedTables)
			require.NoError(t, c.Migrate(t.Context()))
			require.Empty(t, slices.DeleteFunc(cluster.Take(), func(r clickhousetest.Request) bool { return !defines.MatchString(r.Text) }), "done is done")

			s := storetest.New(t, c)
			records := storetest.Observations(t, observetest.Manifest("flights", "v1"), 6, 100)
			for i := range 3 { // to one shard after the other
				stats, err := s.Store(t.Context(), records[2*i:2*i+2], false)
				require.NoError(t, err)
				require.Equal(t, 200, stats.Observations)
			}
			inserted := map[int]int{} // by shard
			for _, r := range cluster.Take() {
				if strings.HasPrefix(r.Text, "INSERT INTO "+cluster.Database+"."+local+" ") {
					require.Equal(t, "auto", r.Settings.Get("insert_quorum"))
					require.Equal(t, "1", r.Settings.Get("insert_quorum_parallel"))
					require.Equal(t, "0", r.Settings.Get("insert_deduplicate"))
					inserted[r.Shard]++
				}
			}
			require.Len(t, inserted, shards)
			count := func(query string) uint64 { return clickhousetest.Count(t, c, query) }
			require.EqualValues(t, 600, count("SELECT count() AS n FROM {db}.observations_flights"))
			require.EqualValues(t, 600, count("SELECT sum(requests) AS n FROM {db}.minute_statistics"))
			require.EqualValues(t, 600, count("SELECT count() AS n FROM {db}.predictions"))

			// What is lost on the first shard is stored again, and nothing else.
			cluster.Take()
			conn := clickhousetest.Conn(t)
			require.NoError(t, conn.Exec(t.Context(), "DELETE FROM "+tablesOf(cluster, local, shards)[0]+" WHERE request_offset % 10 = 3"))
			lost := 600 - count("SELECT count() AS n FROM {db}.observations_flights")
			require.Positive(t, lost)
			stats, err := s.Store(t.Context(), records, true)
			require.NoError(t, err)
			require.EqualValues(t, lost, stats.Observations)
			require.EqualValues(t, 600-lost, stats.Present)
			require.EqualValues(t, 600, count("SELECT uniqExact(request_partition, request_offset, request_row) AS n FROM {db}.observations_flights"))
			require.EqualValues(t, 600, count("SELECT sum(requests) AS n FROM {db}.minute_statistics"), "minutes were made anew")
			looked := cluster.Take()
			first := slices.IndexFunc(looked, func(r clickhousetest.Request) bool {
				return strings.HasPrefix(r.Text, "SELECT request_topic_id AS topic") && strings.Contains(r.Text, "."+local)
			})
			require.Positive(t, first)
			require.True(t, slices.ContainsFunc(looked[:first], func(r clickhousetest.Request) bool {
				return r.Shard == looked[first].Shard && r.Text == "SYSTEM SYNC REPLICA "+cluster.Database+"."+local+" LIGHTWEIGHT"
			}), "rows are looked for on a server that has caught up")

			// Doubled rows, one on each shard where there are two, are told and removed.
			ledger := store.ObservationsLedger("flights")
			sums := func() (rows uint64) {
				found, err := ledger.Sums(t.Context(), c, store.Reach{})
				require.NoError(t, err)
				for _, sum := range found {
					rows += sum.Rows
				}
				return rows
			}
			tables := tablesOf(cluster, local, shards)
			require.NoError(t, conn.Exec(t.Context(), "INSERT INTO "+tables[len(tables)-1]+" SELECT * FROM "+tables[0]+" WHERE request_offset < 700 AND request_row = 0 ORDER BY request_partition, request_offset LIMIT 3"))
			require.EqualValues(t, 603, sums())
			var doubled []store.Single
			rows, err := ledger.StoredRows(t.Context(), c, store.Reach{}, ranges())
			require.NoError(t, err)
			require.Len(t, rows, 600)
			for _, r := range rows {
				if r.Copies > 1 {
					doubled = append(doubled, store.Single{Version: r.Version, Coordinates: r.Coordinates})
				}
			}
			require.Len(t, doubled, 3)
			removed, err := ledger.KeepOne(t.Context(), c, doubled)
			require.NoError(t, err)
			require.Equal(t, 3, removed)
			require.EqualValues(t, 600, sums())
			require.EqualValues(t, 600, count("SELECT uniqExact(request_partition, request_offset, request_row) AS n FROM {db}.observations_flights"))

			// A version with another column widens what is read, too.
			next := observetest.Manifest("flights", "v2")
			next.Features = append(next.Features, schemas.Feature{Name: "extra", Type: schemas.TypeFloat64})
			require.NoError(t, c.EnsureTable(t.Context(), next.ObservationSchema()))
			require.EqualValues(t, 600, count("SELECT countIf(isNull(extra)) AS n FROM {db}.observations_flights"))
			checkDefinitions(t, cluster, 0)

			empty, err := s.Empty(t.Context(), schemas.DefaultTopics().Observations)
			require.NoError(t, err)
			require.False(t, empty)
		})
	}
}

// A server that has lost Keeper is left for another one of its shard, which has it: also by several
// inserts that fail there at the same time, and in a replay.
func TestServerOfAShardLosesKeeper(t *testing.T) {
	for _, shards := range []int{1, 2} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			cluster := clickhousetest.NewCluster(t, shards, 3)
			c := cluster.Open(t)
			require.NoError(t, c.Migrate(t.Context()))
			s := storetest.New(t, c)
			records := storetest.Observations(t, observetest.Manifest("flights", "v1"), 6, 100)
			_, err := s.Store(t.Context(), records[:2], false)
			require.NoError(t, err)
			cluster.LoseKeeper(3*shards - 3) // the first of the last shard
			for range shards {
				_, err = s.Store(t.Context(), records[2:], err != nil)
				for try := 0; err != nil; try++ {
					require.Less(t, try, 3, err)
					require.Contains(t, err.Error(), "242")
					_, err = s.Store(t.Context(), records[2:], true)
				}
				records = append(records[2:], records[:2]...)
			}
			require.EqualValues(t, 600, clickhousetest.Count(t, c, "SELECT uniqExact(request_partition, request_offset, request_row) AS n FROM {db}.observations_flights"))
		})
	}
}

// Rows of an insert that failed since too few replicas had them are passed over by a replay only when
// enough have them.
func TestReplayWaitsForTheQuorum(t *testing.T) {
	cluster := clickhousetest.NewCluster(t, 1, 3)
	c := cluster.Open(t)
	require.NoError(t, c.Migrate(t.Context()))
	s := storetest.New(t, c)
	records := storetest.Observations(t, observetest.Manifest("flights", "v1"), 2, 100)
	_, err := s.Store(t.Context(), records, false)
	require.NoError(t, err)
	cluster.Take()
	cluster.LoseKeeper(1)
	stats, err := s.Store(t.Context(), records, true)
	require.NoError(t, err)
	require.Equal(t, 200, stats.Present)
	caughtUp := map[int]bool{}
	asked := cluster.Take()
	for _, r := range asked[:slices.IndexFunc(asked, func(r clickhousetest.Request) bool {
		return strings.HasPrefix(r.Text, "SELECT request_topic_id AS topic") && strings.Contains(r.Text, ".observations_flights")
	})] {
		if r.Text == "SYSTEM SYNC REPLICA "+cluster.Database+".observations_flights LIGHTWEIGHT" {
			caughtUp[r.Server] = true
		}
	}
	require.Equal(t, map[int]bool{0: true, 1: true, 2: true}, caughtUp)
	cluster.LoseKeeper(2)
	_, err = s.Store(t.Context(), records, true)
	require.ErrorContains(t, err, "lie on 1 of the 2 servers that clickhouse.insert_quorum wants")
}

// tablesOf returns where the engine has the rows of each shard.
func tablesOf(cluster *clickhousetest.Cluster, local string, shards int) []string {
	if shards == 1 {
		return []string{cluster.Database + "." + local}
	}
	var tables []string
	for k := 1; k <= shards; k++ {
		tables = append(tables, fmt.Sprintf("%s_s%d.%s", cluster.Database, k, local))
	}
	return tables
}

// ranges are those of all offsets of the observations of storetest.
func ranges() []store.Range {
	var all []store.Range
	for partition := range int32(3) {
		all = append(all, store.Range{Version: "v1", Topic: observetest.RequestTopicID, Partition: partition, Start: 0, End: 10_000})
	}
	return all
}

// checkDefinitions checks that what was defined since is defined on all servers, replicated but
// for what is read of all shards.
func checkDefinitions(t *testing.T, cluster *clickhousetest.Cluster, distributed int) {
	t.Helper()
	defined := 0
	for _, r := range cluster.Take() {
		if !defines.MatchString(r.Text) {
			continue
		}
		defined++
		require.Contains(t, r.Text, " ON CLUSTER 'main'")
		require.Equal(t, "throw_only_active", r.Settings.Get("distributed_ddl_output_mode"))
		require.Equal(t, "1", r.Settings.Get("wait_end_of_query"), "else an exception can follow a status of 200")
		if strings.Contains(r.Text, "ENGINE = Distributed(") {
			distributed--
		} else if strings.Contains(r.Text, "ENGINE = ") {
			require.Regexp(t, `ENGINE = Replicated\w*MergeTree\('/clickhouse/tables/(\{shard\}|all)/`+cluster.Database+`/\w+', '(\{shard\}-)?\{replica\}'[,)]`, r.Text)
		}
	}
	require.Positive(t, defined)
	require.Zero(t, distributed)
}
