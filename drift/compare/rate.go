package compare

import (
	"errors"
	"fmt"
	"math"

	"github.com/millrace/millrace/drift/stattest"
)

// claim is what a test says of a column, before the correction over columns.
type claim struct {
	given      bool    // the threshold is the user's, or Evidently's: it stands for itself
	drifted    bool    // where it is given
	loose      float64 // how often unchanged data pass Evidently's threshold of a distance
	p          float64 // else: the chance of the result where nothing drifted
	effect     float64 // what is left of a distance without chance, or the test's effect size
	mark       float64 // the score of a distance that has the effect that matters
	expected   *float64
	power      stattest.Power
	dealt      bool // p is by deals of the rows of both sides
	calibrated bool
	chunk      float64 // rows of a chunk of the reference, where it is calibrated
	rate       float64 // of this column on its own, where it has one; 0: that of the data set
	passed     bool    // the p-value, corrected, is one that the rate allows
	why        string  // the column is not judged
}

// claim judges the result of a test.
func (o *checked) claim(c *Column, s sides, test *stattest.Test, result stattest.Result) claim {
	set := o.set(c)
	if set || o.Rule == RuleEvidently {
		threshold := o.threshold(c, test)
		v := claim{given: true, drifted: test.Drifted(result, threshold)}
		if !set && !test.PValue {
			if n, err := o.null(s, test); err == nil {
				v.loose = n.Share(threshold)
			}
		}
		return v
	}
	if !stattest.HasNull(test) {
		n, m, cells := s.size()
		return claim{
			p: *result.PValue, effect: test.Effect(result),
			power: stattest.PowerOf(test, n, m, cells, o.permutations()),
		}
	}
	n, err := o.null(s, test)
	if err != nil {
		return claim{why: err.Error()}
	}
	return o.claimBy(n, s, test, result)
}

// set says that the user gave the column's threshold.
func (o *checked) set(c *Column) bool {
	_, set := o.thresholds.of(c.Column, c.Type)
	return set
}

// claimBy judges the result of a test by its null.
func (o *checked) claimBy(n *stattest.Null, s sides, test *stattest.Test, result stattest.Result) claim {
	v := claim{p: n.PValue(math.Abs(result.Score)), dealt: true}
	a, b, _ := s.size()
	switch test.Name {
	case "chisquare", "g_test":
		v.effect, v.power = test.Effect(result), n.Power().Over(stattest.EvenRows(a, b))
	case "z":
		// Of rare rows, or none, deals do not show how far shares of more would vary.
		v.effect, v.power = test.Effect(result), stattest.PowerOf(test, a, b, 0, 0)
	case "ks":
		v.effect, v.power = test.Effect(result), n.Power().Over(1)
	default:
		expected, unit := n.Expected, stattest.EffectUnit(test.Name, s.r)
		v.effect, v.expected = n.Effect(result.Score)/unit, &expected
		v.mark, v.power = n.Mark(o.effect*unit), n.Power().In(unit)
	}
	return v
}

// size returns the rows of both sides that are compared, and their cells.
func (s sides) size() (reference, current float64, cells int) {
	if s.table.names == nil {
		return s.r.Rows(), s.c.Rows(), 0
	}
	for i := range s.table.r {
		reference, current = reference+s.table.r[i], current+s.table.c[i]
	}
	return reference, current, len(s.table.names)
}

// calibrate judges by rows that are in the order of time: by chunks of the reference, each of
// which is compared with the rest of it.
func (o *checked) calibrate(v *judged, reference sideOf, s sides) error {
	if test := v.test; !stattest.HasNull(test) && test.Name != "ks" {
		return fmt.Errorf("%s takes rows for independent of each other", test.Name)
	}
	if o.Rule == RuleEvidently && v.test.PValue {
		return fmt.Errorf("the threshold of %s by the rule evidently is one of its p-value", v.test.Name)
	}
	chunks, err := o.chunks(reference, s)
	if err != nil {
		return err
	}
	var scores []float64
	rows := 0.0
	for _, chunk := range chunks {
		_, n, _ := chunk.size()
		if n < float64(o.minRows) {
			return fmt.Errorf("a chunk has %v values, at least %d are needed: make fewer chunks", n, o.minRows)
		}
		rows += n / float64(len(chunks))
		r, err := o.measure(chunk, v.test)
		if err != nil {
			return err
		}
		scores = append(scores, math.Abs(r.Score))
	}
	ofChunk, err := o.null(chunks[0], v.test)
	if err != nil {
		return err
	}
	n, err := o.null(s, v.test)
	if err != nil {
		return err
	}
	if err := n.InOrder(scores, ofChunk, rows); err != nil {
		return err
	}
	rate := o.Calibrate.rate()
	if o.Rule == RuleEvidently {
		v.column.Threshold, v.column.Calibrated = n.Threshold(rate), true
		v.claim = claim{given: true, drifted: v.test.Drifted(v.result, v.column.Threshold)}
		return nil
	}
	v.claim = o.claimBy(n, s, v.test, v.result)
	v.claim.rate, v.claim.calibrated, v.claim.chunk = rate, true, rows
	return nil
}

