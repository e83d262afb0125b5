package quality_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/drift/internal/coverage"
	"github.com/millrace/millrace/drift/quality"
)

// TestCoverage: every interval holds the true figure about as often as it says, or there is
// none.
func TestCoverage(t *testing.T) {
	var cells []coverage.Cell
	cells = append(cells, shareCells()...)
	cells = append(cells, errorCells()...)
	cells = append(cells, areaCells()...)
	cells = append(cells, differenceCells()...)
	cells = append(cells, bootstrapCells()...)
	coverage.Run(t, cells)
}

func holds(i quality.Interval, v float64) bool { return i.Low <= v && v <= i.High }

// shown is the outcome of a mended interval, and of the reference's.
func shown(i quality.Interval, err error, reference quality.Interval, truth float64) (coverage.Draw, error) {
	return coverage.Draw{Shown: err == nil, Holds: holds(i, truth), Reference: holds(reference, truth)}, nil
}

// count returns how many of n rows come true, each with probability p.
func count(rng *rand.Rand, n, p float64) float64 {
	out := 0.0
	for range int(n) {
		if rng.Float64() < p {
			out++
		}
	}
	return out
}

// shareCells are of accuracy, whose rows are as many as the sample's, and of recall, whose
// rows vary.
func shareCells() []coverage.Cell {
	var out []coverage.Cell
	for _, n := range []int{10, 30, 50, 100, 1000, 10000} {
		for _, p := range []float64{0.5, 0.7, 0.9, 0.95, 0.99, 0.999} {
			out = append(out, coverage.Cell{
				Interval: "accuracy", Sample: fmt.Sprintf("%v, %d rows", p, n), Above: 0.02, Short: n == 100 && p >= 0.9,
				Draw: func(rng *rand.Rand) (coverage.Draw, error) {
					right := count(rng, float64(n), p)
					c := quality.BinaryConfusion(int64(right), 0, int64(n)-int64(right), 0)
					i, err := c.AccuracyInterval(coverage.Confidence)
					wilson, e := quality.Wilson(right, float64(n), coverage.Confidence)
					if e != nil {
						return coverage.Draw{}, e
					}
					return shown(i, err, wilson, p)
				},
			})
		}
		for _, prevalence := range []float64{0.01, 0.1, 0.5} {
			const p = 0.8
			out = append(out, coverage.Cell{
				Interval: "recall", Sample: fmt.Sprintf("%v, %v of %d rows positive", p, prevalence, n), Above: 0.01, Short: n == 1000 && prevalence == 0.1,
				Draw: func(rng *rand.Rand) (coverage.Draw, error) {
					positive := count(rng, float64(n), prevalence)
					if positive == 0 {
						return coverage.Draw{Reference: true}, nil
					}
					right := count(rng, positive, p)
					c := quality.BinaryConfusion(int64(right), 0, int64(positive-right), int64(n)-int64(positive))
					i, err := c.RecallInterval(1, coverage.Confidence)
					wilson, e := quality.Wilson(right, positive, coverage.Confidence)
					if e != nil {
						return coverage.Draw{}, e
					}
					return shown(i, err, wilson, p)
				},
			})
		}
	}
	return out
}

// noise is a distribution of errors of a known mean.
type noise struct {
	name string
	draw func(*rand.Rand) float64
	mean float64
}

func lognormal(sigma float64) noise {
	return noise{
		name: fmt.Sprintf("lognormal %v", sigma), mean: math.Exp(sigma * sigma / 2),
		draw: func(rng *rand.Rand) float64 { return math.Exp(sigma * rng.NormFloat64()) },
	}
}

func t3(rng *rand.Rand) float64 {
	c := 0.0
	for range 3 {
		x := rng.NormFloat64()
		c += x * x / 3
	}
	return rng.NormFloat64() / math.Sqrt(c)
}

func noises() []noise {
	return []noise{
		{name: "normal, absolute", draw: func(rng *rand.Rand) float64 { return math.Abs(rng.NormFloat64()) }, mean: math.Sqrt(2 / math.Pi)},
		{name: "exponential", draw: (*rand.Rand).ExpFloat64, mean: 1},
		lognormal(1), lognormal(1.5), lognormal(2), lognormal(3),
		{name: "Student t3, absolute", draw: func(rng *rand.Rand) float64 { return math.Abs(t3(rng)) }, mean: 2 * math.Sqrt(3) / math.Pi},
		{name: "0 in 90 %, else exponential", draw: func(rng *rand.Rand) float64 {
			if rng.Float64() > 0.1 {
				return 0
			}
			return rng.ExpFloat64()
		}, mean: 0.1},
		{name: "normal, 2 % off by 10", draw: func(rng *rand.Rand) float64 {
			if rng.Float64() < 0.02 {
				return 10 + rng.NormFloat64()
			}
			return rng.NormFloat64()
		}, mean: 0.2},
		{name: "Student t3", draw: t3, mean: 0},
	}
}

