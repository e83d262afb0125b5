package main

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestQuantileIsTheNearestRank(t *testing.T) {
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(i + 1)
	}
	for name, tc := range map[string]struct {
		sorted []int64
		q      float64
		want   int64
	}{
		"the median":           {hundred, 0.5, 50},
		"p99 of a hundred":     {hundred, 0.99, 99},
		"p99.9 of a hundred":   {hundred, 0.999, 100},
		"the least":            {hundred, 0, 1},
		"the greatest":         {hundred, 1, 100},
		"the only one":         {[]int64{7}, 0.5, 7},
		"of two, the lower":    {[]int64{1, 9}, 0.5, 1},
		"of three, the middle": {[]int64{1, 5, 9}, 0.5, 5},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, quantile(tc.sorted, tc.q)) })
	}
}

func TestMedianIsTheLowerMiddle(t *testing.T) {
	itself := func(v int) int { return v }
	require.Equal(t, 3, median([]int{9, 1, 3}, itself))
	require.Equal(t, 3, median([]int{9, 1, 3, 5}, itself))
	require.Equal(t, 4, median([]int{4}, itself))
}

// A quantile leaves at most the share 1-q above it, and no smaller value does.
func TestQuantileProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, 50), 1, 200).Draw(t, "values")
		q := rapid.Float64Range(0.01, 1).Draw(t, "q")
		slices.Sort(values)
		got := quantile(values, q)
		upTo := func(limit int64) (n int) {
			for _, v := range values {
				if v <= limit {
					n++
				}
			}
			return n
		}
		require.GreaterOrEqual(t, float64(upTo(got)), q*float64(len(values)))
		require.Less(t, float64(upTo(got-1)), q*float64(len(values)))
	})
}

func TestScheduleFixesArrivals(t *testing.T) {
	s := Schedule{Records: 5, Start: 1_000_000_000, Rate: 1000} // one a millisecond
	require.Equal(t, int64(1_000_000_000), s.due(0))
	require.Equal(t, int64(1_004_000_000), s.due(4))
	for now, want := range map[int64]int64{
		0: 0, 999_999_999: 0, 1_000_000_000: 1, 1_000_999_999: 1, 1_001_000_000: 2, 1_003_500_000: 4, 9_000_000_000: 5,
	} {
		require.Equal(t, want, s.arrived(now), "at %d", now)
	}
	closed := Schedule{Records: 5, Start: 1_000_000_000}
	require.Equal(t, int64(0), closed.arrived(999_999_999))
	require.Equal(t, int64(5), closed.arrived(1_000_000_000), "without a rate all are due at once")
}

// Exactly those requests have arrived that are due.
func TestScheduleProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Schedule{
			Records: rapid.Int64Range(1, 1_000_000).Draw(t, "records"),
			Start:   rapid.Int64Range(0, 1<<60).Draw(t, "start"),
			Rate:    rapid.Float64Range(0.5, 5e6).Draw(t, "rate"),
		}
		n := s.arrived(s.Start + rapid.Int64Range(0, int64(time.Hour)).Draw(t, "after"))
		require.GreaterOrEqual(t, n, int64(1))
		require.Equal(t, n, s.arrived(s.due(n-1)), "the last that has arrived is due")
	})
}

func TestKeyCarriesTheSequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seq := rapid.Int64Range(0, 1<<62).Draw(t, "seq")
		key := appendKey(nil, seq)
		require.Len(t, key, keyBytes)
		require.Equal(t, seq, sequence(key))
	})
	require.Equal(t, int64(-1), sequence([]byte("another key")))
}

// A request that the pipeline answers late counts from when it was due, and so do those
// that were due in the meantime.
func TestLatencyCountsAStallForAllThatWereDue(t *testing.T) {
	const ms = int64(time.Millisecond)
	r := &latencyReader{}
	a := r.await(readerCommand{Schedule: Schedule{First: 100, Records: 5, Start: 0, Rate: 1000}, Skip: 1})
	a.take(100, 1*ms)
	a.take(101, 2*ms)           // due at 1 ms
	for seq := range int64(3) { // stalled: due at 2, 3, 4 ms
		a.take(102+seq, 100*ms)
	}
	a.take(104, 101*ms) // again
	a.take(99, 101*ms)  // of another schedule
	select {
	case <-a.done:
	default:
		t.Fatal("all results are there")
	}
	require.Equal(t, latencies{Results: 5, Duplicates: 1, P50: 96_000, P99: 98_000, P999: 98_000}, r.result(a))
}

func TestSteadyLeavesStartAndEndOut(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	readings := []reading{
		{at(0), 0},
		{at(5), 100}, // slow: the start
		{at(6), 200}, // 20 %
		{at(7), 600},
		{at(8), 900}, // 90 %
		{at(20), 1000},
	}
	rate, err := steady(readings, 1000, windowTo)
	require.NoError(t, err)
	require.InDelta(t, 350, rate, 1e-9)

	rate, err = steady([]reading{{at(0), 0}, {at(2), 1000}}, 1000, windowTo)
	require.NoError(t, err)
	require.InDelta(t, 500, rate, 1e-9, "a run that was done at the second look is taken as a whole")

	_, err = steady([]reading{{at(0), 1000}}, 1000, windowTo)
	require.Error(t, err)
}

func TestMachineTime(t *testing.T) {
	from, err := readMachineTime()
	require.NoError(t, err)
	require.Positive(t, from.busy)
	require.Greater(t, from.all, from.busy)
	require.InDelta(t, 0.25, machineTime{busy: 3, all: 8}.busySince(machineTime{busy: 2, all: 4}), 1e-9)
}
