package alarm

import "math"

// dependence returns the autocorrelation of windows at lags 0 to most, as its mean over columns of
// what a window's mean rank in the reference is (of categories, its share of the most frequent
// one), without what comes again each period.
func dependence(b *Buckets, w windows, judged []bool, period, most int) []float64 {
	out := make([]float64, most+1)
	columns := 0.0
	x := make([]float64, w.count)
	for c := range b.Columns {
		if !series(b, c, w, judged, period, x) {
			continue
		}
		columns++
		var squares float64
		for _, v := range x {
			squares += v * v
		}
		for lag := range out {
			sum := 0.0
			for i := lag; i < len(x); i++ {
				sum += x[i] * x[i-lag]
			}
			out[lag] += sum / squares
		}
	}
	for lag := range out {
		out[lag] /= max(columns, 1)
	}
	return out
}

// series fills in x, with mean 0 in each phase and 0 where a window is not judged; false where it
// is constant.
func series(b *Buckets, c int, w windows, judged []bool, period int, x []float64) bool {
	cells, width := b.column(c, w)
	position := make([]float64, width)
	whole := make([]float64, width)
	for i, n := range cells {
		whole[i%width] += n
	}
	if b.Columns[c].Numeric {
		below := 0.0
		for k, n := range whole[:width-1] {
			position[k] = below + n/2
			below += n
		}
	} else {
		top := 0
		for k, n := range whole[:width-1] {
			if n > whole[top] {
				top = k
			}
		}
		position[top] = 1
	}
	sums, counts := make([]float64, period), make([]float64, period)
	for i := range x {
		var rows, sum float64
		for k, n := range cells[i*width : (i+1)*width-1] {
			rows += n
			sum += n * position[k]
		}
		if x[i] = 0; judged[i] && rows > 0 {
			x[i] = sum / rows
			sums[i%period] += x[i]
			counts[i%period]++
		}
	}
	varies := false
	for i := range x {
		if judged[i] && counts[i%period] > 0 {
			x[i] -= sums[i%period] / counts[i%period]
			varies = varies || math.Abs(x[i]) > 1e-9
		}
	}
	return varies
}

// memory reads an autocorrelation: the lag up to which windows are alike, and how many windows
// tell as much as one that is like no other (1 + 2 Σ ρ).
func memory(correlation []float64) (gap int, per float64) {
	per = 1
	for lag := 1; lag < len(correlation) && correlation[lag] > 0.1; lag++ {
		gap = lag
		per += 2 * correlation[lag]
	}
	return gap, per
}
