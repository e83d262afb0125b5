package drift_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// learningWorld has a version that learns its reference from two windows: 00 and 02 have enough
// rows, 01 has not, 03 has shifted, 04 is open.
func learningWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.version.Reference = nil
	w.Manifest.Monitoring.Reference = &schemas.Learned{Windows: 2}
	w.Hour(0, 500, 0)
	w.Hour(1, 60, 0)
	return w
}

// verdicts are those of job drift.
func verdicts(stats drift.TickStats) (out []string) {
	for _, j := range stats.Judged {
		if j.Job == string(schemas.JobDrift) {
			out = append(out, j.WindowStart.Format("15 ")+j.Verdict)
		}
	}
	return out
}

func TestReferenceIsLearned(t *testing.T) {
	w := learningWorld(t)
	w.Hour(2, 100, 0)
	pub := &topic{}
	m := w.monitor(w, pub)
	stats := w.tick(m, historytest.WallClock)
	require.Equal(t, []string{"00 learning", "01 too_few"}, verdicts(stats))
	require.Equal(t, []drift.Learning{{Model: "shop", Version: "1.0", Windows: 1, Wanted: 2}}, stats.Learning)
	store := history.New(w, w.Database())
	ref, _, err := drift.Learned(t.Context(), store, w.Manifest)
	require.NoError(t, err)
	require.Nil(t, ref)

	w.Hour(2, 400, 0)
	w.Hour(3, 500, 3)
	w.Hour(4, 200, 0)
	stats = w.tick(w.monitor(w, pub), historytest.WallClock.Add(time.Second)) // another monitor goes on
	require.Equal(t, []string{"02 learning", "03 breached"}, verdicts(stats))
	require.Equal(t, []drift.Learning{{Model: "shop", Version: "1.0", Windows: 2, Wanted: 2, Learned: true}}, stats.Learning)
	require.Equal(t, "03:00 drift r0", pub.kinds()[0])
	ref, to, err := drift.Learned(t.Context(), store, w.Manifest)
	require.NoError(t, err)
	hour := func(h int) profile.Span {
		start := historytest.Start.Add(time.Duration(h) * time.Hour)
		return profile.Span{Start: start, End: start.Add(time.Hour)}
	}
	require.Equal(t, hour(2).End, to)
	want, err := store.MakeReference(t.Context(), w.Manifest, []profile.Span{hour(0), hour(2)})
	require.NoError(t, err)
	require.Equal(t, want, ref)

	// Late rows: the window is judged again, and the reference stays what it was.
	w.Hour(0, 300, 5)
	stats = w.tick(m, historytest.WallClock.Add(4*time.Minute))
	require.Equal(t, []string{"00 learning", "02 learning", "03 breached"}, verdicts(stats), "the first monitor has not finished 02 and 03 itself")
	again, _, err := drift.Learned(t.Context(), store, w.Manifest)
	require.NoError(t, err)
	require.Equal(t, ref, again)
}

// referenceFails fails at one access to the table of learned references, before or after doing it.
type referenceFails struct {
	history.Conn
	at    int
	after bool
}

func (f *referenceFails) do(table string, call func() error) error {
	if !strings.Contains(table, "learned_references") {
		return call()
	}
	f.at--
	if f.at != -1 {
		return call()
	}
	if f.after {
		if err := call(); err != nil {
			return err
		}
	}
	return errKilled
}

func (f *referenceFails) Select(ctx context.Context, dest any, query string, args ...any) error {
	return f.do(query, func() error { return f.Conn.Select(ctx, dest, query, args...) })
}

func (f *referenceFails) InsertRows(ctx context.Context, table string, rows any) error {
	return f.do(table, func() error { return f.Conn.InsertRows(ctx, table, rows) })
}

// TestLearningKilledAnywhere ends a monitor before and after each look at what is kept, and each
// write. Rows that come before the next one starts change the reference only where none was kept.
func TestLearningKilledAnywhere(t *testing.T) {
	w := learningWorld(t)
	w.Hour(2, 500, 0)
	w.Hour(3, 500, 3)
	w.Hour(4, 200, 0)
	learned := func() *schemas.Reference {
		t.Helper()
		ref, _, err := drift.Learned(t.Context(), history.New(w, w.Database()), w.Manifest)
		require.NoError(t, err)
		return ref
	}
	for at, kept := range []bool{false, true, true} { // it is looked for, written, and read back
		for _, after := range []bool{false, true} {
			for _, table := range []string{"drift_results", "accuracy_results", "windows", "learned_references"} {
				require.NoError(t, w.Exec(t.Context(), "TRUNCATE TABLE "+w.Database()+"."+table))
			}
			failing := &referenceFails{Conn: w, at: at, after: after}
			_, err := w.monitor(failing, &topic{}).Tick(t.Context(), historytest.WallClock, []drift.Version{w.version})
			require.ErrorIs(t, err, errKilled)
			before := learned()
			require.Equal(t, kept && (at > 1 || after), before != nil, "access %d, after %v", at, after)
			rows := len(w.Answered(0)) + len(w.Answered(2))
			w.Hour(2, 10, 0)
			if before == nil {
				rows = len(w.Answered(0)) + len(w.Answered(2))
			}
			stats := w.tick(w.monitor(w, &topic{}), historytest.WallClock)
			require.Equal(t, []string{"00 learning", "01 too_few", "02 learning", "03 breached"}, verdicts(stats))
			require.Equal(t, int64(rows), learned().Rows, "access %d, after %v", at, after)
		}
	}
}

// A window that is judged again by hand is judged by the reference that was learned, and while there
// is none its drift is left as it is.
func TestJudgedAgainByTheLearnedReference(t *testing.T) {
	w := learningWorld(t)
	again := func() []string {
		judged, err := w.monitor(w, &topic{}).Again(t.Context(), historytest.WallClock, w.version, profile.Span{})
		require.NoError(t, err)
		var out []string
		for _, j := range judged {
			if j.Job == string(schemas.JobDrift) {
				out = append(out, j.WindowStart.Format("15 ")+j.Verdict)
			}
		}
		return out
	}
	w.tick(w.monitor(w, &topic{}), historytest.WallClock)
	require.Empty(t, again())
	w.Hour(2, 500, 0)
	w.Hour(3, 500, 3)
	w.Hour(4, 200, 0)
	want := verdicts(w.tick(w.monitor(w, &topic{}), historytest.WallClock))
	require.Contains(t, want, "03 breached")
	require.Contains(t, again(), "03 breached")
	require.NotContains(t, again(), "03 learning")
}

// A reference that cannot be learned keeps no accuracy from being judged, and the windows of drift
// are judged as soon as it can.
func TestAccuracyWhileNoReferenceCanBeLearned(t *testing.T) {
	w := learningWorld(t)
	w.Hour(2, 500, 0)
	w.Hour(3, 500, 3)
	w.Hour(4, 200, 0)
	m := w.monitor(&referenceFails{Conn: w, at: 0}, &topic{})
	stats, err := m.Tick(t.Context(), historytest.WallClock, []drift.Version{w.version})
	require.ErrorIs(t, err, errKilled)
	require.Empty(t, verdicts(stats))
	require.NotEmpty(t, stats.Judged)
	require.Equal(t, []string{"00 learning", "01 too_few", "02 learning", "03 breached"}, verdicts(w.tick(m, historytest.WallClock.Add(time.Minute))))
}
