package quality

import (
	"errors"
	"fmt"
	"math"
)

// Paired counts the rows that two models predict, by which of them is right.
type Paired struct{ both, onlyA, onlyB, neither sum }

// PairedOf returns the counts.
func PairedOf(both, onlyA, onlyB, neither int64) *Paired {
	count := func(n int64) sum { return sum{hi: float64(max(n, 0))} }
	return &Paired{count(both), count(onlyA), count(onlyB), count(neither)}
}

// Add counts rows by the predictions of both models.
func (p *Paired) Add(labels, a, b []int, weights []float64) error {
	if len(labels) != len(a) || len(labels) != len(b) {
		return fmt.Errorf("%d labels, %d predictions of a and %d of b: every row needs all", len(labels), len(a), len(b))
	}
	if err := checkWeights(len(labels), weights); err != nil {
		return err
	}
	for i, l := range labels {
		cell := &p.neither
		switch {
		case a[i] == l && b[i] == l:
			cell = &p.both
		case a[i] == l:
			cell = &p.onlyA
		case b[i] == l:
			cell = &p.onlyB
		}
		cell.add(weightOf(weights, i))
	}
	return nil
}

// Merge adds the rows of o.
func (p *Paired) Merge(o *Paired) {
	p.both.merge(o.both)
	p.onlyA.merge(o.onlyA)
	p.onlyB.merge(o.onlyB)
	p.neither.merge(o.neither)
}

// Counts returns the rows that both models, only a, only b and neither predict right.
func (p *Paired) Counts() (both, onlyA, onlyB, neither float64) {
	return p.both.value(), p.onlyA.value(), p.onlyB.value(), p.neither.value()
}

// ErrFractional is returned by the exact test of weights that are not whole.
var ErrFractional = errors.New("the exact test needs whole rows")

// McNemarExact tests that both models are as often right: given the rows that only one of
// them predicts right, each is as likely to be the one (McNemar 1947). statistic is the
// smaller of both counts; the p-value is twice the binomial tail, at most 1 (statsmodels'
// exact=True). Without such rows it is 1.
func (p *Paired) McNemarExact() (statistic, pValue float64, err error) {
	b, c, err := p.discordant()
	if err != nil {
		return 0, 0, err
	}
	if b != math.Trunc(b) || c != math.Trunc(c) || b+c > 1<<53 {
		return 0, 0, fmt.Errorf("mcnemar of %v and %v rows: %w: take the chi-square test", b, c, ErrFractional)
	}
	statistic = min(b, c)
	return statistic, min(1, 2*lowerHalf(statistic, b+c)), nil
}

// McNemarChiSquare is the asymptotic test: (|b-c| - 1)² / (b+c), chi-square of one degree of
// freedom; without the correction for continuity (Edwards 1948) the 1 is left out. It is
// undefined without rows that only one model predicts right.
func (p *Paired) McNemarChiSquare(corrected bool) (statistic, pValue float64, err error) {
	b, c, err := p.discordant()
	if err != nil {
		return 0, 0, err
	}
	if b+c == 0 {
		return 0, 0, fmt.Errorf("mcnemar: %w: both models are right on the same rows", ErrUndefined)
	}
	d := math.Abs(b - c)
	if corrected {
		d--
	}
	z := d / math.Sqrt(b+c)
	return z * z, twoSided(z), nil
}

func (p *Paired) discordant() (onlyA, onlyB float64, err error) {
	both, b, c, neither := p.Counts()
	total := both + b + c + neither
	switch {
	case total == 0:
		return 0, 0, fmt.Errorf("mcnemar: %w", ErrNoRows)
	case math.IsNaN(total) || math.IsInf(total, 1):
		return 0, 0, fmt.Errorf("mcnemar: %w", ErrOverflow)
	}
	return b, c, nil
}

// lowerHalf is the probability of at most k of n fair coins, for k ≤ n/2: from the largest
// term down, so that tails keep their digits.
func lowerHalf(k, n float64) float64 {
	term, s := 1.0, 1.0
	for i := k; i > 0 && term > s*epsilon/4; i-- {
		term *= i / (n - i + 1)
		s += term
	}
	return min(1, s*math.Exp(logFair(k, n)))
}

// logFair is the logarithm of the probability of exactly k of n fair coins, for k ≤ n/2.
// Logarithms of factorials would cancel; these are the terms that are left of them (Loader,
// Fast and Accurate Computation of Binomial Probabilities, 2000).
func logFair(k, n float64) float64 {
	if k == 0 {
		return -n * math.Ln2
	}
	d := (n - 2*k) / n
	below := math.Log1p(-d)
	if d > 0.5 {
		below = math.Log(2 * k / n)
	}
	return stirling(n) - stirling(k) - stirling(n-k) - k*below - (n-k)*math.Log1p(d) + math.Log(n/(2*math.Pi*k*(n-k)))/2
}

// stirling is what Stirling's formula leaves of ln x!.
func stirling(x float64) float64 {
	if x < 16 {
		f, _ := math.Lgamma(x + 1)
		return f - (x+0.5)*math.Log(x) + x - math.Log(2*math.Pi)/2
	}
	q := 1 / (x * x)
	return (1.0/12 - (1.0/360-(1.0/1260-(1.0/1680-q/1188)*q)*q)*q) / x
}
