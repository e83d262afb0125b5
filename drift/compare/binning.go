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

// of returns the bins of a pair of sides. They follow from the reference alone, unless the
// rule is Evidently's.
func (b binning) of(reference, current stattest.Sample, integers bool) (stattest.Bins, error) {
	switch b.rule {
	case binsQuantile:
		return stattest.QuantileBins(reference, b.n)
	case binsWidth:
		return stattest.EqualWidthBins(reference, b.n)
	case binsSturges:
		return stattest.SturgesBins(reference, integers)
	case binsEvidently:
		return stattest.EvidentlyBins(reference, current, integers)
	default:
		return b.edges, nil
	}
}

// moving says that the bins follow from the reference, and so are others in another deal of
// the rows of both sides.
func (b binning) moving() bool { return b.rule != binsEvidently && b.rule != binsGiven }

// evidentlys returns a test as Evidently makes it, which has its own way of the cells of some
// tests, and of empty ones; nil where it makes it as we do. bins is set where its cells of a
// numeric column are its own.
func evidentlys(test string) (own *stattest.Test, bins func(reference, current stattest.Sample, integers bool) (stattest.Bins, error)) {
	var f func(reference, current []float64) (stattest.Result, error)
	bins = stattest.EvidentlyBins
	switch test {
	case "psi":
		f = stattest.EvidentlyPSI
	case "kl_div":
		f = stattest.EvidentlyKLDivergence
	case "hellinger":
		f, bins = stattest.Hellinger, stattest.EvidentlyHellingerBins
	default:
		return nil, nil
	}
	copied := *stattest.Lookup(test)
	copied.Cells = func(reference, current []float64, _ stattest.Options) (stattest.Result, error) {
		return f(reference, current)
	}
	return &copied, bins
}
