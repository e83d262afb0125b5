package reason

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/schemas"
)

const (
	// fewWindows is the least number of past windows that a correlation is made of.
	fewWindows = 10
	// rate is the error rate of a figure that is called worse, and of a correlation over all columns.
	rate = 0.05
)

// badness turns a figure into a number that grows as the figure gets worse.
func badness(figure schemas.Stattest, value float64) float64 {
	f, _ := schemas.FigureOf(figure)
	switch f.Direction {
	case schemas.BreachesAbove:
		return value
	case schemas.BreachesBeyond:
		return math.Abs(value)
	case schemas.BreachesBelow:
	}
	return -value
}

// moved compares a figure with those of past windows: its p-value is the share of windows that are as bad, this
// one among them, which is exact where windows are exchangeable (Vovk et al., Algorithmic Learning
// in a Random World, 2005). It takes 19 past windows to be worse at all. nil where it is not known.
func moved(metric schemas.Stattest, value *float64, past []*float64) *schemas.MovedFigure {
	if value == nil || math.IsNaN(*value) || math.IsInf(*value, 0) {
		return nil
	}
	out := schemas.MovedFigure{Metric: metric, Value: *value, Usual: *value, PValue: 1}
	var known []float64
	asBad := 1
	for _, v := range past {
		if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
			continue
		}
		known = append(known, *v)
		if badness(metric, *v) >= badness(metric, *value) {
			asBad++
		}
	}
	if out.Windows = len(known); out.Windows > 0 {
		slices.Sort(known)
		middle := len(known) / 2
		out.Usual = known[middle]
		if len(known)%2 == 0 {
			out.Usual = known[middle-1]/2 + known[middle]/2
		}
		out.PValue = float64(asBad) / float64(out.Windows+1)
	}
	out.Worse = out.PValue <= rate
	return &out
}

// judgeable tells whether a figure could have been called worse.
func judgeable(f *schemas.MovedFigure) bool { return f != nil && 1/float64(f.Windows+1) <= rate }

// spearman is the rank correlation of pairs (Spearman, 1904), ties at their mean rank, and the
// one-sided p-value that it is above 0: by Student's t (as scipy.stats.spearmanr), with the number of windows that
// are left where each is like the one before it (Pyper and Peterman, 1998). ok is false where
// it is not defined, or there are fewer than fewWindows pairs.
func spearman(x, y []float64) (rho, p float64, ok bool) {
	if len(x) < fewWindows {
		return 0, 1, false
	}
	a, b := ranks(x), ranks(y)
	rho, ok = correlation(a, b)
	if !ok {
		return 0, 1, false
	}
	n := float64(len(x))
	ra, okA := correlation(a[1:], a[:len(a)-1])
	rb, okB := correlation(b[1:], b[:len(b)-1])
	if okA && okB && ra*rb > 0 {
		n *= (1 - ra*rb) / (1 + ra*rb)
	}
	if n <= 3 {
		return rho, 1, true
	}
	if rho >= 1 {
		rho = 1
		return rho, distuv.StudentsT{Sigma: 1, Nu: n - 2}.Survival(math.Sqrt(n-2) / 1e-9), true
	}
	return rho, distuv.StudentsT{Sigma: 1, Nu: n - 2}.Survival(rho * math.Sqrt((n-2)/(1-rho*rho))), true
}

func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	out := make([]float64, len(x))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && x[order[j]] == x[order[i]] {
			j++
		}
		for _, k := range order[i:j] {
			out[k] = float64(i+j+1) / 2
		}
		i = j
	}
	return out
}

func correlation(x, y []float64) (float64, bool) {
	var mx, my float64
	for i := range x {
		mx, my = mx+x[i]/float64(len(x)), my+y[i]/float64(len(x))
	}
	var xx, yy, xy float64
	for i := range x {
		dx, dy := x[i]-mx, y[i]-my
		xx, yy, xy = xx+dx*dx, yy+dy*dy, xy+dx*dy
	}
	if xx < 1e-6 || yy < 1e-6 { // ranks are whole or half: all are the same, but for rounding
		return 0, false
	}
	return max(-1, min(1, xy/math.Sqrt(xx*yy))), true
}

// matters concludes from what is known whether quality suffers.
func matters(r *schemas.Reason) (schemas.Matters, string) {
	for _, f := range []struct {
		figure *schemas.MovedFigure
		what   string
	}{{r.Moved.Realised, "the realised"}, {r.Moved.Estimated, "the estimated"}} {
		if !judgeable(f.figure) {
			continue
		}
		figure := f.what + " " + string(f.figure.Metric) + " of " + number(f.figure.Value)
		if f.figure.Worse {
			return schemas.MattersYes, figure + " is as bad as hardly any of the windows before (usual " + number(f.figure.Usual) + ")"
		}
		return schemas.MattersNo, figure + " is no worse than windows before have been (usual " + number(f.figure.Usual) + ")"
	}
	for _, c := range r.Columns {
		if c.Goes {
			return schemas.MattersLikely, "when " + quoted(c.Column) + " drifted in past windows, quality was worse"
		}
	}
	return schemas.MattersUnknown, "no quality figure of this window can be compared with those of enough windows before"
}
