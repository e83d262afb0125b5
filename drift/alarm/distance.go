package alarm

import (
	"math"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/stattest"
	"github.com/millrace/millrace/schemas"
)

// psiGroups is the number of groups that psi merges bins into, as the monitor does.
const psiGroups = 10

// measure computes the distances of one column, on cells that are followed by other and missing.
// The figures are those of drift.ColumnScore; nothing is allocated.
type measure struct {
	numeric bool
	groups  []int // of each bin
}

func measureOf(numeric bool, reference []float64) measure {
	m := measure{numeric: numeric}
	if numeric {
		bins := make([]int64, len(reference)-2)
		for i := range bins {
			bins[i] = int64(reference[i])
		}
		m.groups = profile.GroupBins(bins, psiGroups)
	}
	return m
}

// of returns a distance. Without rows on one side it is 0: there is nothing to compare.
func (m *measure) of(test schemas.Stattest, r, c []float64) float64 {
	var nr, nc float64
	for i := range r {
		nr, nc = nr+r[i], nc+c[i]
	}
	if nr <= 0 || nc <= 0 {
		return 0
	}
	switch {
	case test == schemas.StattestPSI && m.numeric:
		return m.groupedPSI(r, c, nr, nc)
	case test == schemas.StattestPSI:
		return psi(r[:len(r)-1], c[:len(c)-1], r[len(r)-1], c[len(c)-1], nr, nc)
	case test == schemas.StattestKS:
		return ks(r, c, nr, nc)
	default:
		return association(r, c, nr, nc)
	}
}

func (m *measure) groupedPSI(r, c []float64, nr, nc float64) float64 {
	var gr, gc [psiGroups]float64
	n := 0
	for i, g := range m.groups {
		gr[g] += r[i]
		gc[g] += c[i]
		n = g + 1
	}
	return psi(gr[:n], gc[:n], r[len(r)-1], c[len(c)-1], nr, nc)
}

// psi is stattest.PSI of cells, and of the missing where a side has any.
func psi(r, c []float64, missingR, missingC, nr, nc float64) float64 {
	n := float64(len(r))
	if missingR+missingC > 0 {
		n++
	}
	nr, nc = nr+stattest.Smoothing*n, nc+stattest.Smoothing*n
	term := func(a, b float64) float64 {
		p, q := (a+stattest.Smoothing)/nr, (b+stattest.Smoothing)/nc
		return (q - p) * math.Log(q/p)
	}
	sum := 0.0
	for i := range r {
		sum += term(r[i], c[i])
	}
	if missingR+missingC > 0 {
		sum += term(missingR, missingC)
	}
	return max(sum, 0)
}

// ks is the largest distance of the distribution functions over the bins; 1 where one side
// alone has no values.
func ks(r, c []float64, nr, nc float64) float64 {
	last := len(r) - 1
	nr, nc = nr-r[last], nc-c[last]
	if nr <= 0 || nc <= 0 {
		if (nr <= 0) != (nc <= 0) {
			return 1
		}
		return 0
	}
	var ur, uc, most float64
	for i := range r[:last] {
		ur, uc = ur+r[i], uc+c[i]
		most = max(most, math.Abs(ur/nr-uc/nc))
	}
	return most
}

// association is that of stattest.ChiSquare: of the table of shares.
func association(r, c []float64, nr, nc float64) float64 {
	sum := 0.0
	for i := range r {
		if p, q := r[i]/nr, c[i]/nc; p+q > 0 {
			sum += (q - p) * (q - p) / (p + q)
		}
	}
	return min(math.Sqrt(sum/2), 1)
}

// level is a distance on a scale on which what chance makes of it has about the same spread
// whatever the distance: psi grows by the square of a shift. A window with fewer rows than is usual
// is farther away by chance, by the root of the rows; that is taken off.
func level(test schemas.Stattest, distance, rows, usual float64) float64 {
	if test == schemas.StattestPSI {
		distance = math.Sqrt(distance)
	}
	if rows < usual {
		distance *= math.Sqrt(rows / usual)
	}
	return distance
}
