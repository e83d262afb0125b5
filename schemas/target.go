package schemas

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Target says how a label that arrives as feedback is compared with a prediction.
//
// A binary row is positive when its label is above PositiveAbove or, where labels are strings,
// when it is Positive; it is predicted positive when the score is at least Threshold. Labels that
// are strings do not count without Positive, those that are numbers do not count with it.
//
// A multiclass row is right when its label, written as text, is the class predicted: a number
// without a fraction is written without a point, so that the label 3 is the class "3".
//
// Of regression the label is the number that was predicted.
type Target struct {
	Kind TargetKind `yaml:"kind"`
	// Score is the output that the label is compared with: of binary the probability of the
	// positive class, of multiclass the class (string, int32 or int64), of regression the number.
	Score         string  `yaml:"score"`
	Threshold     float64 `yaml:"threshold,omitempty"`      // binary; default 0.5
	PositiveAbove float64 `yaml:"positive_above,omitempty"` // binary; default 0, so that 1 is positive
	Positive      string  `yaml:"positive,omitempty"`       // binary, of labels that are strings: the positive one
	// Probabilities names, by class, the output with its probability, of all classes: at most
	// MaxProbabilities. Multiclass; without it there is no log_loss, brier_score,
	// expected_calibration_error or roc_auc.
	Probabilities map[string]string `yaml:"probabilities,omitempty"`
}

// MaxProbabilities bounds Target.Probabilities: each is a pass over the labelled rows of a window.
const MaxProbabilities = 100

// TargetKind is the kind of problem that a model solves.
type TargetKind string

// The kinds of targets.
const (
	TargetBinary     TargetKind = "binary"     // two-class classification
	TargetMulticlass TargetKind = "multiclass" // classification by any number of classes
	TargetRegression TargetKind = "regression" // a number
)

// Figure is a quality figure: by what it is computed and when it breaches a check.
type Figure struct {
	Name      Stattest
	Kinds     []TargetKind // of targets that have it
	Direction Direction
	// Signed: the figure can be below 0, and so can its threshold.
	Signed bool
	// Probable: of a multiclass target it needs Target.Probabilities.
	Probable bool
}

// Direction says which values of a figure breach a check.
type Direction string

// The directions.
const (
	BreachesBelow  Direction = "below"  // a score: more is better
	BreachesAbove  Direction = "above"  // an error or a loss: less is better
	BreachesBeyond Direction = "beyond" // best at 0: a distance from 0 above the threshold breaches
)

var (
	classes  = []TargetKind{TargetBinary, TargetMulticlass}
	numbers  = []TargetKind{TargetRegression}
	binaries = []TargetKind{TargetBinary}
)

// figures are all quality figures, in the order in which they are shown. Names and definitions
// are those of package drift/quality.
var figures = []Figure{
	{Name: StattestAccuracy, Kinds: classes, Direction: BreachesBelow},
	{Name: StattestBalancedAccuracy, Kinds: classes, Direction: BreachesBelow},
	{Name: StattestPrecision, Kinds: classes, Direction: BreachesBelow},
	{Name: StattestRecall, Kinds: classes, Direction: BreachesBelow},
	{Name: StattestF1, Kinds: classes, Direction: BreachesBelow},
	{Name: StattestMatthews, Kinds: classes, Direction: BreachesBelow, Signed: true},
	{Name: StattestKappa, Kinds: classes, Direction: BreachesBelow, Signed: true},
	{Name: StattestAUC, Kinds: classes, Direction: BreachesBelow, Probable: true},
	{Name: StattestAveragePrecision, Kinds: binaries, Direction: BreachesBelow},
	{Name: StattestLogLoss, Kinds: classes, Direction: BreachesAbove, Probable: true},
	{Name: StattestBrier, Kinds: classes, Direction: BreachesAbove, Probable: true},
	{Name: StattestECE, Kinds: classes, Direction: BreachesAbove, Probable: true},
	{Name: StattestMAE, Kinds: numbers, Direction: BreachesAbove},
	{Name: StattestMedianAbsoluteError, Kinds: numbers, Direction: BreachesAbove},
	{Name: StattestMSE, Kinds: numbers, Direction: BreachesAbove},
	{Name: StattestRMSE, Kinds: numbers, Direction: BreachesAbove},
	{Name: StattestMAPE, Kinds: numbers, Direction: BreachesAbove},
	{Name: StattestSMAPE, Kinds: numbers, Direction: BreachesAbove},
	{Name: StattestR2, Kinds: numbers, Direction: BreachesBelow, Signed: true},
	{Name: StattestBias, Kinds: numbers, Direction: BreachesBeyond},
}

// FigureOf returns the quality figure of that name, or the estimate.
func FigureOf(name Stattest) (Figure, bool) {
	i := slices.IndexFunc(figures, func(f Figure) bool { return f.Name == name })
	if i < 0 {
		return estimateFigure(name)
	}
	return figures[i], true
}

// Breached tells whether a value breaches a threshold.
func (f Figure) Breached(value, threshold float64) bool {
	switch f.Direction {
	case BreachesAbove:
		return value > threshold
	case BreachesBeyond:
		return math.Abs(value) > threshold
	case BreachesBelow:
	}
	return value < threshold
}