// chunks returns the comparisons of the reference's chunks, as current data, with the rest.
func (o *checked) chunks(reference sideOf, s sides) ([]sides, error) {
	lost := errors.New("the reference's values are too many, or too few, to be held in the order of its rows")
	out := make([]sides, 0, o.Calibrate.Chunks)
	if reference.texts != nil {
		chunks := reference.texts.chunks(o.Calibrate.Chunks, s.table.names)
		if chunks == nil {
			return nil, lost
		}
		for _, chunk := range chunks {
			of := s
			of.table.c = chunk
			of.table.r = minus(s.table.r, chunk)
			out = append(out, of)
		}
		return out, nil
	}
	if len(reference.chunks) == 0 {
		return nil, lost
	}
	for _, chunk := range reference.chunks {
		of := s
		of.c, of.r = chunk, without(s.r.Values, chunk.Values)
		if s.table.names != nil {
			of.table.c = stattest.Bins{Values: s.table.values}.Count(chunk)
			of.table.r = minus(s.table.r, of.table.c)
		}
		out = append(out, of)
	}
	return out, nil
}

func minus(all, some []float64) []float64 {
	out := make([]float64, len(all))
	for i := range all {
		out[i] = all[i] - some[i]
	}
	return out
}

// without returns ascending values without some of them.
func without(all, some []float64) stattest.Sample {
	out := make([]float64, 0, len(all)-len(some))
	for _, v := range all {
		if len(some) > 0 && some[0] == v {
			some = some[1:]
			continue
		}
		out = append(out, v)
	}
	return stattest.Sample{Values: out}
}

// tryAll makes every test that applies.
func (o *checked) tryAll(v *judged, s sides) {
	c := &v.column
	c.Tests, v.trials = map[string]Trial{}, map[string]claim{}
	for _, test := range stattest.Tests() {
		if !applies(test, c.Type, s.table) {
			continue
		}
		trial := Trial{Threshold: o.threshold(c, test)}
		if result, err := o.measure(s, test); err != nil {
			trial.Error = err.Error()
		} else {
			trial.Score, trial.PValue = finite(result.Score), result.PValue
			v.trials[test.Name] = o.claim(c, s, test, result)
		}
		c.Tests[test.Name] = trial
	}
}

// correct adjusts p-values over columns.
func (o *checked) correct(raw []float64) ([]float64, error) {
	switch o.Correction {
	case correctHolm:
		return stattest.Holm(raw)
	case correctBH:
		return stattest.BenjaminiHochberg(raw)
	case correctBonferroni:
		return stattest.Bonferroni(raw)
	default:
		return raw, nil
	}
}

// settle turns verdicts into columns, with p-values corrected over all of them, and the data
// set's verdict.
// Columns that could not be read, of which there are so many beside the verdicts, may decide.
func (o *checked) settle(verdicts []judged, unread int) ([]Column, Dataset, error) {
	d := Dataset{Threshold: o.share, Rule: o.Rule}
	if o.Rule == RuleRate {
		d.Rate, d.Effect, d.Detectable = &o.Rate, &o.effect, &o.Detectable
	}
	d.Correction = o.Correction
	if err := o.settleChosen(verdicts); err != nil {
		return nil, Dataset{}, err
	}
	if err := o.settleTrials(verdicts); err != nil {
		return nil, Dataset{}, err
	}
	columns := make([]Column, 0, len(verdicts))
	drifted, blind, lost := 0, 0, unread
	for i := range verdicts {
		v := &verdicts[i]
		c := &v.column
		if v.test != nil {
			switch {
			case c.Drifted:
				c.Verdict = VerdictDrifted
				drifted++
				d.Columns++
			case v.claim.why != "":
				c.Verdict = VerdictNotJudged
				blind++
			default:
				c.Verdict = VerdictOK
				d.Columns++
			}
			c.Explanation = explain(c, v)
		} else if o.Rule == RuleRate && c.NReference+c.NCurrent > 0 {
			lost++
		}
		columns = append(columns, *c)
	}
	if d.Columns > 0 {
		d.Share = float64(drifted) / float64(d.Columns)
	}
	// A column that could not be judged may or may not have drifted. One with too few values, or
	// no answer of its test, hides no drift of the others, but may be the one that decides.
	all := float64(d.Columns + blind)
	d.Drifted = drifted > 0 && float64(drifted)/all >= d.Threshold
	switch {
	case d.Drifted:
		d.Verdict = VerdictDrifted
	case d.Columns == 0 || float64(drifted+blind+lost)/(all+float64(lost)) >= d.Threshold:
		d.Verdict = VerdictNotJudged
	default:
		d.Verdict = VerdictOK
	}
	d.NotJudged = len(verdicts) - d.Columns
	return columns, d, nil
}

