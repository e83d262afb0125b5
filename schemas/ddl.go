package schemas

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migration is one numbered step of the ClickHouse schema. Each statement is safe to run
// twice, so that a migration interrupted in the middle is simply run again.
type Migration struct {
	Number     int
	Name       string
	Statements []string
}

// Storage is what an operator chooses about the ClickHouse tables.
type Storage struct {
	Database   string
	TTLDays    int
	Durability Durability // "" is DurabilityNone
	Cluster    string     // of the server's remote_servers, for replicated tables; "" is one server
	Quorum     string     // how many replicas have an insert that is answered: auto, most of them, or a number; "" is auto
}

// Durability says when ClickHouse calls a row stored.
type Durability string

const (
	// DurabilityFsync is when it has reached the disk: a power cut loses nothing that was
	// answered.
	DurabilityFsync Durability = "fsync"
	// DurabilityNone is when the kernel has it: a power cut can lose rows of the last half
	// minute, of which Kafka's offsets say that they are stored.
	DurabilityNone Durability = "none"
)

// maxTTLDays keeps expiry within what ClickHouse's DateTime holds: past 2106 it wraps
// around, and new rows expire at once.
const maxTTLDays = 20_000

var (
	databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,59}$`)
	clusterName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$`) // other characters need quoting
	quorum       = regexp.MustCompile(`^(auto|[1-9][0-9]?)?$`)
)

// Validate checks that the database name needs no quoting.
func (s Storage) Validate() error {
	if !databaseName.MatchString(s.Database) {
		return fmt.Errorf("clickhouse.database: %q is no database name: [A-Za-z_][A-Za-z0-9_]*, at most 60 characters", s.Database)
	}
	if s.TTLDays < 1 || s.TTLDays > maxTTLDays {
		return fmt.Errorf("clickhouse.ttl_days: must be from 1 to %d, got %d", maxTTLDays, s.TTLDays)
	}
	if s.Durability != "" && s.Durability != DurabilityFsync && s.Durability != DurabilityNone {
		return fmt.Errorf("clickhouse.durability: must be fsync or none, got %q", s.Durability)
	}
	if s.Cluster != "" && !clusterName.MatchString(s.Cluster) {
		return fmt.Errorf("clickhouse.cluster: %q is no name of a cluster: letters, digits and _ . -, at most 100", s.Cluster)
	}
	if !quorum.MatchString(s.Quorum) {
		return fmt.Errorf("clickhouse.insert_quorum: must be auto or a number of replicas from 1 to 99, got %q", s.Quorum)
	}
	return nil
}

// Migrations returns the embedded migrations in order.
func Migrations(s Storage) ([]Migration, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	fill := strings.NewReplacer("{{database}}", s.Database, "{{ttl_days}}", strconv.Itoa(s.TTLDays),
		"{{stored_at}}", StoredAtDDL, "{{minute_stored_at}}", MinuteStoredAtDDL)
	var out []Migration
	for _, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		base := strings.TrimSuffix(strings.TrimPrefix(name, "migrations/"), ".sql")
		digits, title, _ := strings.Cut(base, "_")
		number, err := strconv.Atoi(digits)
		if err != nil {
			return nil, fmt.Errorf("migration %s: the name must start with a number", name)
		}
		m := Migration{Number: number, Name: title}
		for statement := range strings.SplitSeq(fill.Replace(string(text)), "\n--\n") {
			m.Statements = append(m.Statements, strings.TrimSpace(statement))
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Migration) int { return cmp.Compare(a.Number, b.Number) })
	return out, nil
}

// CreateTable returns the statement that makes a table of the migrations under another name.
func CreateTable(s Storage, table, name string) (string, error) {
	migrations, err := Migrations(s)
	if err != nil {
		return "", err
	}
	const create = "CREATE TABLE IF NOT EXISTS "
	for _, m := range migrations {
		for _, statement := range m.Statements {
			if _, rest, ok := strings.Cut(statement, create+s.Database+"."+table+"\n"); ok {
				return create + s.Database + "." + name + "\n" + rest, nil
			}
		}
	}
	return "", fmt.Errorf("no migration makes a table %s", table)
}

