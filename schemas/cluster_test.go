package schemas_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// Every statement of the migrations and of a model's table that defines something is on the
// cluster, and every table that keeps rows is replicated.
func TestLayoutOfAllStatements(t *testing.T) {
	s := schemas.Storage{Database: "millrace", TTLDays: 90}
	migrations, err := schemas.Migrations(s)
	require.NoError(t, err)
	var statements []string
	for _, m := range migrations {
		statements = append(statements, m.Statements...)
	}
	m := &schemas.Manifest{Name: "m", Version: "1", Outputs: []schemas.Output{{Name: "y", Type: schemas.TypeFloat64}}}
	ddl, err := schemas.TableDDL(m.ObservationSchema(), s)
	require.NoError(t, err)
	statements = append(statements, ddl...)
	on := regexp.MustCompile(`(?m)^(CREATE|ALTER) [A-Z ]+ millrace\.\w+ ON CLUSTER 'c'`)
	for _, l := range []schemas.Layout{{Cluster: "c"}, {Cluster: "c", Sharded: true}} {
		for _, statement := range statements {
			got := l.On(statement)
			if strings.HasPrefix(statement, "INSERT") {
				require.Equal(t, statement, got)
				continue
			}
			require.Regexp(t, on, got)
			require.Equal(t, strings.Count(statement, "ENGINE = "), strings.Count(got, "ENGINE = Replicated"), got)
		}
	}
	for _, statement := range statements {
		require.Equal(t, statement, schemas.Layout{}.On(statement))
		require.Equal(t, statement, schemas.Layout{Cluster: "c", Shared: true}.On(statement))
		require.NotContains(t, schemas.Layout{Cluster: "c", Replicating: true}.On(statement), "ON CLUSTER")
	}
}

func TestLayout(t *testing.T) {
	const (
		one     = "CREATE TABLE IF NOT EXISTS d.windows\n(\n    a Int32\n)\nENGINE = ReplacingMergeTree(a)\nORDER BY a"
		rows    = "CREATE TABLE IF NOT EXISTS d.observations_m\n(\n    a Int32\n)\nENGINE = MergeTree\nORDER BY a"
		view    = "CREATE MATERIALIZED VIEW IF NOT EXISTS d.minute_states_of_m TO d.minute_states AS\nSELECT 1\nFROM d.observations_m AS \"@o\""
		modify  = "ALTER TABLE d.minute_states_of_m MODIFY QUERY SELECT 1\nFROM d.observations_m AS \"@o\""
		reading = "CREATE OR REPLACE VIEW d.predictions AS\nSELECT 1\nFROM d.observations_m AS \"@o\""
	)
	shard, shards := schemas.Layout{Cluster: "c"}, schemas.Layout{Cluster: "c", Sharded: true}
	for want, got := range map[string]string{
		"CREATE TABLE IF NOT EXISTS d.windows ON CLUSTER 'c'\n(\n    a Int32\n)\nENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/d/windows', '{replica}', a)\nORDER BY a":               shard.On(one),
		"CREATE TABLE IF NOT EXISTS d.windows ON CLUSTER 'c'\n(\n    a Int32\n)\nENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/all/d/windows', '{shard}-{replica}', a)\nORDER BY a":           shards.On(one),
		"CREATE TABLE IF NOT EXISTS d.windows\n(\n    a Int32\n)\nENGINE = ReplicatedReplacingMergeTree(a)\nORDER BY a":                                                                                   schemas.Layout{Cluster: "c", Replicating: true}.On(one),
		"CREATE TABLE IF NOT EXISTS d.observations_m\n(\n    a Int32\n)\nENGINE = ReplicatedMergeTree\nORDER BY a":                                                                                        schemas.Layout{Cluster: "c", Replicating: true}.On(rows),
		"CREATE TABLE IF NOT EXISTS d.observations_m ON CLUSTER 'c'\n(\n    a Int32\n)\nENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/d/observations_m', '{replica}')\nORDER BY a":             shard.On(rows),
		"CREATE TABLE IF NOT EXISTS d.local_observations_m ON CLUSTER 'c'\n(\n    a Int32\n)\nENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/d/local_observations_m', '{replica}')\nORDER BY a": shards.On(rows),
		"CREATE MATERIALIZED VIEW IF NOT EXISTS d.minute_states_of_m ON CLUSTER 'c' TO d.minute_states AS\nSELECT 1\nFROM d.observations_m AS \"@o\"":                                                     shard.On(view),
		"CREATE MATERIALIZED VIEW IF NOT EXISTS d.minute_states_of_m ON CLUSTER 'c' TO d.local_minute_states AS\nSELECT 1\nFROM d.local_observations_m AS \"@o\"":                                         shards.On(view),
		"ALTER TABLE d.minute_states_of_m ON CLUSTER 'c' MODIFY QUERY SELECT 1\nFROM d.local_observations_m AS \"@o\"":                                                                                    shards.On(modify),
		"CREATE OR REPLACE VIEW d.predictions ON CLUSTER 'c' AS\nSELECT 1\nFROM d.observations_m AS \"@o\"":                                                                                               shards.On(reading),
		"CREATE DATABASE IF NOT EXISTS d ON CLUSTER 'c'": shards.On("CREATE DATABASE IF NOT EXISTS d"),
		"CREATE TABLE IF NOT EXISTS d.minute_states ON CLUSTER 'c' AS d.local_minute_states\nENGINE = Distributed('c', 'd', 'local_minute_states')": shards.DistributedDDL("d", "minute_states"),
		"ALTER TABLE d.minute_states ON CLUSTER 'c' ADD COLUMN a Int32":                                                                             shards.AlterDistributed("d", "minute_states", "ADD COLUMN a Int32"),
	} {
		require.Equal(t, want, got)
	}
}
