package reference

import (
	"math"
	"strconv"

	"github.com/millrace/millrace/drift/estimator"
	"github.com/millrace/millrace/drift/quality"
	"github.com/millrace/millrace/schemas"
)

// Labels are the rows with a label and what was predicted for them, in the form that the
// target's figures take.
type Labels struct {
	kind     schemas.TargetKind
	rows     []int32 // with a label and a prediction, ascending; the others are left out
	positive []bool  // binary
	above    []bool  // binary: predicted positive
	label    []float64
	score    []float64
	class    []int // multiclass
	said     []int // multiclass: the class predicted
	classes  int
}

// Rows returns the number of rows with a label and a prediction.
func (l *Labels) Rows() int { return len(l.rows) }

// Positives returns how many rows of a binary target are positive.
func (l *Labels) Positives() int {
	n := 0
	for _, p := range l.positive {
		if p {
			n++
		}
	}
	return n
}

// Predicted returns the share of the rows of a multiclass target of which the label is a class that
// is predicted for any row; 1 for other targets.
func (l *Labels) Predicted() float64 {
	if l.kind != schemas.TargetMulticlass || len(l.rows) == 0 {
		return 1
	}
	said := make([]bool, l.classes)
	for _, class := range l.said {
		said[class] = true
	}
	n := 0
	for _, class := range l.class {
		n += b2i(said[class])
	}
	return float64(n) / float64(len(l.rows))
}

// LabelsOf joins the labels with the column that the target compares them with.
func LabelsOf(target *schemas.Target, label, score *Column) *Labels {
	l := &Labels{kind: target.Kind}
	numbers := map[string]int{} // of classes
	for row := range label.Rows() {
		if label.missing(row) || score.missing(row) {
			continue
		}
		switch target.Kind {
		case schemas.TargetMulticlass:
			class, said := number(numbers, label.text(row)), number(numbers, score.text(row))
			l.class, l.said = append(l.class, class), append(l.said, said)
		case schemas.TargetBinary:
			var positive bool
			switch isNumber := label.Numbers != nil; {
			case isNumber && target.Positive == "":
				positive = label.Numbers[row] > target.PositiveAbove
			case !isNumber && target.Positive != "":
				positive = label.text(row) == target.Positive
			default:
				continue // such labels do not count
			}
			l.positive = append(l.positive, positive)
			l.score = append(l.score, score.Numbers[row])
			l.above = append(l.above, score.Numbers[row] >= target.Threshold)
		default:
			if label.Numbers == nil || score.Numbers == nil {
				continue
			}
			l.label, l.score = append(l.label, label.Numbers[row]), append(l.score, score.Numbers[row])
		}
		l.rows = append(l.rows, int32(row))
	}
	l.classes = len(numbers)
	return l
}

func number(numbers map[string]int, class string) int {
	n, ok := numbers[class]
	if !ok {
		n = len(numbers)
		numbers[class] = n
	}
	return n
}

func (c *Column) missing(row int) bool {
	if c.Numbers != nil {
		return math.IsNaN(c.Numbers[row])
	}
	return c.Codes[row] < 0
}

// text is the value of a row as the class of a label is written: a number without a fraction
// without a point.
func (c *Column) text(row int) string {
	if c.Numbers != nil {
		return strconv.FormatFloat(c.Numbers[row], 'f', -1, 64)
	}
	return c.Words[c.Codes[row]]
}

// Figures returns the figures that have a value in the rows from the i-th with a label to the
// j-th, by name: those that checks of package reference take.
func (l *Labels) figures(rows []int) map[schemas.Stattest]float64 {
	out := map[schemas.Stattest]float64{}
	put := func(name schemas.Stattest, value float64, err error) {
		if err == nil {
			out[name] = value
		}
	}
	switch l.kind {
	case schemas.TargetMulticlass:
		c, err := quality.NewConfusion(max(l.classes, 2))
		if err != nil {
			return out
		}
		if c.Add(at(l.class, rows), at(l.said, rows), nil) != nil {
			return out
		}
		value, err := c.Accuracy()
		put(schemas.StattestAccuracy, value, err)
		value, err = c.BalancedAccuracy()
		put(schemas.StattestBalancedAccuracy, value, err)
	case schemas.TargetBinary:
		var counts [2][2]int64 // by label and prediction
		for _, i := range rows {
			counts[b2i(l.positive[i])][b2i(l.above[i])]++
		}
		c := quality.BinaryConfusion(counts[1][1], counts[0][1], counts[1][0], counts[0][0])
		value, err := c.Accuracy()
		put(schemas.StattestAccuracy, value, err)
		undefined := quality.Options{Average: quality.AverageBinary, ZeroDivision: quality.ZeroDivisionUndefined}
		value, err = c.Precision(undefined)
		put(schemas.StattestPrecision, value, err)
		value, err = c.Recall(undefined)
		put(schemas.StattestRecall, value, err)
		r := quality.NewRanking()
		if r.Add(at(l.positive, rows), at(l.score, rows), nil) == nil {
			value, err = r.ROCAUC()
			put(schemas.StattestAUC, value, err)
		}
	case schemas.TargetRegression:
		r := quality.NewRegression()
		if r.Add(at(l.label, rows), at(l.score, rows), nil) != nil {
			return out
		}
		value, err := r.MAE()
		put(schemas.StattestMAE, value, err)
		value, err = r.RMSE()
		put(schemas.StattestRMSE, value, err)
		value, err = r.Bias()
		put(schemas.StattestBias, value, err)
		value, err = r.R2()
		put(schemas.StattestR2, value, err)
	}
	return out
}

