package stattest

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mathext"
)

// order is what rows that depend on those before them add to a null: the square of the norm
// between a chunk of the reference and its other rows, beyond what deals of its rows say.
type order struct {
	dealt      float64 // the mean square of the norm by deals of single rows
	directions float64 // in which the norm varies
	freedom    float64 // degrees of freedom of what the chunks say
}

// LeastChunks are the chunks that a reference is cut into at least: of fewer, their distances
// say too little of how they vary.
const LeastChunks = 8

// InOrder makes a null that of rows in the order of time, where a row is like those before it,
// and levels wander: then deals of single rows are too much alike. It takes the scores of
// consecutive chunks of the reference, each against the reference's other rows, the null of
// such a chunk (of the reference's own rows, at those sizes), and the rows of a chunk.
//
// What the chunks' squared norms have on average beyond their null is added to the mean
// square of n. It stays the same where the current data have more rows than a chunk, as for
// levels that wander slowly, and grows as the rows become fewer than a chunk's, as for rows
// that are like their neighbours: of both, that which is more. The p-value is by the F
// distribution with as many degrees of freedom as the chunks have, and never below that of
// deals of single rows. So it costs power: with 8 chunks, a norm must be 1.2 to 1.5 times as
// great as without.
func (n *Null) InOrder(scores []float64, chunk *Null, rows float64) error {
	if len(scores) < LeastChunks {
		return fmt.Errorf("null: %d chunks of the reference, at least %d are needed", len(scores), LeastChunks)
	}
	if n.order != nil {
		return errors.New("null: it is that of rows in their order already")
	}
	mean := 0.0
	for i, score := range scores {
		if score-score != 0 {
			return fmt.Errorf("null: the score of chunk %d is %v, must be finite", i, score)
		}
		x := chunk.norm(score)
		mean += x * x / float64(len(scores))
	}
	beyond := max(mean-chunk.mean, 0)
	o := &order{dealt: n.mean}
	o.freedom = float64(len(scores)-1) * directions(chunk, beyond)
	beyond *= max(1, rows/n.rows[1])
	o.directions = directions(n, beyond)
	n.mean += beyond
	n.Expected = n.score(math.Sqrt(n.mean))
	n.one = math.Sqrt(n.mean / o.directions)
	n.Spread *= math.Sqrt(n.mean / max(o.dealt, math.SmallestNonzeroFloat64))
	n.order = o
	return nil
}

// directions are those in which a norm varies, if what is beyond the null varies in one.
func directions(n *Null, beyond float64) float64 {
	all := n.mean + beyond
	if all == 0 {
		return 1
	}
	one, own := beyond/all, n.mean/all
	inverse := one * one
	if n.mean > 0 {
		inverse += own * own * n.one * n.one / n.mean
	}
	return 1 / max(inverse, 1e-6)
}

func (o *order) pValue(n *Null, x float64) float64 {
	if n.mean == 0 {
		return 1
	}
	return fSurvival(o.directions, o.freedom, x*x/n.mean)
}

// limit returns the norm that is reached at a rate, with that mean square.
func (o *order) limit(mean, rate float64) float64 {
	low, high := 0.0, 1.0
	for fSurvival(o.directions, o.freedom, high) > rate && high < 1e300 {
		low, high = high, 2*high
	}
	for range 60 {
		if mid := (low + high) / 2; fSurvival(o.directions, o.freedom, mid) > rate {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Sqrt(high * mean)
}

// fSurvival is the upper tail of the F distribution.
func fSurvival(d1, d2, x float64) float64 {
	return mathext.RegIncBeta(d2/2, d1/2, d2/(d2+d1*x))
}
