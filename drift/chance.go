package drift

import (
	"fmt"
	"math"
	"strconv"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/stattest"
	"github.com/millrace/millrace/schemas"
)

// columnNull returns what a score of ColumnScore is where nothing drifted, at the rows and
// cells of the two sides, by dealing their rows anew: of counts, and so at any number of
// rows. The same counts and options give the same null.
func columnNull(test schemas.Stattest, reference, current profile.Counts, numeric bool, o stattest.NullOptions) (*stattest.Null, error) {
	switch test {
	case schemas.StattestPSI:
		r, c := cells(reference, current, numeric)
		return stattest.NullOf(stattest.Distance{Name: string(test), Square: true, Of: psi}, r, c, o)
	case schemas.StattestChiSquare:
		r, c := cells(reference, current, numeric)
		return stattest.NullOf(stattest.Distance{Name: string(test), Of: association}, r, c, o)
	case schemas.StattestKS:
		r, c := floats(reference.Cells), floats(current.Cells)
		if reference.Missing == reference.Rows() || current.Missing == current.Rows() {
			// A side has no values, so that the score says whether the other one has any:
			// what is dealt is which rows have a value.
			r = []float64{float64(reference.Rows() - reference.Missing), float64(reference.Missing)}
			c = []float64{float64(current.Rows() - current.Missing), float64(current.Missing)}
		}
		return stattest.NullOf(stattest.Distance{Name: string(test), Of: largestStep}, r, c, o)
	default:
		return nil, fmt.Errorf("%q is no drift score of a column", test)
	}
}

func psi(reference, current []float64) (float64, error) {
	r, err := stattest.PSI(reference, current)
	return r.Score, err
}

func association(reference, current []float64) (float64, error) {
	r, err := stattest.ChiSquare(reference, current)
	if err != nil {
		return 0, err
	}
	return *r.EffectSize, nil
}

// largestStep is the statistic of ks over ordered cells: how far the shares of the rows up to a
// cell lie apart at most.
func largestStep(reference, current []float64) (float64, error) {
	var rows, upTo [2]float64
	for i := range reference {
		rows[0], rows[1] = rows[0]+reference[i], rows[1]+current[i]
	}
	if min(rows[0], rows[1]) == 0 {
		return 0, ErrNoRows
	}
	most := 0.0
	for i := range reference {
		upTo[0], upTo[1] = upTo[0]+reference[i], upTo[1]+current[i]
		most = max(most, math.Abs(upTo[0]/rows[0]-upTo[1]/rows[1]))
	}
	return most, nil
}

func floats(counts []int64) []float64 {
	out := make([]float64, len(counts))
	for i, n := range counts {
		out[i] = float64(n)
	}
	return out
}

// weighed is a check of one column in one window, before the window's other checks are known.
type weighed struct {
	row   int // of its result
	check *schemas.Check
	null  *stattest.Null // nil of the quality of data
	fault *fault         // nil of a score
	p     float64
}

// weigh compares a score with what it is where nothing drifted.
func weigh(row *schemas.DriftResult, check *schemas.Check, null *stattest.Null) weighed {
	w := weighed{check: check, null: null, p: null.PValue(row.Score)}
	expected, effect := null.Expected, null.Effect(row.Score)
	row.PValue, row.Expected, row.Effect = &w.p, &expected, &effect
	return w
}

// judgeChecks fills in the verdicts of a window's checks of columns. A score drifted where it
// is more than chance, by a p-value that is corrected over all of these checks (Holm), and
// without the part that chance makes of it is at least the check's threshold. It did not drift
// where an effect as great as the threshold is more than chance in 80 % of such windows;
// where it is not, the score is not judged, whatever it is.
func judgeChecks(rows []schemas.DriftResult, checks []weighed, rate float64) error {
	p := make([]float64, len(checks))
	for i, w := range checks {
		p[i] = w.p
	}
	corrected, err := stattest.Holm(p)
	if err != nil {
		return err
	}
	for i, w := range checks {
		row := &rows[w.row]
		if w.fault != nil {
			w.fault.judge(row, w.check, &corrected[i], rate, rate/float64(len(checks)))
			continue
		}
		applyCheck(row, w.check)
		row.PCorrected = &corrected[i]
		smallest := w.null.Power().SmallestEffect(rate/float64(len(checks)), 0)
		if !math.IsInf(smallest, 0) && !math.IsNaN(smallest) {
			row.Smallest = &smallest
		}
		switch {
		case corrected[i] <= rate && *row.Effect >= w.check.Threshold:
			row.Drifted, row.Verdict = true, string(schemas.ScoreDrifted)
		case row.Smallest != nil && smallest <= w.check.Threshold:
			row.Verdict = string(schemas.ScoreOK)
		default:
			row.Verdict, row.Reason = string(schemas.ScoreNotJudged), tooSmall(row, smallest, rate, len(checks))
		}
	}
	return nil
}

// tooSmall says why a score is not judged.
func tooSmall(row *schemas.DriftResult, smallest, rate float64, checks int) string {
	if math.IsInf(smallest, 1) {
		return fmt.Sprintf("too few rows: of %d, at a rate of %s over %d checks, no %s is told from chance", row.Rows, short(rate), checks, row.Stattest)
	}
	return fmt.Sprintf("too few rows: of %d, at a rate of %s over %d checks, %s is told from chance from %s on, and the threshold is %s",
		row.Rows, short(rate), checks, row.Stattest, short(smallest), short(*row.Threshold))
}

func short(x float64) string { return strconv.FormatFloat(x, 'g', 3, 64) }

// judgeShare fills in the verdict of drift_share: checked columns that drifted, of all that are
// checked. Where as many columns could not be judged as would reach the threshold, it is not
// judged, too.
func judgeShare(row *schemas.DriftResult, check *schemas.Check, columns map[string]schemas.DriftVerdict) {
	drifted, open := 0, 0
	for _, v := range columns {
		switch v {
		case schemas.ScoreDrifted:
			drifted++
		case schemas.ScoreNotJudged:
			open++
		case schemas.ScoreOK:
		}
	}
	n := float64(len(columns))
	row.Stattest, row.Score = string(schemas.StattestShare), float64(drifted)/n
	applyCheck(row, check)
	switch {
	case row.Score >= check.Threshold:
		row.Drifted, row.Verdict = true, string(schemas.ScoreDrifted)
	case float64(drifted+open)/n >= check.Threshold:
		row.Verdict, row.Reason = string(schemas.ScoreNotJudged), fmt.Sprintf("%d of %d checked columns could not be judged", open, len(columns))
	default:
		row.Verdict = string(schemas.ScoreOK)
	}
}