func at[T any](values []T, rows []int) []T {
	out := make([]T, len(rows))
	for i, row := range rows {
		out[i] = values[row]
	}
	return out
}

// Figures returns the figures of all rows.
func (l *Labels) Figures() map[schemas.Stattest]float64 {
	all := make([]int, len(l.rows))
	for i := range all {
		all[i] = i
	}
	return l.figures(all)
}

// Estimator returns what the rows with a label say of how the scores of a binary target become
// targets.
func (l *Labels) Estimator(threshold float64) (*schemas.Estimator, error) {
	return estimator.Fit(l.score, l.positive, threshold)
}

// qualityChecks are the figures that are checked by default: the first asks for retraining.
func qualityChecks(kind schemas.TargetKind) []schemas.Stattest {
	switch kind {
	case schemas.TargetMulticlass:
		return []schemas.Stattest{schemas.StattestAccuracy, schemas.StattestBalancedAccuracy}
	case schemas.TargetRegression:
		return []schemas.Stattest{schemas.StattestMAE, schemas.StattestRMSE, schemas.StattestBias}
	default:
		return []schemas.Stattest{schemas.StattestAUC, schemas.StattestAccuracy, schemas.StattestPrecision, schemas.StattestRecall}
	}
}

// judgeQuality adds the checks of quality, and marks the blocks that breach one.
func (p *Plan) judgeQuality(m *schemas.Manifest, data Data, block []int32, breached []bool) {
	l := data.Labels
	rows := make([][]int, len(breached))
	for i, row := range l.rows {
		if b := block[row]; b >= 0 {
			rows[b] = append(rows[b], i)
		}
	}
	byBlock := make([]map[schemas.Stattest]float64, len(breached))
	for b := range breached {
		byBlock[b] = l.figures(rows[b])
	}
	overall := l.Figures()
	names := qualityChecks(m.Target.Kind)
	for i, name := range names {
		figure, ok := schemas.FigureOf(name)
		value, defined := overall[name]
		if !ok || !defined {
			if ok {
				p.Blind = append(p.Blind, Judged{Check: schemas.Check{Stattest: name}, Overall: math.NaN(), Worst: math.NaN(), Smallest: math.NaN()})
			}
			continue
		}
		var values []float64 // the greater the worse
		for _, figures := range byBlock {
			if v, ok := figures[name]; ok {
				values = append(values, worse(figure, v))
			}
		}
		c := Judged{
			Check:   schemas.Check{Stattest: name, Severity: schemas.SeverityWarning},
			Overall: value, Worst: math.NaN(), Smallest: math.NaN(),
		}
		if i == 0 {
			c.Check.Severity, c.Check.Retrain = schemas.SeverityCritical, true
		}
		if !c.setFigure(figure, values, p.Monitoring.Rate/float64(len(names))) || c.blind() {
			p.Blind = append(p.Blind, c)
			continue
		}
		for b, figures := range byBlock {
			if v, ok := figures[name]; ok && figure.Breached(v, c.Check.Threshold) {
				breached[b] = true
			}
		}
		p.Checks = append(p.Checks, c)
	}
}

// worse turns a figure so that the greater is the worse.
func worse(f schemas.Figure, value float64) float64 {
	switch f.Direction {
	case schemas.BreachesAbove:
		return value
	case schemas.BreachesBeyond:
		return math.Abs(value)
	default:
		return -value
	}
}

// setFigure sets the threshold of a figure by its values in the blocks, of which the greater are
// the worse: the prediction limit, and a tenth of the distance from the figure of all rows
// beyond the worst block. False where no threshold makes sense: a score that would have to be
// below nothing.
func (c *Judged) setFigure(f schemas.Figure, values []float64, rate float64) bool {
	all := worse(f, c.Overall)
	worst := all
	for _, v := range values {
		worst = max(worst, v)
	}
	bound, why := worst+(margin-1)*max(worst-all, math.Abs(all)*(margin-1)), "the worst block and a tenth"
	if limit, ok := predictionLimit(values, rate); ok && limit > bound {
		bound, why = limit, "the spread of "+strconv.Itoa(len(values))+" blocks"
	}
	c.Why = why
	if f.Direction == schemas.BreachesBelow {
		c.Worst = -worst
		c.Check.Threshold = roundTo(-bound, 3, math.Floor)
		return c.Check.Threshold > 0 || f.Signed
	}
	c.Worst = worst
	c.Check.Threshold = roundTo(bound, 3, math.Ceil)
	return true
}
