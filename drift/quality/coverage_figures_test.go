package quality_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/drift/internal/coverage"
	"github.com/millrace/millrace/drift/quality"
)

// TestCoverageOfFigures: the intervals that reports show of figures that are no shares hold as
// often as they say, of samples drawn once for all figures. There is no reference's.
func TestCoverageOfFigures(t *testing.T) {
	var cells []coverage.Cell
	cells = append(cells, confusionCells()...)
	cells = append(cells, regressionCells()...)
	cells = append(cells, lossCells()...)
	cells = append(cells, precisionCells()...)
	coverage.Run(t, cells)
}

// sample draws the figures of samples of one kind and size, each once for all cells.
type sample struct {
	name  string
	short bool
	slow  int
	draw  func(*rand.Rand) ([]quality.Figure, error)
	truth map[quality.Metric]float64
	drawn [][]quality.Figure
}

// cells are those of the figures whose truth is known, in the order of their names.
func (s *sample) cells(kind string) []coverage.Cell {
	var names []quality.Metric
	for m := range s.truth {
		names = append(names, m)
	}
	slices.Sort(names)
	var out []coverage.Cell
	for _, m := range names {
		at := -1
		out = append(out, coverage.Cell{
			Interval: kind + string(m), Sample: s.name, Short: s.short, Slow: s.slow, Above: 0.01,
			Draw: func(rng *rand.Rand) (coverage.Draw, error) {
				at++
				if at == len(s.drawn) {
					figures, err := s.draw(rng)
					if err != nil {
						return coverage.Draw{}, err
					}
					s.drawn = append(s.drawn, figures)
				}
				for _, f := range s.drawn[at] {
					if f.Metric == m && f.Interval != nil {
						return coverage.Draw{Shown: true, Holds: holds(*f.Interval, s.truth[m])}, nil
					}
				}
				return coverage.Draw{}, nil
			},
		})
	}
	return out
}

// confusionCells are of matrices whose rows are drawn by the shares of their cells.
func confusionCells() []coverage.Cell {
	type matrix struct {
		name   string
		shares [][]float64
		short  bool
	}
	var all []matrix
	for _, prevalence := range []float64{0.5, 0.1, 0.02} {
		for _, right := range [][2]float64{{0.6, 0.6}, {0.8, 0.9}, {0.95, 0.99}} {
			all = append(all, matrix{
				fmt.Sprintf("%v positive, %v of them and %v of the others right", prevalence, right[0], right[1]),
				[][]float64{{(1 - prevalence) * right[1], (1 - prevalence) * (1 - right[1])}, {prevalence * (1 - right[0]), prevalence * right[0]}},
				prevalence == 0.1 && right[0] == 0.8,
			})
		}
	}
	for _, of := range [][]float64{{0.4, 0.3, 0.2, 0.1}, {0.9, 0.07, 0.03}} {
		m := matrix{fmt.Sprintf("classes of %v, 0.7 right", of), nil, len(of) == 4}
		for i := range of {
			m.shares = append(m.shares, make([]float64, len(of)))
			for j := range of {
				m.shares[i][j] = of[i] * 0.3 / float64(len(of)-1)
			}
			m.shares[i][i] = of[i] * 0.7
		}
		all = append(all, m)
	}
	var out []coverage.Cell
	for _, m := range all {
		for _, n := range []int{100, 300, 1000, 10_000} {
			figures := quality.BinaryFigures
			kind := ""
			if len(m.shares) > 2 {
				kind = "averages: "
				figures = func(c *quality.Confusion, _ *quality.Ranking, p *quality.Probabilities, confidence float64) []quality.Figure {
					return quality.MulticlassFigures(c, p, confidence)
				}
			}
			s := &sample{name: fmt.Sprintf("%s, %d rows", m.name, n), short: m.short && n == 1000, truth: map[quality.Metric]float64{}}
			exact, err := quality.ConfusionOf(m.shares)
			if err != nil {
				panic(err) // of shares that are all above 0
			}
			for _, f := range figures(exact, nil, nil, coverage.Confidence) {
				if f.Metric != quality.MetricAccuracy && (len(m.shares) > 2 || f.Metric != quality.MetricRecall) {
					s.truth[f.Metric] = *f.Value
				}
			}
			s.draw = func(rng *rand.Rand) ([]quality.Figure, error) {
				counts := make([][]float64, len(m.shares))
				for i := range counts {
					counts[i] = make([]float64, len(counts))
				}
				for range n {
					u := rng.Float64()
					i, j := 0, 0
					for u -= m.shares[0][0]; u >= 0 && i*len(counts)+j < len(counts)*len(counts)-1; u -= m.shares[i][j] {
						if j++; j == len(counts) {
							i, j = i+1, 0
						}
					}
					counts[i][j]++
				}
				c, err := quality.ConfusionOf(counts)
				if err != nil {
					return nil, err
				}
				return figures(c, nil, nil, coverage.Confidence), nil
			}
			out = append(out, s.cells(kind)...)
		}
	}
	return out
}