func errorCells() []coverage.Cell {
	var out []coverage.Cell
	for i, e := range noises() {
		for _, n := range []int{30, 100, 300, 500, 1000, 10000} {
			c := coverage.Cell{
				Interval: "bias", Sample: fmt.Sprintf("%s, %d errors", e.name, n), Short: n == 1000 && i%4 == 1,
				// Zeros in nine of ten rows are outcomes that are few and whole.
				Above: 0.01,
				Draw: func(rng *rand.Rand) (coverage.Draw, error) {
					r, y := quality.NewRegression(), make([]float64, n)
					p := make([]float64, n)
					for i := range p {
						p[i] = e.draw(rng)
					}
					if err := r.Add(y, p, nil); err != nil {
						return coverage.Draw{}, err
					}
					i, err := r.BiasInterval(coverage.Confidence)
					reference, e2 := r.StudentInterval(quality.MetricBias, coverage.Confidence)
					if e2 != nil {
						return coverage.Draw{}, e2
					}
					return shown(i, err, reference, e.mean)
				},
			}
			out = append(out, c)
		}
	}
	for _, n := range []int{100, 1000} {
		out = append(out, coverage.Cell{
			Interval: "mae", Sample: fmt.Sprintf("normal errors, %d rows", n), Short: true,
			Draw: func(rng *rand.Rand) (coverage.Draw, error) {
				p := make([]float64, n)
				for i := range p {
					p[i] = rng.NormFloat64()
				}
				r := quality.NewRegression()
				if err := r.Add(make([]float64, n), p, nil); err != nil {
					return coverage.Draw{}, err
				}
				i, err := r.MAEInterval(coverage.Confidence)
				reference, e := r.StudentInterval(quality.MetricMAE, coverage.Confidence)
				if e != nil {
					return coverage.Draw{}, e
				}
				return shown(i, err, reference, math.Sqrt(2/math.Pi))
			},
		})
	}
	return out
}

// twoClasses are scores of positive and of negative rows, with a known area.
type twoClasses struct {
	name               string
	positive, negative func(*rand.Rand) float64
	area               float64
	short              bool // simulated in each run of the tests
}

func binormal(area, deviation float64) twoClasses {
	shift := distuv.UnitNormal.Quantile(area) * math.Sqrt(1+deviation*deviation)
	return twoClasses{
		name:     fmt.Sprintf("normal scores, deviation of positives %v, area %v", deviation, area),
		positive: func(rng *rand.Rand) float64 { return shift + deviation*rng.NormFloat64() },
		negative: (*rand.Rand).NormFloat64, area: area,
	}
}

func exponential(area float64) twoClasses {
	return twoClasses{
		name:     fmt.Sprintf("exponential scores, area %v", area),
		positive: func(rng *rand.Rand) float64 { return area / (1 - area) * rng.ExpFloat64() },
		negative: (*rand.Rand).ExpFloat64, area: area,
	}
}

// ties are scores 0 to 4, of which positives have each the higher the likelier.
func ties(k float64) twoClasses {
	weight := func(i int) float64 { return math.Pow(k, float64(i)) }
	all, area := 0.0, 0.0
	for i := range 5 {
		all += weight(i)
	}
	for i := range 5 {
		area += weight(i) / all * (float64(i) + 0.5) / 5
	}
	return twoClasses{
		name: fmt.Sprintf("five scores, area %.3f", area), area: area,
		positive: func(rng *rand.Rand) float64 {
			u := rng.Float64() * all
			i := 0
			for ; i < 4 && u >= weight(i); i++ {
				u -= weight(i)
			}
			return float64(i)
		},
		negative: func(rng *rand.Rand) float64 { return float64(rng.IntN(5)) },
	}
}

func (s twoClasses) draw(rng *rand.Rand, positive, negative int) ([]bool, []float64) {
	y, x := make([]bool, positive+negative), make([]float64, positive+negative)
	for i := range y {
		if y[i] = i < positive; y[i] {
			x[i] = s.positive(rng)
		} else {
			x[i] = s.negative(rng)
		}
	}
	return y, x
}

func areaCells() []coverage.Cell {
	var all []twoClasses
	for _, area := range []float64{0.5, 0.7, 0.9, 0.95, 0.99, 0.999} {
		all = append(all, binormal(area, 1), binormal(area, 2), binormal(area, 0.5), exponential(area))
	}
	all = append(all, ties(1.5), ties(4))
	for i := range all { // of each area one, each time of another kind
		all[i].short = i%5 == 0
	}
	var out []coverage.Cell
	for _, s := range all {
		for _, n := range [][2]int{{10, 90}, {10, 990}, {30, 70}, {50, 50}, {50, 450}, {100, 900}, {300, 700}, {1000, 9000}} {
			out = append(out, coverage.Cell{
				Interval: "roc_auc", Sample: fmt.Sprintf("%s, %d and %d rows", s.name, n[0], n[1]), Above: 0.01,
				Short: n[1] == 450 && s.short || n[1] == 90 && s.area == 0.99,
				Draw: func(rng *rand.Rand) (coverage.Draw, error) {
					r := quality.NewRanking()
					y, x := s.draw(rng, n[0], n[1])
					if err := r.Add(y, x, nil); err != nil {
						return coverage.Draw{}, err
					}
					i, err := r.ROCAUCInterval(coverage.Confidence)
					reference, e := r.DeLongInterval(coverage.Confidence)
					if e != nil {
						return coverage.Draw{}, e
					}
					return shown(i, err, reference, s.area)
				},
			})
		}
	}
	return out
}

