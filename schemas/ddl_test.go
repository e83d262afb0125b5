package schemas_test

import (
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

var storage = schemas.Storage{Database: "millrace", TTLDays: 90}

func TestMigrationsAreNumbered(t *testing.T) {
	migrations, err := schemas.Migrations(storage)
	require.NoError(t, err)
	require.NotEmpty(t, migrations)
	for i, m := range migrations {
		require.Equal(t, i+1, m.Number)
		for _, s := range m.Statements {
			require.NotContains(t, s, "{{")
			require.Contains(t, s, " millrace.")
		}
	}
}

func TestStorageValidate(t *testing.T) {
	require.NoError(t, storage.Validate())
	require.ErrorContains(t, schemas.Storage{Database: "a-b", TTLDays: 1}.Validate(), "clickhouse.database")
	require.ErrorContains(t, schemas.Storage{Database: "a"}.Validate(), "from 1 to 20000, got 0")
	require.ErrorContains(t, schemas.Storage{Database: "a", TTLDays: 36500}.Validate(), "from 1 to 20000, got 36500")
}

func TestTableDDLRefuses(t *testing.T) {
	md := arrow.NewMetadata([]string{schemas.MetadataModel, schemas.MetadataVersion}, []string{"flights", "v1"})
	for want, schema := range map[string]*arrow.Schema{
		"names no model": arrow.NewSchema(nil, nil),
		"table millrace.observations_flights: \"a`b\" is no column name": arrow.NewSchema([]arrow.Field{{Name: "a`b", Type: arrow.PrimitiveTypes.Int32}}, &md),
		"has no ClickHouse column type":                                  arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.FixedWidthTypes.Date32}}, &md),
	} {
		_, err := schemas.TableDDL(schema, storage)
		require.ErrorContains(t, err, want)
	}
}

func TestScoreSQL(t *testing.T) {
	for want, scores := range map[string]map[string]string{
		"CAST(NULL, 'Nullable(Float64)')":       {"v1": ""},
		"CAST(\"@o\".`p`, 'Nullable(Float64)')": {"v1": "p", "v2": "p", "v3": ""},
		"multiIf(\"@o\".version IN ('v2'), CAST(\"@o\".`late`, 'Nullable(Float64)'), \"@o\".version IN ('v1', 'v3'), CAST(\"@o\".`p`, 'Nullable(Float64)'), NULL)": {"v1": "p", "v2": "late", "v3": "p"},
	} {
		require.Equal(t, want, schemas.ScoreSQL(scores))
	}
}
