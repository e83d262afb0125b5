package history

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// ProfileConn is ClickHouse as a Profiler sees it.
type ProfileConn interface {
	Conn
	// Exec runs a statement.
	Exec(ctx context.Context, statement string, args ...any) error
	// DeleteSync is what ends a DELETE, so that it is done when it is answered.
	DeleteSync() string
}

// Profiler keeps the plans of versions, and makes profiles of rows that recorders have not counted. It
// is for one goroutine.
type Profiler struct {
	store   *Store
	conn    ProfileConn
	settled time.Duration // the age from which on rows are counted here, and by no recorder any more
	bytes   int           // that a thread of a statement may take
}

// NewProfiler returns a profiler of a database, which conn inserts into too.
func NewProfiler(conn ProfileConn, database string) *Profiler {
	return &Profiler{store: New(conn, database), conn: conn, settled: schemas.ProfileSettled, bytes: fillThreadBytes}
}

// Settled sets the age from which on rows are counted here instead of schemas.ProfileSettled: where no
// recorder runs, any is right.
func (p *Profiler) Settled(age time.Duration) { p.settled = age }

type planRow struct {
	Model   string `ch:"model"`
	Version string `ch:"version"`
	Plan    string `ch:"plan"`
	Bucket  int64  `ch:"bucket"`
	Text    string `ch:"text"`
}

// Plan keeps the plan of a version's reference, for recorders to count by, and tells whether it is
// another one than before.
func (p *Profiler) Plan(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference) (changed bool, err error) {
	plan := planOf(m, ref)
	fail := func(err error) (bool, error) {
		return false, fmt.Errorf("keep the plan of the profiles of %s version %s: %w", m.Name, m.Version, err)
	}
	var last []struct {
		Plan string `ch:"plan"`
	}
	query := fmt.Sprintf("SELECT plan FROM %s.profile_plans WHERE %s ORDER BY made_at DESC, plan DESC LIMIT 1", p.store.database, of(m))
	if err := p.conn.Select(ctx, &last, query); err != nil {
		return fail(err)
	}
	if len(last) == 1 && last[0].Plan == plan.ID() {
		return false, nil
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return fail(err)
	}
	row := []planRow{{m.Name, m.Version, plan.ID(), plan.Bucket.Microseconds(), string(text)}}
	if err := p.conn.InsertRows(ctx, "profile_plans", row); err != nil {
		return fail(err)
	}
	return true, nil
}

// Stored returns the span of buckets that rows were stored into from since on, by the clock of the
// server; false where there are none, or no table of the model.
func (p *Profiler) Stored(ctx context.Context, m *schemas.Manifest, since time.Time) (span profile.Span, any bool, err error) {
	t, bucket := p.store.rowsOf(m), profile.Bucket(m.Monitoring.Unit())
	fail := func(err error) (profile.Span, bool, error) {
		return profile.Span{}, false, fmt.Errorf("look for rows of %s version %s that were stored lately: %w", t.model, t.version, err)
	}
	var tables []struct {
		N uint64 `ch:"n"`
	}
	err = p.conn.Select(ctx, &tables, fmt.Sprintf("SELECT count() AS n FROM system.tables WHERE database = %s AND name = %s", quote(t.database), quote(schemas.ObservationsTable(t.model))))
	if err != nil {
		return fail(err)
	}
	if len(tables) == 0 || tables[0].N == 0 {
		return profile.Span{}, false, nil
	}
	where := fmt.Sprintf("version = %s AND outcome = %s", quote(t.version), quote(schemas.OutcomeOK))
	if !since.IsZero() {
		where += " AND stored_at >= " + schemas.SecondsSQL(since.Unix())
	}
	var rows []struct {
		First int64 `ch:"first"`
		Last  int64 `ch:"last"`
	}
	err = p.conn.Select(ctx, &rows, fmt.Sprintf("SELECT toUnixTimestamp64Micro(min(event_time)) AS first, toUnixTimestamp64Micro(max(event_time)) AS last FROM %s WHERE %s HAVING count() > 0", t.observations(), where))
	if err != nil || len(rows) == 0 {
		if err != nil {
			return fail(err)
		}
		return profile.Span{}, false, nil
	}
	span.Start = profile.WindowStart(time.UnixMicro(rows[0].First), bucket)
	span.End = profile.WindowStart(time.UnixMicro(rows[0].Last), bucket).Add(bucket)
	return span, true, nil
}

// Filled says what one call of Fill did.
type Filled struct {
	Buckets int    // that were counted
	Rows    uint64 // in them
	Left    int    // buckets that are still to be counted
	Waiting int    // of them, those that have got rows lately, which recorders may still count
}

// Fill makes the profiles of a version equal to its rows of a span: it counts the buckets again whose
// counts differ from the number of their rows, the latest first, until more than maxRows rows, but at
// least one bucket, were counted. A bucket with rows that were stored within the last ten minutes is
// left to recorders, and to a later call. A span without a start has no lower bound.
//
// It counts eight columns in a pass over the rows, in statements whose memory is bounded. It ends anywhere: what
// is half done differs.
func (p *Profiler) Fill(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, span profile.Span, maxRows uint64) (Filled, error) {
	f := &filling{Profiler: p, versionRows: p.store.rowsOf(m), plan: planOf(m, ref), span: span}
	f.id, f.origin = f.plan.ID(), eventTimeOrigin(f.plan.Bucket)
	done, err := f.run(ctx, ref, maxRows)
	if err != nil {
		return done, fmt.Errorf("count the profiles of %s version %s: %w", m.Name, m.Version, err)
	}
	return done, nil
}