func differenceCells() []coverage.Cell {
	var out []coverage.Cell
	for _, areas := range [][2]float64{{0.6, 0.6}, {0.9, 0.9}, {0.7, 0.8}, {0.9, 0.95}, {0.95, 0.99}} {
		for _, common := range []float64{0, 0.8} {
			for _, n := range [][2]int{{20, 20}, {50, 50}, {50, 450}, {100, 900}} {
				a, b := binormal(areas[0], 1), binormal(areas[1], 1)
				out = append(out, coverage.Cell{
					Interval: "difference of roc_auc", Short: n[1] == 50 && common > 0, Above: 0.01,
					Sample: fmt.Sprintf("areas %v and %v, correlation %v, %d and %d rows", areas[0], areas[1], common, n[0], n[1]),
					Draw: func(rng *rand.Rand) (coverage.Draw, error) {
						y, x := a.draw(rng, n[0], n[1])
						_, z := b.draw(rng, n[0], n[1])
						shifts := [2]float64{distuv.UnitNormal.Quantile(areas[0]) * math.Sqrt2, distuv.UnitNormal.Quantile(areas[1]) * math.Sqrt2}
						for i := range y {
							shared, own := rng.NormFloat64()*math.Sqrt(common), math.Sqrt(1-common)
							var s [2]float64
							if y[i] {
								s = shifts
							}
							x[i], z[i] = s[0]+(x[i]-s[0])*own+shared, s[1]+(z[i]-s[1])*own+shared
						}
						d, err := quality.CompareROCAUC(y, x, z, nil, coverage.Confidence)
						if err != nil {
							return coverage.Draw{}, err
						}
						return pointed(d.Interval, d.Reference, areas[0]-areas[1])
					},
				})
			}
		}
	}
	return out
}

func pointed(i *quality.Interval, reference quality.Interval, truth float64) (coverage.Draw, error) {
	return coverage.Draw{Shown: i != nil, Holds: i != nil && holds(*i, truth), Reference: holds(reference, truth)}, nil
}

// bootstrapCells are of figures that are no means. BCa has few resamples here, since the
// interval does without.
func bootstrapCells() []coverage.Cell {
	area := binormal(0.8, 1)
	figures := []struct {
		name  string
		truth float64
		draw  func(rng *rand.Rand, n int) [2][]float64
	}{
		{"mae", 1, skewed},
		{"mse", 2, skewed},
		{"roc_auc", 0.8, func(rng *rand.Rand, n int) [2][]float64 {
			y, x := area.draw(rng, n/4, n-n/4)
			labels := make([]float64, n)
			for i := range y {
				if y[i] {
					labels[i] = 1
				}
			}
			return [2][]float64{labels, x}
		}},
	}
	var out []coverage.Cell
	for _, f := range figures {
		for _, n := range []int{50, 200, 600} {
			out = append(out, coverage.Cell{
				Interval: "bootstrap of " + f.name, Sample: fmt.Sprintf("%d rows", n), Short: n == 200 && f.name == "mse",
				Draw: func(rng *rand.Rand) (coverage.Draw, error) {
					columns := f.draw(rng, n)
					power := map[string]func(float64) float64{
						"mae": func(float64) float64 { return 1 }, "mse": func(e float64) float64 { return e },
					}[f.name]
					b, err := quality.Bootstrap(n, func(w []float64) (float64, error) {
						if power == nil {
							return bootstrapFigure(f.name, columns, w)
						}
						mean, rows := 0.0, 0.0
						for i, e := range columns[1] {
							mean += w[i] * e * power(e)
							rows += w[i]
						}
						return mean / rows, nil
					}, quality.BootstrapOptions{Seed: rng.Uint64(), Resamples: 200})
					if err != nil {
						return coverage.Draw{}, err
					}
					return pointed(b.Interval, b.BCa, f.truth)
				},
			})
		}
	}
	return out
}

// skewed are errors of an exponential distribution.
func skewed(rng *rand.Rand, n int) [2][]float64 {
	p := make([]float64, n)
	for i := range p {
		p[i] = rng.ExpFloat64()
	}
	return [2][]float64{make([]float64, n), p}
}
