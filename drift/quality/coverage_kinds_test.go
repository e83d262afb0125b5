package quality_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/drift/internal/coverage"
	"github.com/millrace/millrace/drift/quality"
)

// TestCoverageOfOtherKinds: the intervals hold for distributions that the limits, from which on
// there are any, were not chosen by.
func TestCoverageOfOtherKinds(t *testing.T) {
	var cells []coverage.Cell
	cells = append(cells, otherErrorCells()...)
	cells = append(cells, symmetricShareCells()...)
	cells = append(cells, betaScoreCells()...)
	cells = append(cells, betaProbabilityCells()...)
	cells = append(cells, bootstrapDifferenceCells()...)
	coverage.Run(t, cells)
}

// otherErrorCells are of targets, uniform from 1 to 3, that errors of either sign know nothing of.
func otherErrorCells() []coverage.Cell {
	contaminated := func(part, factor float64) size {
		return size{fmt.Sprintf("normal, of which %v %% %v times as great", 100*part, factor), func(rng *rand.Rand) float64 {
			if rng.Float64() < part {
				return factor * rng.NormFloat64()
			}
			return rng.NormFloat64()
		}, math.Sqrt(2/math.Pi) * (1 - part + part*factor), 1 - part + part*factor*factor, part < 1.0/300}
	}
	pareto := func(a float64) size {
		return size{fmt.Sprintf("Pareto %v", a), func(rng *rand.Rand) float64 { return math.Pow(1-rng.Float64(), -1/a) }, a / (a - 1), a / (a - 2), false}
	}
	var out []coverage.Cell
	for _, e := range []size{
		{"Laplace", (*rand.Rand).ExpFloat64, 1, 2, false},
		{"gamma 0.5", func(rng *rand.Rand) float64 { x := rng.NormFloat64(); return x * x / 2 }, 0.5, 0.75, false},
		{"uniform", (*rand.Rand).Float64, 0.5, 1.0 / 3, false},
		{"lognormal 0.5", func(rng *rand.Rand) float64 { return math.Exp(rng.NormFloat64() / 2) }, math.Exp(0.125), math.Exp(0.5), false},
		{"lognormal 2", func(rng *rand.Rand) float64 { return math.Exp(2 * rng.NormFloat64()) }, math.Exp(2), math.Exp(8), false},
		{"Student t3", t3, 2 * math.Sqrt(3) / math.Pi, 3, false},
		contaminated(0.05, 5), contaminated(0.02, 10), contaminated(0.003, 20), pareto(2.5), pareto(3.5), pareto(5),
	} {
		for _, n := range []int{500, 1000, 2000, 5000} {
			s := &sample{name: fmt.Sprintf("%s errors, %d rows", e.name, n), slow: n / 2500}
			const scale = 0.2
			s.truth = map[quality.Metric]float64{
				quality.MetricBias: 0, quality.MetricMAE: scale * e.mean, quality.MetricMSE: scale * scale * e.square,
				quality.MetricMAPE: scale * e.mean * math.Log(3) / 2, quality.MetricR2: 1 - 3*scale*scale*e.square,
			}
			s.draw = func(rng *rand.Rand) ([]quality.Figure, error) {
				y, p := make([]float64, n), make([]float64, n)
				for i := range y {
					y[i] = 1 + 2*rng.Float64()
					p[i] = y[i] + scale*e.draw(rng)*float64(2*rng.IntN(2)-1)
				}
				r := quality.NewRegression()
				err := r.Add(y, p, nil)
				return quality.RegressionFigures(r, coverage.Confidence), err
			}
			cells := s.cells("")
			for i := range cells {
				least := 1000 // rows from which there is an interval
				squared := cells[i].Interval == string(quality.MetricMSE) || cells[i].Interval == string(quality.MetricR2)
				if squared {
					least = 2000
				}
				switch {
				case squared && n >= least && e.name == "Pareto 3.5":
					cells[i].Known = "the squares have no variance, which their greatest tenth does not tell"
				case e.rare && n == least && cells[i].Interval != string(quality.MetricBias):
					cells[i].Known = "a thousand rows have three great errors, and many samples have fewer"
				}
			}
			out = append(out, cells...)
		}
	}
	return out
}