// Figures returns the figures that a target has, in the order in which they are shown.
func (t *Target) Figures() []Figure {
	var out []Figure
	for _, f := range figures {
		unknown := f.Probable && t.Kind == TargetMulticlass && len(t.Probabilities) == 0
		if slices.Contains(f.Kinds, t.Kind) && !unknown {
			out = append(out, f)
		}
	}
	return out
}

// Classes returns the classes of Probabilities, sorted.
func (t *Target) Classes() []string {
	out := make([]string, 0, len(t.Probabilities))
	for class := range t.Probabilities {
		out = append(out, class)
	}
	slices.Sort(out)
	return out
}

// validate checks a target against the outputs of its manifest.
func (t *Target) validate(v *violations, m *Manifest) {
	v.oneOf("target.kind", string(t.Kind), string(TargetBinary), string(TargetMulticlass), string(TargetRegression))
	o, ok := m.Output(t.Score)
	whole := ok && (o.Type == TypeInt32 || o.Type == TypeInt64)
	switch {
	case !ok:
		v.add("target.score", "%q is no output", t.Score)
	case t.Kind == TargetMulticlass && o.Type != TypeString && !whole:
		v.add("target.score", "output %q is %s, and classes are string, int32 or int64: name the output with the class that was predicted", t.Score, o.Type)
	case t.Kind != TargetMulticlass && !o.Type.Numeric():
		v.add("target.score", "output %q is %s, not a number", t.Score, o.Type)
	}
	if t.Kind == TargetBinary {
		v.between("target.threshold", t.Threshold, math.SmallestNonzeroFloat64, 1)
		v.between("target.positive_above", t.PositiveAbove, -math.MaxFloat64, math.MaxFloat64)
		if t.Positive != "" && t.PositiveAbove != 0 {
			v.add("target.positive", "is for labels that are strings, and positive_above for those that are numbers; leave one out")
		}
		if _, err := strconv.ParseFloat(t.Positive, 64); err == nil || slices.Contains([]string{"true", "false"}, strings.ToLower(t.Positive)) {
			v.add("target.positive", "%q is a label that is no string; use positive_above, which true is 1 to and false 0", t.Positive)
		}
	} else if t.Threshold != 0 || t.PositiveAbove != 0 || t.Positive != "" {
		v.add("target", "threshold, positive_above and positive are of kind binary, and this is %s", t.Kind)
	}
	if len(t.Probabilities) > 0 {
		t.validateProbabilities(v, m, whole)
	}
}

func (t *Target) validateProbabilities(v *violations, m *Manifest, whole bool) {
	const key = "target.probabilities"
	if t.Kind != TargetMulticlass {
		v.add(key, "are of kind multiclass, and this is %s", t.Kind)
		return
	}
	if n := len(t.Probabilities); n < 2 || n > MaxProbabilities {
		v.add(key, "must name from 2 to %d classes, got %d", MaxProbabilities, n)
	}
	seen := map[string]string{}
	for _, class := range t.Classes() {
		name := t.Probabilities[class]
		if o, ok := m.Output(name); !ok {
			v.add(key, "of class %q: %q is no output", class, name)
		} else if o.Type != TypeFloat32 && o.Type != TypeFloat64 {
			v.add(key, "of class %q: output %q is %s, not float32 or float64", class, name, o.Type)
		}
		if other, taken := seen[name]; taken {
			v.add(key, "of class %q: output %q is already that of class %q", class, name, other)
		}
		seen[name] = class
		if n, err := strconv.ParseInt(class, 10, 64); whole && (err != nil || strconv.FormatInt(n, 10) != class) {
			v.add(key, "class %q is no whole number, and output %q has whole numbers", class, t.Score)
		}
	}
}

// validateFigure checks a check of a quality figure.
func (m *Manifest) validateFigure(v *violations, key string, c Check, f Figure) {
	switch {
	case m.Target == nil:
		v.add(key, "%s needs labels, and the manifest has no target", c.Stattest)
	case !slices.Contains(f.Kinds, m.Target.Kind):
		v.add(key, "%s is no figure of a %s target; it has %s", c.Stattest, m.Target.Kind, joinFigures(m.Target.Figures()))
	case f.Probable && m.Target.Kind == TargetMulticlass && len(m.Target.Probabilities) == 0:
		v.add(key, "%s needs target.probabilities", c.Stattest)
	case c.Stattest.OfEstimate() && m.Reference == nil && m.Monitoring.Reference == nil:
		v.add(key, "%s is estimated by a reference, and the manifest has none; monitoring.reference learns one", c.Stattest)
	}
	if c.Column != "" {
		v.add(key+".column", "%s is of the target; leave the column out", c.Stattest)
	}
}

func joinStattests(names []Stattest) string {
	out := make([]string, len(names))
	for i, s := range names {
		out[i] = string(s)
	}
	return strings.Join(out, ", ")
}

func joinFigures(fs []Figure) string {
	names := make([]string, len(fs))
	for i, f := range fs {
		names[i] = string(f.Name)
	}
	return strings.Join(names, ", ")
}
