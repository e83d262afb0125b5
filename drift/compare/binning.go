package compare

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/millrace/millrace/drift/stattest"
)

// Rules of Options.Bins.
const (
	binsQuantile  = "quantile"
	binsWidth     = "width"
	binsSturges   = "sturges"
	binsEvidently = "evidently"
	binsGiven     = "edges"
)

// binning is how numeric columns are cut into cells.
type binning struct {
	rule  string
	n     int
	edges stattest.Bins
}

func parseBins(text string) (binning, error) {
	rule, number, counted := strings.Cut(text, ":")
	b := binning{rule: rule, n: stattest.DefaultBins}
	switch rule {
	case "":
		b.rule = binsQuantile
	case binsQuantile, binsWidth:
	case binsSturges, binsEvidently:
		if counted {
			return b, fmt.Errorf("bins %s: %s finds the number of bins itself", text, rule)
		}
	default:
		var edges []float64
		for word := range strings.SplitSeq(text, ",") {
			v, err := strconv.ParseFloat(strings.TrimSpace(word), 64)
			if err != nil {
				return b, fmt.Errorf("bins %s: want %s, %s, %s or %s (the first two also as %s:20), or edges such as 0,10,100",
					text, binsQuantile, binsWidth, binsSturges, binsEvidently, binsWidth)
			}
			edges = append(edges, v)
		}
		bins, err := stattest.NewBins(edges)
		return binning{rule: binsGiven, edges: bins}, err
	}
	if counted {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > 1000 {
			return b, fmt.Errorf("bins %s: the number of bins must be from 1 to 1000", text)
		}
		b.n = n
	}
	return b, nil
}

// count returns the edges for a pair of numeric columns, and the rows of both sides between
// them.
func (b binning) count(p pair) (edges, r, c []float64, err error) {
	reference, current := p.reference.sample, p.current.sample
	bins := b.edges
	switch b.rule {
	case binsQuantile:
		bins, err = stattest.QuantileBins(reference, b.n)
	case binsWidth:
		bins, err = stattest.EqualWidthBins(reference, b.n)
	case binsSturges:
		bins, err = stattest.SturgesBins(reference, p.plan.integers())
	case binsEvidently:
		bins, err = stattest.EvidentlyBins(reference, current, p.plan.integers())
	}
	if err != nil {
		return nil, nil, nil, err
	}
	return bins.Edges, bins.Count(reference), bins.Count(current), nil
}

// evidently judges by a test whose cells, or whose treatment of empty ones, Evidently has
// its own way of; its tells whether this is one.
func evidently(p pair, kind string, t contingency, test string) (result stattest.Result, err error, its bool) {
	var f func(reference, current []float64) (stattest.Result, error)
	switch test {
	case "psi":
		f = stattest.EvidentlyPSI
	case "kl_div":
		f = stattest.EvidentlyKLDivergence
	case "hellinger":
		f = stattest.Hellinger
	default:
		return result, nil, false
	}
	if kind == TypeCategorical {
		result, err = f(t.r, t.c)
		return result, err, true
	}
	r, c := p.reference.sample, p.current.sample
	cut := stattest.EvidentlyBins
	if test == "hellinger" {
		cut = stattest.EvidentlyHellingerBins
	}
	bins, err := cut(r, c, p.plan.integers())
	if err != nil {
		return result, err, true
	}
	result, err = f(bins.Count(r), bins.Count(c))
	return result, err, true
}
