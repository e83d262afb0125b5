package operate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// versions compares versions, in their order, with those before them that may have served, and with
// the tables of ClickHouse where it can be reached.
type versions struct {
	cfg    config.Config
	client *clickhouse.Client             // nil where ClickHouse cannot be reached
	away   string                         // why not
	last   map[string]*schemas.Manifest   // of each model, the version before that may have served
	first  map[string]map[string]typeFrom // of each model and column
	many   bool                           // a model has more than one version
}

// typeFrom is a column's type, and which version had it first.
type typeFrom struct{ typ, version string }

// askTimeout bounds how long a check waits for ClickHouse.
const askTimeout = 3 * time.Second

func newVersions(ctx context.Context, cfg config.Config) *versions {
	v := &versions{cfg: cfg, last: map[string]*schemas.Manifest{}, first: map[string]map[string]typeFrom{}}
	client, err := clickhouse.Open(cfg.ClickHouseOptions(zerolog.Nop()))
	if err != nil {
		v.away = err.Error()
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := client.HasTable(ctx, "model_versions"); err != nil {
		v.away = err.Error()
		_ = client.Close() // nothing was written
		return v
	}
	v.client = client
	return v
}

// add compares a version, and returns lines of what requests and readers of rows meet in it. The error
// says why its rows could not be stored.
func (v *versions) add(ctx context.Context, m *schemas.Manifest) (departures []string, err error) {
	types, err := m.StoredTypes()
	if err != nil {
		return nil, err
	}
	var conflicts []string
	if table, where := v.table(ctx, m.Name); table != nil {
		conflicts = schemas.Unstorable(types, table, where)
	}
	byVersion := map[string]map[string]string{}
	for column, from := range v.first[m.Name] {
		if byVersion[from.version] == nil {
			byVersion[from.version] = map[string]string{}
		}
		byVersion[from.version][column] = from.typ
	}
	for _, version := range slices.Sorted(maps.Keys(byVersion)) {
		conflicts = append(conflicts, schemas.Unstorable(types, byVersion[version], "version "+version)...)
	}
	if last := v.last[m.Name]; last != nil {
		v.many = true
		for _, line := range m.Departures(last) {
			departures = append(departures, fmt.Sprintf("  unlike version %s: %s", last.Version, line))
		}
	}
	if len(conflicts) > 0 {
		return nil, fmt.Errorf("model %s/%s: its rows could not be stored: %s; give such a feature or output its old type, or another name",
			m.Name, m.Version, strings.Join(conflicts, "; "))
	}
	if m.Draft && v.cfg.Models.Versions[m.Name] != m.Version { // it has stored nothing
		return departures, nil
	}
	v.last[m.Name] = m
	if v.first[m.Name] == nil {
		v.first[m.Name] = map[string]typeFrom{}
	}
	for column, typ := range types {
		if _, known := v.first[m.Name][column]; !known {
			v.first[m.Name][column] = typeFrom{typ, m.Version}
		}
	}
	return departures, nil
}

// table returns the columns of a model's table, nil where they are not known.
func (v *versions) table(ctx context.Context, model string) (columns map[string]string, where string) {
	if v.client == nil {
		return nil, ""
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	columns, err := v.client.StoredColumns(ctx, model)
	if err != nil {
		v.away = err.Error()
		return nil, ""
	}
	return columns, "table " + v.cfg.ClickHouse.Database + "." + schemas.ObservationsTable(model)
}

// close ends the comparison, and returns a line where versions were compared and ClickHouse could not be
// asked.
func (v *versions) close() []string {
	if v.client != nil {
		_ = v.client.Close() // nothing was written
	}
	if v.away == "" || !v.many {
		return nil
	}
	return []string{"versions are compared with each other only, and not with the tables: " + strings.Join(strings.Fields(v.away), " ")}
}