// ClickHouseType returns the column type that an Arrow field is stored in.
func ClickHouseType(f arrow.Field) (string, error) {
	var t string
	switch f.Type.ID() {
	case arrow.BOOL:
		t = "Bool"
	case arrow.INT32:
		t = "Int32"
	case arrow.INT64:
		t = "Int64"
	case arrow.FLOAT32:
		t = "Float32"
	case arrow.FLOAT64:
		t = "Float64"
	case arrow.STRING:
		t = "String"
	case arrow.DICTIONARY:
		if f.Nullable {
			return "LowCardinality(Nullable(String))", nil
		}
		return "LowCardinality(String)", nil
	case arrow.TIMESTAMP:
		t = "DateTime64(6, 'UTC')"
	default:
		return "", fmt.Errorf("column %q: Arrow type %s has no ClickHouse column type here", f.Name, f.Type)
	}
	if f.Nullable {
		t = "Nullable(" + t + ")"
	}
	return t, nil
}

// columnDDL is one column of an observations table. Times and counters that rise are
// delta-coded; floats take ZSTD, which beats Gorilla on features.
func columnDDL(f arrow.Field) (string, error) {
	t, err := ClickHouseType(f)
	if err != nil {
		return "", err
	}
	codec := ""
	switch {
	case f.Type.ID() == arrow.TIMESTAMP, f.Name == ColumnOffset:
		codec = " CODEC(DoubleDelta, LZ4)"
	case f.Type.ID() == arrow.FLOAT32, f.Type.ID() == arrow.FLOAT64, f.Type.ID() == arrow.STRING:
		codec = " CODEC(ZSTD(1))"
	}
	return "`" + f.Name + "` " + t + codec, nil
}

// TableDDL returns the statements that make the observations table of the model that the
// schema belongs to, or widen it. They are safe to run twice. A column that a later
// version adds is nullable, whatever its schema says: NULL is what the rows of the
// versions before it have there.
func TableDDL(schema *arrow.Schema, s Storage) ([]string, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	model, _, err := SchemaModel(schema)
	if err != nil {
		return nil, err
	}
	table := s.Database + "." + ObservationsTable(model)
	var columns, adds []string
	for _, f := range schema.Fields() {
		if !columnName.MatchString(f.Name) {
			return nil, fmt.Errorf("table %s: %q is no column name", table, f.Name)
		}
		if f.Name == ColumnStoredAt {
			return nil, fmt.Errorf("table %s: column %q is the server's", table, f.Name)
		}
		c, err := columnDDL(f)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", table, err)
		}
		columns = append(columns, "    "+c)
		f.Nullable = true
		if c, err = columnDDL(f); err != nil {
			return nil, fmt.Errorf("table %s: %w", table, err)
		}
		adds = append(adds, "ADD COLUMN IF NOT EXISTS "+c)
	}
	create := fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s
