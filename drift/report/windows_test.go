package report_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/report"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// Reports of windows that start together stand beside each other, and with a schedule they are
// written when it has fired, by whichever reporter runs then or later.
func TestScheduledReports(t *testing.T) {
	c := clickhousetest.Client(t)
	v := fill(t, c, 3, 1000, 1)
	v.Manifest.Monitoring.Windows = []schemas.Windows{{Length: schemas.Duration(12 * time.Hour)}, {Length: schemas.Duration(24 * time.Hour), Every: schemas.Duration(12 * time.Hour)}}
	versions := []drift.Version{v}
	schedule, err := report.NewSchedule("0 6 * * *", "Europe/Berlin")
	require.NoError(t, err)
	cfg := report.DefaultConfig()
	cfg.Dir, cfg.Due = t.TempDir(), schedule.Last
	tick := func(at time.Time) []string {
		t.Helper()
		paths, err := report.NewReporter(cfg, history.New(c, c.Database()), zerolog.Nop()).Tick(t.Context(), at, versions)
		require.NoError(t, err)
		return paths
	}
	stats, err := newMonitor(c).Tick(t.Context(), now, versions)
	require.NoError(t, err)
	require.Equal(t, 2*(3+6+6), len(stats.Judged))
	fires := time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC)
	require.Empty(t, tick(now), "it fired in the morning")
	require.Empty(t, tick(fires.Add(-time.Second)))
	paths := tick(fires.Add(30 * time.Hour)) // and nothing ran when it fired
	require.Len(t, paths, 3+6+6)
	require.Empty(t, tick(fires.Add(31*time.Hour)))

	seen := map[string]bool{}
	for _, path := range paths {
		require.False(t, seen[path], path)
		seen[path] = true
	}
	for name, want := range map[string]struct {
		length time.Duration
		kind   string
	}{"20010202T000000Z": {24 * time.Hour, ""}, "20010202T000000Z_12h": {12 * time.Hour, "12h"}, "20010202T120000Z_1d-every-12h": {24 * time.Hour, "1d-every-12h"}} {
		text, err := os.ReadFile(filepath.Join(cfg.Dir, "flights", "1.0", name+".json"))
		require.NoError(t, err)
		var rep report.Report
		require.NoError(t, json.Unmarshal(text, &rep))
		require.Equal(t, want.length, rep.WindowEnd.Sub(rep.WindowStart))
		require.Equal(t, want.kind, rep.WindowKind)
		require.Equal(t, rep.Rows, clickhousetest.Count(t, c, "SELECT count() AS n FROM ("+rep.SQL+")"))
		var counted int64
		for _, n := range append([]int64{rep.Columns[0].Bins.OtherCurrent, rep.Columns[0].Bins.MissingCurrent}, rep.Columns[0].Bins.Current...) {
			counted += n
		}
		require.EqualValues(t, rep.Rows, counted)
		require.Equal(t, "https://reports/flights/1.0/"+name+".html", report.Link("https://reports/")("flights", "1.0", want.kind, rep.WindowStart))
	}
	index, err := os.ReadFile(filepath.Join(cfg.Dir, "index.html"))
	require.NoError(t, err)
	require.Equal(t, len(paths), strings.Count(string(index), `<a href="flights/1.0/2001`))
	require.Contains(t, string(index), "windows 1d-every-12h")

	// A window that is judged again is due when it fires again.
	require.NoError(t, c.Exec(t.Context(), "INSERT INTO "+c.Database()+".observations_flights SELECT * REPLACE ('late' || request_id AS request_id, toDateTime64('2026-11-25 12:00:00', 6, 'UTC') AS scored_at) FROM "+c.Database()+".observations_flights WHERE event_time < '2001-02-02 12:00:00' AND event_time >= '2001-02-02 00:00:00'"))
	later := fires.Add(55 * time.Hour)
	stats, err = newMonitor(c).Tick(t.Context(), later, versions)
	require.NoError(t, err)
	require.Equal(t, 2*(1+1+2), len(stats.Judged), "of each kind those that the rows lie in")
	require.Empty(t, tick(later))
	require.Len(t, tick(later.Add(24*time.Hour)), 4)
}
