package report_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/report"
)

func TestSchedule(t *testing.T) {
	for _, tc := range []struct{ expression, zone, by, want string }{
		{"0 6 * * *", "", "2026-12-01T05:59:59Z", "2026-11-30T06:00:00Z"},
		{"0 6 * * *", "", "2026-12-01T06:00:00Z", "2026-12-01T06:00:00Z"},
		{"0 6 * * *", "Europe/Berlin", "2026-12-01T06:00:00Z", "2026-12-01T05:00:00Z"},
		{"0 6 * * *", "+02:00", "2026-12-01T04:00:00.5Z", "2026-12-01T04:00:00Z"},
		{"* * * * *", "", "2026-12-01T04:00:59Z", "2026-12-01T04:00:00Z"},
		{"*/20 8-9 * * 1-5", "", "2026-11-29T12:00:00Z", "2026-11-27T09:40:00Z"}, // a Sunday
		{"0 0 29 2 *", "", "2027-12-01T00:00:00Z", "2024-02-29T00:00:00Z"},
		{"@monthly", "", "2026-12-31T00:00:00Z", "2026-12-01T00:00:00Z"},
		// The hour that a night in spring lacks, and the one that a night in autumn has twice.
		{"30 2 * * *", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T01:30:00Z"},
		{"30 12 * * *", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-25T11:30:00Z"},
	} {
		s, err := report.NewSchedule(tc.expression, tc.zone)
		require.NoError(t, err, tc.expression)
		by, err := time.Parse(time.RFC3339, tc.by)
		require.NoError(t, err)
		require.Equal(t, tc.want, s.Last(by).Format(time.RFC3339), "%s %s by %s", tc.expression, tc.zone, tc.by)
	}
	for _, bad := range [][3]string{
		{"", "", "no schedule"},
		{"0 6 * *", "", "no schedule"},
		{"61 6 * * *", "", "no schedule"},
		{"*/0 * * * *", "", "no schedule"},
		{"0 0 30 2 *", "", "never fires"},
		{"@every 1h", "", "at no times of the clock"},
		{"TZ=0", "", "a setting of its own"},
		{"CRON_TZ=UTC 0 6 * * *", "", "a setting of its own"},
		{"0 6 * * *", "Mars", "no time zone"},
		{"0 6 * * *", "Local", "no time zone"},
	} {
		_, err := report.NewSchedule(bad[0], bad[1])
		require.ErrorContains(t, err, bad[2], "%q %q", bad[0], bad[1])
	}
}

// A firing is the last one if it has come, no other lies in between, and it stays so until the next.
func TestScheduleIsTheSameForWhoeverAsks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, zone := range []string{"", "America/New_York", "Australia/Lord_Howe"} {
		s, err := report.NewSchedule("15 */6 * * *", zone)
		require.NoError(t, err)
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 200 {
			by := start.Add(time.Duration(r.Int64N(int64(366 * 24 * time.Hour))))
			last := s.Last(by)
			require.False(t, last.After(by))
			require.Equal(t, last, s.Last(last))
			require.True(t, s.Last(last.Add(-time.Second)).Before(last))
			require.Less(t, by.Sub(last), 8*time.Hour)
			require.Equal(t, last, s.Last(last.Add(by.Sub(last)/2)))
		}
	}
}
