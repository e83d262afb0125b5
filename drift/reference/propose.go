package reference

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

const (
	leastEffect     = 0.1    // a shift below it does not matter: Evidently's threshold of distances, and drift compare's
	driftShare      = 0.5    // of the columns: the convention for "the data set drifted"
	margin          = 1.1    // of a threshold over the worst block
	cooldownWindows = 7      // in which a drift that lasts asks for retraining once
	leastBlocks     = 60     // that are judged, where so many are there
	mostJudged      = 50_000 // checks of blocks: where there are more, beyond leastBlocks, every n-th block is judged
	mostChecks      = 1000   // columns of one model beyond it are not judged by default
)

// Data are rows of a version: its features and outputs as columns, and what the labels say.
type Data struct {
	Columns []Column
	Windows Windows
	Labels  *Labels // nil: no row has a label
}

// Judged is a check that is proposed, and what it rests on.
type Judged struct {
	Check    schemas.Check
	Worst    float64 // over the blocks: the greatest effect, or the worst figure; NaN where no block has one
	Overall  float64 // the figure of all rows; NaN of a drift check
	Smallest float64 // effect that a block shows in 80 % of cases; NaN of a figure
	Why      string  // what set the threshold
}

// Plan is how windows are to be judged.
type Plan struct {
	Monitoring schemas.Monitoring
	Checks     []Judged
	Blind      []Judged // checks that are not proposed, since they would find next to nothing
	Blocks     int      // that were judged
	Breached   int      // blocks that breach any check
}

// blind tells of a check that it would find next to nothing: a drift of a distance at which hardly a
// value is where the reference has any, or a fall of a ranking that is no better than chance.
func (c *Judged) blind() bool {
	test, threshold := c.Check.Stattest, c.Check.Threshold
	return test == schemas.StattestPSI && threshold >= 2 || test == schemas.StattestChiSquare && threshold >= 0.9 ||
		test == schemas.StattestAUC && c.Overall <= 0.5
}

// Propose plans the monitoring of a version by its reference, which is of the same rows. A block
// is judged as the monitor judges a window, against the reference without the block's own
// rows. Where blocks differ by more than chance, a threshold is the bound that the next block
// stays below with a chance of 1 - rate/checks, were the blocks shifted by normal amounts (see
// Judged.limit); it is at least a tenth beyond the worst block, at least what a block can
// show, and never below an effect that does not matter. Figures of quality have Student's
// prediction limit on their worse side. What would find next to nothing is not proposed, but for
// drift of the prediction.
func Propose(m *schemas.Manifest, ref *schemas.Reference, data Data, rate float64) (*Plan, error) {
	w := data.Windows
	p := &Plan{Monitoring: schemas.Monitoring{
		Window: schemas.Duration(w.Window), Lateness: schemas.Duration(w.Lateness), LabelDelay: schemas.Duration(w.Window),
		IdleTimeout: schemas.Duration(time.Minute), MinRows: max(w.MinRows, 1), Rate: rate,
		Retraining: schemas.RetrainingPolicy{Cooldown: schemas.Duration(max(cooldownWindows*w.Window, 24*time.Hour))},
	}}
	for _, c := range defaultChecks(m, ref) {
		p.Checks = append(p.Checks, Judged{Check: c, Worst: math.NaN(), Overall: math.NaN(), Smallest: math.NaN()})
	}
	most := max(leastBlocks, mostJudged/max(len(p.Checks), 1))
	step := max(1, (w.Blocks+most-1)/most)
	breached := make([]bool, (w.Blocks+step-1)/step)
	p.Blocks = len(breached)
	judged := w.every(step)
	if err := p.judgeDrift(m, ref, data, judged, breached); err != nil {
		return nil, err
	}
	p.Checks = slices.DeleteFunc(p.Checks, func(c Judged) bool {
		blind := !c.Check.Retrain && c.blind()
		if blind {
			p.Blind = append(p.Blind, c)
		}
		return blind
	})
	if len(p.Checks) > 1 {
		p.Checks = append(p.Checks, Judged{
			Check: schemas.Check{Stattest: schemas.StattestShare, Threshold: driftShare, Severity: schemas.SeverityCritical, Retrain: true},
			Worst: math.NaN(), Overall: math.NaN(), Smallest: math.NaN(), Why: "half of the checked columns: the convention",
		})
	}
	if data.Labels != nil && m.Target != nil {
		p.judgeQuality(m, data, judged, breached)
	}
	for _, b := range breached {
		if b {
			p.Breached++
		}
	}
	for _, c := range p.Checks {
		p.Monitoring.Checks = append(p.Monitoring.Checks, c.Check)
	}
	return p, nil
}