// settleChosen judges each column by its test.
func (o *checked) settleChosen(verdicts []judged) error {
	var at []int
	var raw []float64
	for i := range verdicts {
		v := &verdicts[i]
		switch {
		case v.test == nil || v.claim.why != "":
		case v.claim.given:
			// What the user set stands for itself, unless a correction is asked for, too.
			if v.test.PValue && v.result.PValue != nil && o.corrects && o.Correction != "" {
				at, raw = append(at, i), append(raw, *v.result.PValue)
			}
		default:
			at, raw = append(at, i), append(raw, v.claim.p)
		}
	}
	corrected, err := o.correct(raw)
	if err != nil {
		return err
	}
	for i := range verdicts {
		v := &verdicts[i]
		v.column.Drifted = v.claim.given && v.claim.drifted
	}
	for k, i := range at {
		v := &verdicts[i]
		c := &v.column
		if v.claim.given {
			c.RawPValue, c.PValue = c.PValue, &corrected[k]
			v.result.PValue = c.PValue
			c.Drifted = v.test.Drifted(v.result, c.Threshold)
			continue
		}
		p, rate := corrected[k], o.Rate/float64(len(raw))
		if o.Correction == "" {
			rate = o.Rate
		}
		if v.claim.rate > 0 {
			p = v.claim.p
			rate = v.claim.rate
		}
		c.PValue = &p
		if o.Correction != "" && v.claim.rate == 0 {
			c.RawPValue = &v.claim.p
		}
		if v.claim.dealt {
			if c.SciPyPValue == nil && v.test.Name != "TVD" { // whose own is by permutations
				c.SciPyPValue = v.result.PValue
			}
			c.Method = methodDeals
		}
		o.judgeByRate(v, p, rate)
	}
	return nil
}

// methodDeals is Column.Method of a p-value by deals of the rows of both sides.
const methodDeals = "permutation"

// judgeByRate gives the verdict of a column by its p-value, corrected, and the rate that its
// smallest effect is found at.
func (o *checked) judgeByRate(v *judged, p, rate float64) {
	c := &v.column
	limit := o.Rate
	if v.claim.rate > 0 {
		limit = v.claim.rate
	}
	c.Expected, c.EffectSize, c.Calibrated = v.claim.expected, finite(v.claim.effect), v.claim.calibrated
	if c.Threshold = limit; v.claim.expected != nil {
		c.Threshold = v.claim.mark
	}
	v.claim.passed = p <= limit
	c.Drifted = v.claim.passed && math.Abs(v.claim.effect) >= o.effect
	smallest := v.claim.power.SmallestEffect(rate, o.effect)
	if smallest > v.test.MostEffect() {
		smallest = math.Inf(1)
	}
	c.SmallestEffect = finite(smallest)
	if !c.Drifted && smallest > o.Detectable {
		v.claim.why = o.blind(c, smallest)
	}
}

// blind says why a column in which no drift was found is not judged.
func (o *checked) blind(c *Column, smallest float64) string {
	if math.IsInf(smallest, 1) {
		return c.Stattest + " finds no effect, however great, of so few rows for so many columns: compare more rows, fewer columns, another test, or by --correction bh"
	}
	n, m := float64(c.NReference), float64(c.NCurrent)
	// Effects that are found fall as the root of the sum of 1/rows.
	need := (1/n + 1/m) * (o.Detectable / smallest) * (o.Detectable / smallest)
	how := fmt.Sprintf("about %s rows on each side would do", formatCount(int64(math.Ceil(2/need))))
	if rest := need - 1/n; rest > 0 && m < n {
		how = fmt.Sprintf("about %s current rows would do", formatCount(int64(math.Ceil(1/rest))))
	} else if rest := need - 1/m; rest > 0 && n < m {
		how = fmt.Sprintf("about %s reference rows would do", formatCount(int64(math.Ceil(1/rest))))
	}
	return fmt.Sprintf("of these rows, only an effect of %s or more would have been found, not one of %s; %s", formatNumber(smallest), formatNumber(o.Detectable), how)
}

// settleTrials judges the columns by each test of --all-tests.
func (o *checked) settleTrials(verdicts []judged) error {
	for _, test := range stattest.Tests() {
		var at []int
		var raw []float64
		for i := range verdicts {
			v, ok := verdicts[i].trials[test.Name]
			if !ok || v.why != "" {
				continue
			}
			trial := verdicts[i].column.Tests[test.Name]
			if v.given {
				trial.Drifted = v.drifted
				verdicts[i].column.Tests[test.Name] = trial
				continue
			}
			at, raw = append(at, i), append(raw, v.p)
		}
		corrected, err := o.correct(raw)
		if err != nil {
			return err
		}
		for k, i := range at {
			trial := verdicts[i].column.Tests[test.Name]
			v := verdicts[i].trials[test.Name]
			if trial.PValue, trial.Threshold = &corrected[k], o.Rate; v.expected != nil {
				trial.Threshold = v.mark
			}
			trial.EffectSize, trial.Expected = finite(v.effect), v.expected
			trial.Drifted = corrected[k] <= o.Rate && math.Abs(v.effect) >= o.effect
			verdicts[i].column.Tests[test.Name] = trial
		}
	}
	return nil
}