// regressionCells are of targets and errors that know nothing of each other.
func regressionCells() []coverage.Cell {
	type kind struct {
		name                    string
		draw                    func(*rand.Rand) float64
		mean, variance, inverse float64 // of the size; of the value; the mean of 1/size
	}
	// The means of sizes are at most of errors, those of inverses of targets.
	targets := []kind{
		{"lognormal 0.5", func(rng *rand.Rand) float64 { return math.Exp(rng.NormFloat64() / 2) }, 0, math.Exp(0.25) * (math.Exp(0.25) - 1), math.Exp(0.125)},
		{"lognormal 1", func(rng *rand.Rand) float64 { return math.Exp(rng.NormFloat64()) }, 0, math.E * (math.E - 1), math.Exp(0.5)},
		{"uniform from 1 to 3", func(rng *rand.Rand) float64 { return 1 + 2*rng.Float64() }, 0, 1.0 / 3, math.Log(3) / 2},
	}
	student := func(k int) func(*rand.Rand) float64 {
		return func(rng *rand.Rand) float64 {
			c := 0.0
			for range k {
				x := rng.NormFloat64()
				c += x * x
			}
			return rng.NormFloat64() / math.Sqrt(c/float64(k))
		}
	}
	errs := []kind{
		{"normal", (*rand.Rand).NormFloat64, math.Sqrt(2 / math.Pi), 1, 0},
		{"exponential, two-sided", func(rng *rand.Rand) float64 { return rng.ExpFloat64() * float64(2*rng.IntN(2)-1) }, 1, 2, 0},
		{"lognormal 1", func(rng *rand.Rand) float64 { return math.Exp(rng.NormFloat64()) * float64(2*rng.IntN(2)-1) }, math.Exp(0.5), math.Exp(2), 0},
		{"Student t5", student(5), 2 * math.Sqrt(5) * math.Gamma(3) / (math.Sqrt(math.Pi) * math.Gamma(2.5) * 4), 5.0 / 3, 0},
		{"Student t3", student(3), 2 * math.Sqrt(3) / math.Pi, 3, 0},
		{"normal, of which 1 % ten times as great", func(rng *rand.Rand) float64 {
			if rng.Float64() < 0.01 {
				return 10 * rng.NormFloat64()
			}
			return rng.NormFloat64()
		}, math.Sqrt(2/math.Pi) * 1.09, 1.99, 0},
	}
	var out []coverage.Cell
	for i, target := range targets {
		for k, e := range errs {
			for _, n := range []int{500, 1000, 2000, 5000} {
				const scale = 0.5
				s := &sample{name: fmt.Sprintf("%s errors of %s targets, %d rows", e.name, target.name, n), slow: n / 2500, short: n == 2000 && k == i && i < 2}
				s.truth = map[quality.Metric]float64{
					quality.MetricMAPE: scale * e.mean * target.inverse,
					quality.MetricR2:   1 - scale*scale*e.variance/target.variance,
				}
				if i == 0 {
					s.truth[quality.MetricMSE], s.truth[quality.MetricRMSE] = scale*scale*e.variance, scale*math.Sqrt(e.variance)
				}
				s.draw = func(rng *rand.Rand) ([]quality.Figure, error) {
					y, p := make([]float64, n), make([]float64, n)
					for i := range y {
						y[i] = target.draw(rng)
						p[i] = y[i] + scale*e.draw(rng)
					}
					r := quality.NewRegression()
					err := r.Add(y, p, nil)
					return quality.RegressionFigures(r, coverage.Confidence), err
				}
				out = append(out, s.cells("")...)
			}
		}
	}
	return out
}