// size is a distribution of the sizes of errors.
type size struct {
	name         string
	draw         func(*rand.Rand) float64
	mean, square float64
	rare         bool // great errors are fewer than one in 300 rows
}

// symmetricShareCells are of sMAPE: a prediction that is exp(x) times the target has an error of
// 2·tanh(|x|/2) of the mean of both.
func symmetricShareCells() []coverage.Cell {
	var out []coverage.Cell
	for k, of := range []struct{ part, common, rare float64 }{
		{0, 0.1, 0}, {0, 1, 0}, {0, 3, 0}, {0.05, 0.05, 0.5}, {0.01, 0.05, 2}, {0.005, 0.01, 3},
	} {
		expect := func(deviation float64) float64 {
			return quad.Fixed(func(z float64) float64 {
				return 2 * distuv.UnitNormal.Prob(z) * 2 * math.Tanh(deviation*z/2)
			}, 0, 9, 400, quad.Legendre{}, 0)
		}
		for _, n := range []int{500, 1000, 2000, 5000} {
			s := &sample{
				name: fmt.Sprintf("deviations of logarithms by %v, of %v %% by %v, %d rows", of.common, 100*of.part, of.rare, n), slow: n / 2500,
				short: k == 3 && n == 1000,
				truth: map[quality.Metric]float64{quality.MetricSMAPE: (1-of.part)*expect(of.common) + of.part*expect(of.rare)},
			}
			s.draw = func(rng *rand.Rand) ([]quality.Figure, error) {
				y, p := make([]float64, n), make([]float64, n)
				for i := range y {
					y[i] = math.Exp(rng.NormFloat64())
					deviation := of.common
					if rng.Float64() < of.part {
						deviation = of.rare
					}
					p[i] = y[i] * math.Exp(deviation*rng.NormFloat64())
				}
				r := quality.NewRegression()
				err := r.Add(y, p, nil)
				return quality.RegressionFigures(r, coverage.Confidence), err
			}
			out = append(out, s.cells("")...)
		}
	}
	return out
}

// betaScoreCells are of ROC AUC and average precision, of scores from 0 to 1.
func betaScoreCells() []coverage.Cell {
	var out []coverage.Cell
	for _, of := range [][2]distuv.Beta{
		{{Alpha: 2, Beta: 3}, {Alpha: 2, Beta: 4}},
		{{Alpha: 2, Beta: 3}, {Alpha: 1, Beta: 4}},
		{{Alpha: 5, Beta: 2}, {Alpha: 2, Beta: 5}},
		{{Alpha: 1, Beta: 1}, {Alpha: 1, Beta: 10}},
	} {
		positive, negative := of[0], of[1]
		expect := func(f func(x float64) float64) float64 {
			return quad.Fixed(func(x float64) float64 { return positive.Prob(x) * f(x) }, 0, 1, 400, quad.Legendre{}, 0)
		}
		for _, prevalence := range []float64{0.02, 0.05, 0.2, 0.5} {
			for _, n := range []int{300, 1000, 5000} {
				s := &sample{
					name: fmt.Sprintf("beta scores, %v and %v against %v and %v, %v of %d rows positive", positive.Alpha, positive.Beta, negative.Alpha, negative.Beta, prevalence, n),
					slow: n / 2500,
				}
				s.truth = map[quality.Metric]float64{
					quality.MetricROCAUC: expect(negative.CDF),
					quality.MetricAveragePrecision: expect(func(x float64) float64 {
						above := prevalence * positive.Survival(x)
						return above / (above + (1-prevalence)*negative.Survival(x))
					}),
				}
				s.draw = func(rng *rand.Rand) ([]quality.Figure, error) {
					p, q := distuv.Beta{Alpha: positive.Alpha, Beta: positive.Beta, Src: rng}, distuv.Beta{Alpha: negative.Alpha, Beta: negative.Beta, Src: rng}
					y, x := make([]bool, n), make([]float64, n)
					for i := range y {
						if y[i] = rng.Float64() < prevalence; y[i] {
							x[i] = p.Rand()
						} else {
							x[i] = q.Rand()
						}
					}
					r := quality.NewRanking()
					err := r.Add(y, x, nil)
					return quality.BinaryFigures(nil, r, nil, coverage.Confidence), err
				}
				out = append(out, s.cells("")...)
			}
		}
	}
	return out
}

