package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/drift/quality"
)

// Tasks of Quality.
const (
	TaskBinary     = "binary"
	TaskMulticlass = "multiclass"
	TaskRegression = "regression"
)

const (
	maxClasses = 1000 // of a target
	halfway    = 0.5  // the probability from which a row counts as positive
)

// model compares how well the model answers on both sides.
func (e *engine) model(ctx context.Context, r *Result, all []done) error {
	if e.Target == "" || e.Prediction == "" {
		return nil
	}
	var target, prediction *done
	for i := range all {
		switch all[i].plan.role {
		case RoleTarget:
			target = &all[i]
		case RolePrediction:
			prediction = &all[i]
		}
	}
	if target.whole.skip || target.plan.skip != "" || prediction.plan.skip != "" {
		return fmt.Errorf("no quality of the model: --target %s and --prediction %s must hold labels or numbers", e.Target, e.Prediction)
	}
	q := &Quality{Target: e.Target}
	var sides [2]modelSide
	switch {
	case target.whole.column.Type == TypeNumeric && prediction.plan.numeric:
		q.Task = TaskRegression
		for k := range sides {
			sides[k] = regression{quality.NewRegression()}
		}
	case target.whole.column.Type == TypeNumeric:
		return fmt.Errorf("no quality of the model: target %q holds numbers and prediction %q texts", e.Target, e.Prediction)
	default:
		if err := e.classification(q, &sides, target, prediction); err != nil {
			return err
		}
	}
	plans := []*plan{target.plan, prediction.plan}
	texts := []codes{{}, {}}
	for i, d := range []*done{target, prediction} { // in the order of the classes
		for at, name := range d.whole.names {
			texts[i][name] = float64(at)
		}
	}
	for k := range sides {
		left := int64(0)
		err := e.scanRows(ctx, k, plans, texts, func(_ int64, columns [][]float64) error {
			y, p := columns[0], columns[1]
			// Rows that lack either say nothing.
			keep := 0
			kept := [2][]float64{make([]float64, len(y)), make([]float64, len(y))}
			for i := range y {
				if s := y[i] + p[i]; s-s == 0 {
					kept[0][keep], kept[1][keep] = y[i], p[i]
					keep++
				}
			}
			left += int64(len(y) - keep)
			err := sides[k].add(kept[0][:keep], kept[1][:keep])
			if errors.Is(err, errNewClass) {
				return e.tables[k].changed()
			}
			return err
		})
		if err != nil {
			return err
		}
		if left > 0 {
			e.note("quality of the model: %s of %s lack the target or the prediction and do not count", count(left, "row"), e.tables[k].source.Name())
		}
	}
	reference, current := sides[0].figures(), sides[1].figures()
	for i, f := range reference {
		q.Metrics = append(q.Metrics, Metric{
			Metric: string(f.Metric), LowerIsBetter: f.Metric.LowerIsBetter(),
			Reference: f.Value, ReferenceInterval: interval(f), ReferenceNoInterval: noInterval(f),
			Current: current[i].Value, CurrentInterval: interval(current[i]), CurrentNoInterval: noInterval(current[i]),
		})
	}
	r.Quality = q
	return nil
}

func interval(f quality.Figure) *[2]float64 {
	if f.Interval == nil {
		return nil
	}
	return &[2]float64{f.Interval.Low, f.Interval.High}
}

// noInterval says why a figure has no interval.
func noInterval(f quality.Figure) string {
	if f.NoInterval == nil {
		return ""
	}
	return strings.ReplaceAll(f.NoInterval.Error(), string(f.Metric)+": ", "")
}

// modelSide judges a model on one side.
type modelSide interface {
	add(target, prediction []float64) error
	figures() []quality.Figure
}

type regression struct{ *quality.Regression }

func (r regression) add(target, prediction []float64) error {
	return r.Add(target, prediction, nil)
}

func (r regression) figures() []quality.Figure {
	return quality.RegressionFigures(r.Regression, quality.DefaultConfidence)
}