(
%s,
    %s %s,
    INDEX by_offset %s TYPE minmax GRANULARITY 1,
    INDEX by_scored_at %s TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(%s)
ORDER BY (version, event_time)
TTL %s + INTERVAL %d DAY
COMMENT 'One row per request that %s was asked to score.'`,
		table, strings.Join(columns, ",\n"), ColumnStoredAt, StoredAtDDL, ColumnOffset, ColumnScoredAt, ColumnStoredAt, ColumnStoredAt, s.TTLDays, model)
	return []string{create, "ALTER TABLE " + table + " " + strings.Join(adds, ", ")}, nil
}

// ColumnStoredAt is when the server stored the row, by its own clock. Nobody can insert
// into it, and it is not part of SELECT *. Partitions and expiry of every table of rows
// follow it: a time that a producer sets must not decide what is deleted.
const ColumnStoredAt = "stored_at"

// StoredAtDDL is the type of ColumnStoredAt and where its value comes from.
const StoredAtDDL = "DateTime('UTC') MATERIALIZED now() COMMENT 'when this server stored the row; partitions and expiry follow it' CODEC(Delta, LZ4)"

// MinuteStoredAtDDL is StoredAtDDL for minute_states: the time of the last row.
const MinuteStoredAtDDL = "SimpleAggregateFunction(max, DateTime('UTC')) DEFAULT now() COMMENT 'when the last of these rows was stored; expiry follows it'"

// MicrosSQL is the DateTime64 constant of a time in microseconds since 1970.
func MicrosSQL(micros int64) string {
	return "fromUnixTimestamp64Micro(" + strconv.FormatInt(micros, 10) + ", 'UTC')"
}

// SecondsSQL is the DateTime constant of a time in seconds since 1970.
func SecondsSQL(seconds int64) string {
	return "toDateTime(" + strconv.FormatInt(seconds, 10) + ", 'UTC')"
}

// Observation is what queries here call the observations table: no column can bear that
// name, so a feature called like an alias changes no meaning.
const Observation = `"@o"`

// ScoreSQL returns the SQL expression of the prediction, a Nullable(Float64), in a query
// that calls the table Observation. scores gives the score output of each version,
// "" for a version without one.
func ScoreSQL(scores map[string]string) string {
	versions := map[string][]string{} // by output
	for version, output := range scores {
		if output != "" && columnName.MatchString(output) && versionName.MatchString(version) {
			versions[output] = append(versions[output], "'"+version+"'")
		}
	}
	outputs := slices.Sorted(maps.Keys(versions))
	cast := func(output string) string { return "CAST(" + Observation + ".`" + output + "`, 'Nullable(Float64)')" }
	switch len(outputs) {
	case 0:
		return "CAST(NULL, 'Nullable(Float64)')"
	case 1: // in rows of versions without a score the column is NULL
		return cast(outputs[0])
	}
	var b strings.Builder
	for _, output := range outputs {
		slices.Sort(versions[output])
		b.WriteString(Observation + ".version IN (" + strings.Join(versions[output], ", ") + "), " + cast(output) + ", ")
	}
	return "multiIf(" + b.String() + "NULL)"
}

// MinuteViewName is the name of the materialised view that feeds minute_states from the
// observations of a model.
func MinuteViewName(model string) string { return "minute_states_of_" + model }

// MinuteStatesColumns are the columns of MinuteStatesSelect, in its order.
const MinuteStatesColumns = "model, version, variant, minute, request_topic_id, request_partition, outcome, error_class, " +
	"requests, latency_sum_us, latency_max_us, latency, queue, score, score_sum, event_time_max, scored_at_max, stored_at"

// MinuteStatesSelect is the one definition of how rows become minute_states: the
// materialised view uses it, and so does the repair of minutes. where is "" or a
// condition; it and score, which ScoreSQL returns, call the table Observation. Every
// column is qualified, since a feature may be called minute, requests or score.
//
// event_time_max leaves out rows whose event time lies in the future, so that a wrong one
// does not carry the monitor's watermark away; with nothing left it is the start of 1970.
// The hour is for clocks that differ.
func MinuteStatesSelect(model, score, table, where string) string {
	if where != "" {
		where = "\nWHERE " + where
	}
	return fmt.Sprintf(`SELECT
    '%s' AS model, "@o".version AS version, "@o".variant AS variant,
    toStartOfMinute(toDateTime("@o".scored_at, 'UTC')) AS minute,
    "@o".request_topic_id AS request_topic_id, "@o".request_partition AS request_partition,
    "@o".outcome AS outcome, "@o".error_class AS error_class,
    count() AS requests,
    sum("@o".latency_us) AS latency_sum_us,
    max("@o".latency_us) AS latency_max_us,
    quantilesTDigestState(0.5, 0.9, 0.99, 0.999)("@o".latency_us) AS latency,
    quantilesTDigestStateIf(0.5, 0.9, 0.99, 0.999)(assumeNotNull("@o".queue_us), isNotNull("@o".queue_us)) AS queue,
    quantilesTDigestState(0.1, 0.25, 0.5, 0.75, 0.9)(%s) AS score,
    ifNull(sum(%s), 0) AS score_sum,
    maxIf("@o".event_time, "@o".event_time <= "@o".scored_at + INTERVAL 1 HOUR) AS event_time_max,
    max("@o".scored_at) AS scored_at_max,
    max("@o".stored_at) AS stored_at
FROM %s AS "@o"%s
GROUP BY "@o".version, "@o".variant, toStartOfMinute(toDateTime("@o".scored_at, 'UTC')),
    "@o".request_topic_id, "@o".request_partition, "@o".outcome, "@o".error_class`,
		model, score, score, table, where)
}
