package drift_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
)

func TestWatermark(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return time.Date(2001, 1, n, 0, 0, 0, 0, time.UTC) }
	fresh, idle := now.Add(-time.Second), now.Add(-2*time.Minute)
	for name, tc := range map[string]struct {
		events, scored []time.Time
		want           time.Time
	}{
		"nothing seen":               {nil, nil, time.Time{}},
		"one":                        {[]time.Time{day(5)}, []time.Time{fresh}, day(5).Add(-time.Hour)},
		"least holds back":           {[]time.Time{day(5), day(3), day(9)}, []time.Time{fresh, fresh, fresh}, day(3).Add(-time.Hour)},
		"idle does not hold back":    {[]time.Time{day(5), day(3), day(9)}, []time.Time{fresh, idle, fresh}, day(5).Add(-time.Hour)},
		"all idle: the greatest":     {[]time.Time{day(5), day(3), day(9)}, []time.Time{idle, idle, idle}, day(9).Add(-time.Hour)},
		"just within the timeout":    {[]time.Time{day(5), day(3)}, []time.Time{fresh, now.Add(-time.Minute)}, day(3).Add(-time.Hour)},
		"scored by a clock ahead":    {[]time.Time{day(5), day(3)}, []time.Time{now.Add(time.Hour), fresh}, day(3).Add(-time.Hour)},
		"nothing usable yet":         {[]time.Time{{}, {}}, []time.Time{fresh, idle}, time.Time{}},
		"unusable holds nothing":     {[]time.Time{day(5), {}}, []time.Time{fresh, fresh}, day(5).Add(-time.Hour)},
		"unusable, others idle":      {[]time.Time{day(5), {}}, []time.Time{idle, fresh}, day(5).Add(-time.Hour)},
		"before 1970":                {[]time.Time{time.Unix(-5, 0).UTC()}, []time.Time{fresh}, time.Unix(-3605, 0).UTC()},
		"greatest among idle is old": {[]time.Time{day(5), day(9)}, []time.Time{fresh, idle}, day(5).Add(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, drift.Watermark(tc.events, tc.scored, now, time.Minute, time.Hour))
		})
	}
}