// lossCells are of a model whose log odds are right, or too great or small by a factor.
func lossCells() []coverage.Cell {
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	var out []coverage.Cell
	for k, of := range []struct{ mean, deviation, factor float64 }{
		{0, 1, 1}, {0, 3, 1}, {0, 3, 2}, {0, 1, 4}, {-3, 1, 1}, {-5, 1, 1}, {-5, 2, 1}, {-3, 2, 2}, {-3, 2, 0.5},
	} {
		expect := func(loss func(q float64) float64) float64 {
			return quad.Fixed(func(z float64) float64 {
				odds := of.mean + of.deviation*z
				p, q := sigmoid(odds), sigmoid(of.factor*odds)
				return distuv.UnitNormal.Prob(z) * (p*loss(q) + (1-p)*loss(1-q))
			}, -8, 8, 400, quad.Legendre{}, 0)
		}
		for _, n := range []int{300, 500, 1000, 5000} {
			s := &sample{name: fmt.Sprintf("log odds %v ± %v, said to be %v times as great, %d rows", of.mean, of.deviation, of.factor, n), slow: n / 2500, short: n == 500 && k == 1}
			s.truth = map[quality.Metric]float64{
				quality.MetricLogLoss: expect(func(q float64) float64 { return -math.Log(max(q, 0x1p-52)) }),
				quality.MetricBrier:   expect(func(q float64) float64 { return (1 - q) * (1 - q) }),
			}
			s.draw = func(rng *rand.Rand) ([]quality.Figure, error) {
				y, q := make([]bool, n), make([]float64, n)
				for i := range y {
					odds := of.mean + of.deviation*rng.NormFloat64()
					y[i], q[i] = rng.Float64() < sigmoid(odds), sigmoid(of.factor*odds)
				}
				return probabilityFigures(y, q)
			}
			out = append(out, s.cells("")...)
		}
	}
	return out
}

// probabilityFigures are those of rows by the probabilities that are said of them.
func probabilityFigures(y []bool, q []float64) ([]quality.Figure, error) {
	p, err := quality.NewProbabilities(2, 0)
	if err != nil {
		return nil, err
	}
	err = p.AddBinary(y, q, nil)
	return quality.BinaryFigures(nil, nil, p, coverage.Confidence), err
}

// precisionCells are of average precision, of normal scores.
func precisionCells() []coverage.Cell {
	var out []coverage.Cell
	for k, area := range []float64{0.6, 0.75, 0.9, 0.97, 0.995} {
		scores := binormal(area, 1)
		shift := distuv.UnitNormal.Quantile(area) * math.Sqrt2
		for _, n := range [][2]int{{50, 50}, {50, 450}, {100, 900}, {300, 700}, {1000, 9000}, {100, 9900}} {
			share := float64(n[0]) / float64(n[0]+n[1])
			s := &sample{name: fmt.Sprintf("normal scores, area %v, %d and %d rows", area, n[0], n[1]), slow: n[1] / 4000, short: n[1] == 900 && k == 2}
			s.truth = map[quality.Metric]float64{quality.MetricAveragePrecision: quad.Fixed(func(z float64) float64 {
				positive, negative := share*distuv.UnitNormal.Survival(z), (1-share)*distuv.UnitNormal.Survival(z+shift)
				return distuv.UnitNormal.Prob(z) * positive / (positive + negative)
			}, -8, 8, 400, quad.Legendre{}, 0)}
			s.draw = func(rng *rand.Rand) ([]quality.Figure, error) {
				rows := float64(n[0] + n[1])
				positive := int(count(rng, rows, share))
				y, x := scores.draw(rng, positive, int(rows)-positive)
				r := quality.NewRanking()
				err := r.Add(y, x, nil)
				return quality.BinaryFigures(nil, r, nil, coverage.Confidence), err
			}
			out = append(out, s.cells("")...)
		}
	}
	return out
}