// defaultChecks are psi of every column of numbers, in which the missing are a group, and
// chisquare of every other one. Drift of the prediction asks for retraining.
func defaultChecks(m *schemas.Manifest, ref *schemas.Reference) []schemas.Check {
	score := ""
	if m.Target != nil {
		score = m.Target.Score
	} else if len(m.Outputs) > 0 {
		score = m.Outputs[0].Name
	}
	var checks []schemas.Check
	for i := range ref.Columns {
		c := &ref.Columns[i]
		check := schemas.Check{Stattest: schemas.StattestChiSquare, Column: c.Name, Severity: schemas.SeverityWarning}
		if len(c.Edges) > 0 {
			check.Stattest = schemas.StattestPSI
		}
		if _, isFeature := m.Feature(c.Name); !isFeature {
			if c.Name != score {
				continue // other outputs say the same again
			}
			check.Severity, check.Retrain = schemas.SeverityCritical, true
		}
		checks = append(checks, check)
	}
	// The prediction first: it is what matters most.
	slices.SortStableFunc(checks, func(a, b schemas.Check) int {
		return cmp.Compare(b2i(b.Retrain), b2i(a.Retrain))
	})
	return checks[:min(len(checks), mostChecks)]
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// judgeDrift sets the thresholds of the drift checks, and marks the blocks that breach one. block says
// in which block a row is, as of Count.
func (p *Plan) judgeDrift(m *schemas.Manifest, ref *schemas.Reference, data Data, block []int32, breached []bool) error {
	if len(p.Checks) == 0 {
		return nil
	}
	counts := make([][]profile.Counts, len(ref.Columns)) // by column and block
	for i := range ref.Columns {
		at := slices.IndexFunc(data.Columns, func(c Column) bool { return c.Name == ref.Columns[i].Name })
		if at < 0 {
			return fmt.Errorf("propose thresholds: the reference has a column %q, and the rows have not", ref.Columns[i].Name)
		}
		counts[i] = Count(&ref.Columns[i], &data.Columns[at], block, len(breached))
	}
	judged := *m
	monitoring := p.Monitoring
	for _, c := range p.Checks {
		monitoring.Checks = append(monitoring.Checks, c.Check) // with a threshold of 0: all effects count
	}
	judged.Monitoring = &monitoring
	effects := make([][]float64, len(p.Checks))
	corrected := make([][]float64, len(p.Checks))
	least := make([]float64, len(p.Checks)) // p-value of any block
	smallest := make([][]float64, len(p.Checks))
	for b := range breached {
		rows, err := judgeBlock(&judged, ref, counts, b)
		if err != nil {
			return err
		}
		for i := range p.Checks {
			r := resultOf(rows, &p.Checks[i].Check)
			if r == nil {
				effects[i], corrected[i] = append(effects[i], 0), append(corrected[i], 1)
				continue
			}
			effects[i], corrected[i] = append(effects[i], *r.Effect), append(corrected[i], *r.PCorrected)
			if least[i] == 0 || *r.PValue < least[i] {
				least[i] = *r.PValue
			}
			if r.Smallest != nil {
				smallest[i] = append(smallest[i], *r.Smallest)
			}
		}
	}
	drifted := make([]int, len(breached)) // columns, by block
	for i := range p.Checks {
		c := &p.Checks[i]
		// What chance explains in all blocks, the monitor's own p-values hold by themselves.
		differ := least[i]*float64(len(breached)) <= monitoring.Rate
		c.set(effects[i], smallest[i], differ, monitoring.Rate/float64(len(p.Checks)))
		for b, e := range effects[i] {
			if e >= c.Check.Threshold && corrected[i][b] <= monitoring.Rate {
				drifted[b]++
			}
		}
	}
	for b, n := range drifted {
		breached[b] = n > 0
	}
	return nil
}

// resultOf returns the result of a check; nil where its score could not be computed.
func resultOf(rows []schemas.DriftResult, c *schemas.Check) *schemas.DriftResult {
	for i := range rows {
		if r := &rows[i]; r.Column == c.Column && r.Stattest == string(c.Stattest) && r.Effect != nil {
			return r
		}
	}
	return nil
}

// judgeBlock judges one block against the reference of the others.
func judgeBlock(m *schemas.Manifest, ref *schemas.Reference, counts [][]profile.Counts, block int) ([]schemas.DriftResult, error) {
	others := &schemas.Reference{Columns: slices.Clone(ref.Columns)}
	current := make([]profile.Counts, len(counts))
	for i := range counts {
		current[i] = counts[i][block]
		c := &others.Columns[i]
		rest := profile.ReferenceCounts(c).Minus(current[i])
		c.Counts, c.Other, c.Missing = rest.Cells, rest.Other, rest.Missing
		others.Rows = rest.Rows()
	}
	if others.Rows == 0 {
		return nil, nil // the block is all there is
	}
	rows, err := drift.JudgeDrift(drift.Version{Manifest: m, Reference: others}, schemas.DriftResult{Rows: uint64(current[0].Rows())}, current)
	// A column without values on a side has scores that cannot be computed, here as in the monitor.
	if errors.Is(err, drift.ErrNoRows) {
		err = nil
	}
	return rows, err
}

// set sets the threshold of a drift check by the effects of the blocks; differ says that they are
// more than chance.
func (c *Judged) set(effects, smallest []float64, differ bool, rate float64) {
	worst := 0.0
	for _, e := range effects {
		worst = max(worst, e)
	}
	c.Worst = worst
	type bound struct {
		value float64
		why   string
	}
	bounds := []bound{{leastEffect, "a smaller shift does not matter"}}
	if limit, ok := c.limit(effects, rate); ok && differ {
		bounds = append(bounds, bound{limit, fmt.Sprintf("the spread of %d blocks", len(effects))})
	}
	bounds = append(bounds, bound{margin * worst, "the worst block and a tenth"})
	if len(smallest) > 0 {
		c.Smallest = median(smallest)
		bounds = append(bounds, bound{c.Smallest, "what so few rows show"})
	}
	most := bounds[0]
	for _, b := range bounds[1:] {
		if b.value > most.value {
			most = b
		}
	}
	c.Check.Threshold, c.Why = roundUp(most.value), most.why
	if bounded := c.Check.Stattest == schemas.StattestKS || c.Check.Stattest == schemas.StattestChiSquare; bounded && c.Check.Threshold > 1 {
		c.Check.Threshold = 1
	}
}

// limit is what the next of the effects stays below with a chance of 1 - rate, were they the
// lengths of normal shifts in one direction, of which the mean square says all: a shift over the
// root of the mean square of n others has Student's distribution of n degrees of freedom. Shifts
// in several directions have lengths that vary less. psi is taken by its root, since it grows as
// the square of a distance. False for fewer than three effects.
func (c *Judged) limit(effects []float64, rate float64) (float64, bool) {
	n := float64(len(effects))
	if n < 3 {
		return 0, false
	}
	square := 0.0
	for _, e := range effects {
		if c.Check.Stattest != schemas.StattestPSI {
			e *= e
		}
		square += max(e, 0) / n
	}
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: n}.Quantile(1 - rate/2)
	limit := t * math.Sqrt(square)
	if c.Check.Stattest == schemas.StattestPSI {
		limit *= limit
	}
	return limit, true
}

