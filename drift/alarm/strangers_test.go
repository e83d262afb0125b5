package alarm_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/alarm"
	"github.com/millrace/millrace/drift/profile"
)

// TestOddColumns has columns that reports to other monitors are about: one that never changes (NannyML
// 330), one that is missing in whole windows (NannyML 327), one that the reference has no value of,
// and windows that hold nothing but what is missing or was never seen (Evidently 330). Every figure is
// a number, and a column that becomes another one raises the alarm.
func TestOddColumns(t *testing.T) {
	const seed = 4
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	const rows = 500
	window := func(i int) alarm.Bucket {
		steady, usual, absent := make([]int64, 5), make([]int64, 5), make([]int64, 5)
		steady[2] = rows
		for range rows {
			usual[min(4, max(0, int(2.5+r.NormFloat64())))]++
		}
		b := alarm.Bucket{Rows: rows, Columns: []profile.Counts{
			{Cells: steady}, {Cells: []int64{rows, 0}}, {Cells: usual}, {Cells: usual}, {Cells: absent, Missing: rows},
		}}
		if i%9 == 4 { // it is missing in whole windows
			b.Columns[3] = profile.Counts{Cells: make([]int64, 5), Missing: rows}
		}
		return b
	}
	ref := alarm.Buckets{Start: time.Unix(0, 0).UTC(), Length: time.Hour, Columns: []alarm.Column{
		{Name: "steady", Numeric: true}, {Name: "one category"}, {Name: "usual", Numeric: true}, {Name: "at times", Numeric: true}, {Name: "absent", Numeric: true},
	}}
	for i := range 90 {
		ref.Buckets = append(ref.Buckets, window(i))
	}
	c, err := alarm.Calibrate(ref, alarm.Options{Window: time.Hour, Every: 60 * time.Hour, Rule: alarm.Rule{K: 1, N: 1, Close: 1}, Seed: seed, Replicates: 40})
	require.NoError(t, err)
	card, err := alarm.NewCard(ref, c)
	require.NoError(t, err)
	s, err := alarm.NewScorer(&ref, c)
	require.NoError(t, err)
	at := ref.Start.Add(90 * time.Hour)
	finite := func(b alarm.Bucket) alarm.Scored {
		x, err := s.Score(at, b)
		require.NoError(t, err)
		_, err = json.Marshal([]any{x, c, card}) // which takes no NaN and no infinity
		require.NoError(t, err)
		return x
	}
	above := 0
	for i := range 300 {
		if x := finite(window(i)); len(x.Breaches) > 0 {
			above++
		}
	}
	require.LessOrEqual(t, above, 15, "of 300 windows like the reference, where one in 60 is promised")

	all, none := []int64{0, 0, 0, 0, rows}, make([]int64, 5)
	for name, change := range map[string]struct {
		column int
		counts profile.Counts
	}{
		"what never changed has another value":   {0, profile.Counts{Cells: all}},
		"a category that was never seen":         {1, profile.Counts{Cells: []int64{0, 0}, Other: rows}},
		"another listed category":                {1, profile.Counts{Cells: []int64{0, rows}}},
		"all of a column is missing":             {2, profile.Counts{Cells: none, Missing: rows}},
		"a column that had no value has values":  {4, profile.Counts{Cells: all}},
		"half of a column that never was is new": {4, profile.Counts{Cells: []int64{rows / 2, 0, 0, 0, 0}, Missing: rows / 2}},
	} {
		b := window(0)
		b.Columns[change.column] = change.counts
		x := finite(b)
		require.NotEmpty(t, x.Breaches, name)
		require.Equal(t, ref.Columns[change.column].Name, c.Checks[x.Breaches[0].Check].Column, name)
	}
	one := alarm.Bucket{Rows: 1, Columns: window(0).Columns}
	require.True(t, finite(one).NoData)
	require.True(t, finite(alarm.Bucket{Columns: window(0).Columns}).NoData)
	huge := window(0) // as many rows as there can be
	for i := range huge.Columns {
		huge.Columns[i].Cells = []int64{1 << 60, 1 << 60, 0, 0, 0}[:len(huge.Columns[i].Cells)]
	}
	huge.Rows = 1 << 61
	finite(huge)
}