// classification finds the classes, and what the predictions are: labels, or of a target of
// two classes the probability of the second, in ascending order.
func (e *engine) classification(q *Quality, sides *[2]modelSide, target, prediction *done) error {
	names := slices.Clone(target.whole.names)
	if most := max(len(names), len(prediction.whole.names)); most > maxClasses || target.whole.column.Sampled {
		return fmt.Errorf("no quality of the model: target %q or prediction %q has more than %d classes", e.Target, e.Prediction, maxClasses)
	}
	labels := prediction.whole.names != nil
	known := map[string]int{}
	for i, name := range names {
		known[name] = i
	}
	if labels && prediction.plan.numeric {
		for _, name := range prediction.whole.names {
			if _, ok := known[name]; !ok {
				labels = false // numbers that are no class are probabilities
			}
		}
	}
	c := prediction.whole.column.DataQuality
	inUnit := func(s SideQuality) bool { return s.Min == nil || *s.Min >= 0 && *s.Max <= 1 }
	switch {
	case !labels && (len(names) != 2 || !inUnit(c.Reference) || !inUnit(c.Current)):
		return fmt.Errorf("no quality of the model: prediction %q holds numbers that are neither classes of target %q (%s) nor, of two classes, probabilities of %q",
			e.Prediction, e.Target, listed(names), names[len(names)-1])
	case !labels:
		q.Task, q.Positive = TaskBinary, names[1]
		for k := range sides {
			p, err := quality.NewProbabilities(2, 0)
			if err != nil {
				return err
			}
			sides[k] = &classes{
				target: lookup(target, known), positive: 1,
				counts: [][]float64{{0, 0}, {0, 0}}, probabilities: p, ranking: quality.NewRanking(),
			}
		}
		return nil
	}
	for _, name := range prediction.whole.names {
		if _, ok := known[name]; !ok {
			known[name] = len(names)
			names = append(names, name)
		}
	}
	if len(names) == 1 {
		return fmt.Errorf("no quality of the model: target %q and prediction %q hold the one class %s", e.Target, e.Prediction, listed(names))
	}
	q.Task = TaskMulticlass
	positive := -1
	if len(names) == 2 {
		q.Task, q.Positive, positive = TaskBinary, names[1], 1
	}
	for k := range sides {
		s := &classes{target: lookup(target, known), prediction: lookup(prediction, known), positive: positive}
		for range names {
			s.counts = append(s.counts, make([]float64, len(names)))
		}
		sides[k] = s
	}
	return nil
}

// errNewClass is of a table that has grown since it was read first.
var errNewClass = errors.New("a class that was not there before")

// lookup returns what tells the class of a column's value, as scanRows gives it; -1 of a
// value that was not there before.
func lookup(d *done, known map[string]int) func(v float64) int {
	if !d.plan.numeric { // the code of a text is its place in names
		of := make([]int, len(d.whole.names))
		for i, name := range d.whole.names {
			of[i] = known[name]
		}
		return func(v float64) int {
			if int(v) >= len(of) {
				return -1
			}
			return of[int(v)]
		}
	}
	of := map[float64]int{}
	for i, name := range d.whole.names {
		of[d.whole.values[i]] = known[name]
	}
	return func(v float64) int {
		if class, ok := of[v]; ok {
			return class
		}
		return -1
	}
}

type classes struct {
	target, prediction func(v float64) int // the class of a value; prediction is nil of probabilities
	positive           int                 // -1 of more than two
	counts             [][]float64
	probabilities      *quality.Probabilities
	ranking            *quality.Ranking
}

func (c *classes) add(target, prediction []float64) error {
	if c.prediction != nil {
		for i, y := range target {
			class, answer := c.target(y), c.prediction(prediction[i])
			if min(class, answer) < 0 {
				return errNewClass
			}
			c.counts[class][answer]++
		}
		return nil
	}
	positive := make([]bool, len(target))
	for i, y := range target {
		class, answer := c.target(y), 0
		if class < 0 {
			return errNewClass
		}
		if prediction[i] >= halfway {
			answer = 1
		}
		positive[i] = class == 1
		c.counts[class][answer]++
	}
	if err := c.probabilities.AddBinary(positive, prediction, nil); err != nil {
		return err
	}
	return c.ranking.Add(positive, prediction, nil)
}

func (c *classes) figures() []quality.Figure {
	m, err := quality.ConfusionOf(c.counts)
	if err != nil {
		return nil // counts are whole numbers of as many classes as there are
	}
	if c.positive < 0 {
		return quality.MulticlassFigures(m, nil, quality.DefaultConfidence)
	}
	return quality.BinaryFigures(m, c.ranking, c.probabilities, quality.DefaultConfidence)
}