// filling is one call of Fill.
type filling struct {
	*Profiler
	versionRows
	plan   *profile.Plan
	id     string
	span   profile.Span
	origin time.Time
	before int64 // rows that were stored before it are counted; seconds since 1970
}

// differing is a bucket whose counts differ from its rows.
type differing struct {
	Bucket   int64  `ch:"b"` // since origin
	Rows     uint64 `ch:"n"`
	Variants uint64 `ch:"variants"`
	Fresh    uint64 `ch:"fresh"`
}

func (f *filling) run(ctx context.Context, ref *schemas.Reference, maxRows uint64) (done Filled, err error) {
	if len(f.plan.Columns) == 0 {
		return done, nil
	}
	var clock []struct {
		Now int64 `ch:"at"`
	}
	if err := f.conn.Select(ctx, &clock, "SELECT toInt64(toUnixTimestamp(now())) AS at"); err != nil || len(clock) != 1 {
		return done, fmt.Errorf("read the clock of clickhouse: %w", err)
	}
	f.before = clock[0].Now - int64(f.settled.Seconds())
	var found []differing
	if err := f.conn.Select(ctx, &found, f.differingQuery()); err != nil {
		return done, err
	}
	var buckets []differing
	for _, d := range found {
		switch {
		case d.Fresh > 0:
			done.Waiting++
			done.Left++
		case len(buckets) > 0 && (done.Rows+d.Rows > maxRows || len(buckets) == maxFillBuckets):
			done.Left++
		default:
			buckets = append(buckets, d)
			done.Rows += d.Rows
		}
	}
	if len(buckets) == 0 {
		return done, nil
	}
	if err := f.forget(ctx, buckets); err != nil {
		return done, err
	}
	for _, statement := range f.statements(ref, buckets) {
		if err := f.conn.Exec(ctx, statement); err != nil {
			return done, err
		}
	}
	done.Buckets = len(buckets)
	return done, nil
}

// maxFillBuckets bounds the length of a query that names buckets.
const maxFillBuckets = 1000

// bucketOf is the expression of a row's bucket, counted from origin.
func (f *filling) bucketOf(column string) string {
	return fmt.Sprintf("intDiv(toUnixTimestamp64Micro(%s) - (%d), %d)", column, f.origin.UnixMicro(), f.plan.Bucket.Microseconds())
}

// differingQuery selects the buckets in which a variant has another number of rows than each column
// of its profile has, of all rows and over the values of each segment, or the profile has not each
// column; the latest first.
func (f *filling) differingQuery() string {
	within := "bucket < " + instant(f.span.End)
	if !f.span.Start.IsZero() {
		within += " AND bucket >= " + instant(f.span.Start)
	}
	return fmt.Sprintf(`SELECT b, sum(n) AS n, count() AS variants, sum(fresh) AS fresh FROM (
  SELECT b, v, sum(n) AS n, sum(fresh) AS fresh, n != max(least) OR n != max(greatest) OR (n > 0 AND max(columns) != %[1]d) AS differs FROM (
    SELECT %[2]s AS b, toString(variant) AS v, count() AS n, countIf(stored_at >= %[3]s) AS fresh, toUInt64(0) AS least, toUInt64(0) AS greatest, toUInt64(0) AS columns
    FROM %[4]s WHERE %[5]s GROUP BY b, v
    UNION ALL
    SELECT b, v, 0, 0, min(n), max(n), count() FROM (
      SELECT %[6]s AS b, toString(variant) AS v, segment, column, sum(profiles.rows) AS n FROM %[7]s.profiles
      WHERE %[8]s AND %[9]s GROUP BY b, v, segment, column)
    GROUP BY b, v)
  GROUP BY b, v)
GROUP BY b HAVING max(differs) ORDER BY b DESC`,
		len(f.plan.Columns)*(1+len(f.plan.Segments)), f.bucketOf("event_time"), schemas.SecondsSQL(f.before), f.observations(), f.where(f.span),
		f.bucketOf("bucket"), f.database, f.counts(), within)
}

// counts selects what was counted by the plan.
func (f *filling) counts() string {
	return fmt.Sprintf("model = %s AND version = %s AND plan = %s AND column != ''", quote(f.model), quote(f.version), quote(f.id))
}

// forget deletes what was counted of buckets, of all columns, variants and segments. Like a repair of
// minutes it names the parts that have it now: a statement that comes late finds them gone.
func (f *filling) forget(ctx context.Context, buckets []differing) error {
	starts := make([]string, len(buckets))
	for i, b := range buckets {
		starts[i] = schemas.MicrosSQL(f.origin.UnixMicro() + b.Bucket*f.plan.Bucket.Microseconds())
	}
	where := f.counts() + " AND bucket IN (" + strings.Join(starts, ", ") + ")"
	var parts []struct {
		Name string `ch:"_part"`
	}
	if err := f.conn.Select(ctx, &parts, "SELECT DISTINCT _part FROM "+f.database+".profiles WHERE "+where); err != nil || len(parts) == 0 {
		return err
	}
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = quote(p.Name)
	}
	slices.Sort(names)
	return f.conn.Exec(ctx, "DELETE FROM "+f.database+".profiles WHERE "+where+" AND _part IN ("+strings.Join(names, ", ")+")"+f.conn.DeleteSync())
}
