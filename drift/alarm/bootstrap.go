package alarm

import (
	"math"
	"math/rand/v2"
	"slices"
)

// blocks draws windows of a reference in blocks of consecutive ones (Künsch 1989), which keeps what
// windows have in common with those before them. A block begins where the season stands that the
// drawn sequence has reached. Windows stay whole, with all their columns.
type blocks struct {
	windows int // of the reference
	period  int // windows of the season
	length  int // windows of a block
}

// draw fills in the windows that are drawn, and for each block a number of its own in (0, 1).
func (b blocks) draw(random *rand.Rand, window []int32, jitter []float64) {
	for at := 0; at < len(window); {
		phase := at % b.period
		starts := (b.windows-1-phase)/b.period + 1
		start := phase + b.period*random.IntN(starts)
		u := 1 - random.Float64()
		for j := 0; j < b.length && start+j < b.windows && at < len(window); j++ {
			window[at], jitter[at] = int32(start+j), u
			at++
		}
	}
}

// ranks of scores among those that are not NaN, from 1 for the greatest; 0 of NaN.
func ranks(scores []float64) (rank []int32, n int) {
	order := make([]int32, 0, len(scores))
	for i, x := range scores {
		if !math.IsNaN(x) {
			order = append(order, int32(i))
		}
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		switch {
		case scores[a] > scores[b]:
			return -1
		case scores[a] < scores[b]:
			return 1
		}
		return 0
	})
	rank = make([]int32, len(scores))
	for r, i := range order {
		rank[i] = int32(r + 1)
	}
	return rank, len(order)
}

// without returns the scores that are not NaN.
func without(scores []float64) []float64 {
	out := make([]float64, 0, len(scores))
	for _, x := range scores {
		if !math.IsNaN(x) {
			out = append(out, x)
		}
	}
	return out
}

// stream is a long sequence of scores without drift: windows of the reference in blocks, each
// with a score between its neighbours in rank, and beyond the greatest by the fitted tail. The
// windows of a block lie high or low between their neighbours together, so that what is
// alike in them stays alike beyond the data. -Inf is a window that is not judged.
func stream(b blocks, scores []float64, t *tail, length int, random *rand.Rand) []float64 {
	rank, n := ranks(scores)
	window, jitter := make([]int32, length), make([]float64, length)
	b.draw(random, window, jitter)
	for i, w := range window {
		if rank[w] == 0 {
			jitter[i] = math.Inf(-1)
			continue
		}
		jitter[i] = t.quantile((float64(rank[w]-1) + jitter[i]) / float64(n))
	}
	return jitter
}

// openings counts the alarms that open in a stream, and the windows at which one could: those
// before which none is open. Windows that are not judged are left out.
func openings(stream []float64, r Rule, threshold float64) (opened, closed int) {
	var m machine
	for _, x := range stream {
		if math.IsInf(x, -1) {
			continue
		}
		if !m.open {
			closed++
		}
		if o, _ := m.next(r, x > threshold); o {
			opened++
		}
	}
	return opened, closed
}

// thresholdOf returns the least threshold above which alarms open no more than once in so many
// windows at which they could. By all windows, a threshold that is so low that an alarm never
// closes would do.
func thresholdOf(stream []float64, r Rule, every float64) float64 {
	sorted := slices.Clone(stream)
	slices.Sort(sorted)
	n := len(sorted)
	fits := func(above int) bool {
		opened, closed := openings(stream, r, sorted[n-1-above])
		return float64(opened)*every <= float64(closed)
	}
	low, high := 0, n-1 // scores above the threshold: of low it fits
	for above := 1; above < n; above += above/4 + 1 {
		if !fits(above) {
			high = above
			break
		}
		low = above
	}
	for high-low > 1 {
		if middle := (low + high) / 2; fits(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return sorted[n-1-low]
}