// betaProbabilityCells are of the losses of probabilities that are right.
func betaProbabilityCells() []coverage.Cell {
	var out []coverage.Cell
	for _, of := range []distuv.Beta{{Alpha: 2, Beta: 2}, {Alpha: 1, Beta: 9}, {Alpha: 1, Beta: 40}, {Alpha: 5, Beta: 1}} {
		expect := func(loss func(q float64) float64) float64 {
			return quad.Fixed(func(p float64) float64 { return of.Prob(p) * (p*loss(p) + (1-p)*loss(1-p)) }, 0, 1, 1000, quad.Legendre{}, 0)
		}
		for _, n := range []int{500, 1000, 5000} {
			s := &sample{name: fmt.Sprintf("beta probabilities, %v and %v, %d rows", of.Alpha, of.Beta, n), slow: n / 2500}
			s.truth = map[quality.Metric]float64{
				quality.MetricLogLoss: expect(func(q float64) float64 { return -math.Log(q) }),
				quality.MetricBrier:   expect(func(q float64) float64 { return (1 - q) * (1 - q) }),
			}
			s.draw = func(rng *rand.Rand) ([]quality.Figure, error) {
				d := distuv.Beta{Alpha: of.Alpha, Beta: of.Beta, Src: rng}
				y, q := make([]bool, n), make([]float64, n)
				for i := range y {
					q[i] = d.Rand()
					y[i] = rng.Float64() < q[i]
				}
				return probabilityFigures(y, q)
			}
			out = append(out, s.cells("")...)
		}
	}
	return out
}

// bootstrapDifferenceCells are of the mean absolute errors of two models that share a part of
// their errors. BCa has few resamples here, since the interval does without.
func bootstrapDifferenceCells() []coverage.Cell {
	var out []coverage.Cell
	for _, of := range []struct {
		rows     int
		a, b     float64
		skewness bool
	}{{200, 1, 1, false}, {200, 1, 0.8, true}, {600, 1, 0.8, true}, {600, 0.5, 1, false}} {
		sample := fmt.Sprintf("errors of scale %v and %v, %d rows", of.a, of.b, of.rows)
		mean := math.Sqrt(2 / math.Pi)
		if of.skewness {
			mean = math.Exp(0.5)
			sample = "lognormal " + sample
		}
		out = append(out, coverage.Cell{
			Interval: "bootstrap of a difference of mae", Sample: sample, Short: of.rows == 200 && of.skewness, Slow: 2,
			Draw: func(rng *rand.Rand) (coverage.Draw, error) {
				var errs [2][]float64
				for k := range errs {
					errs[k] = make([]float64, of.rows)
				}
				for i := range of.rows {
					shared := rng.NormFloat64()
					for k, scale := range []float64{of.a, of.b} {
						e := 0.8*shared + 0.6*rng.NormFloat64()
						if of.skewness {
							e = math.Exp(e)
						}
						errs[k][i] = scale * math.Abs(e)
					}
				}
				figure := func(k int) func([]float64) (float64, error) {
					return func(w []float64) (float64, error) {
						sum, rows := 0.0, 0.0
						for i, e := range errs[k] {
							sum += w[i] * e
							rows += w[i]
						}
						return sum / rows, nil
					}
				}
				d, err := quality.BootstrapDifference(of.rows, figure(0), figure(1), quality.BootstrapOptions{Seed: rng.Uint64(), Resamples: 200})
				if err != nil {
					return coverage.Draw{}, err
				}
				return pointed(d.Interval, d.Reference, (of.a-of.b)*mean)
			},
		})
	}
	return out
}