// predictionLimit is what the next of the values stays below with a chance of 1 - rate, were
// they normal: mean + t·s·sqrt(1 + 1/n) (Hahn and Meeker, Statistical Intervals, 1991, 4.8);
// false for fewer than three values.
func predictionLimit(values []float64, rate float64) (float64, bool) {
	n := float64(len(values))
	if n < 3 {
		return 0, false
	}
	mean, square := 0.0, 0.0
	for _, v := range values {
		mean += v / n
	}
	for _, v := range values {
		square += (v - mean) * (v - mean) / (n - 1)
	}
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: n - 1}.Quantile(1 - rate)
	return mean + t*math.Sqrt(square*(1+1/n)), true
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// roundUp rounds a number above 0 up to two digits.
func roundUp(x float64) float64 { return roundTo(x, 2, math.Ceil) }

// roundTo rounds to so many digits by f; the result is the number that these digits write.
func roundTo(x float64, n int, f func(float64) float64) float64 {
	if x == 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return x
	}
	digits := n - 1 - int(math.Floor(math.Log10(math.Abs(x))))
	scale := math.Pow10(digits)
	// What is off by the last digit of float64 is not rounded away.
	scaled := x * scale
	if near := math.Round(scaled); math.Abs(scaled-near) < 1e-9 {
		scaled = near
	}
	rounded := f(scaled)
	if digits > 0 {
		return rounded / scale
	}
	return rounded * math.Pow10(-digits)
}
