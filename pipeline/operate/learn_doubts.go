package operate

import (
	"math"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/gonum/stat"

	"github.com/millrace/millrace/drift/reference"
	"github.com/millrace/millrace/schemas"
)

// doubt notes what speaks against the quality that the data show.
func (l *learner) doubt(ref *schemas.Reference, labels *reference.Labels) {
	if labels.Rows() < int(ref.Rows) {
		l.note("%d of %d rows have a label and a prediction", labels.Rows(), ref.Rows)
	}
	if ref.OutOfFold || l.stored {
		return
	}
	const why = "a model flatters the rows that it was fitted on. If it was fitted on these, give out-of-fold predictions by --score"
	auc, perfect := ref.Quality[schemas.StattestAUC], ref.Quality[schemas.StattestAccuracy] == 1 || ref.Quality[schemas.StattestR2] > 0.999
	switch {
	case auc > 0.999 || perfect:
		l.note("the model is all but never wrong on these rows, as models are on those that they were fitted on: the quality and its thresholds are likely too good. Give out-of-fold predictions by --score")
	case strings.Contains(strings.ToLower(filepath.Base(l.t.name)), "train"):
		l.note("the data are called %s: %s", filepath.Base(l.t.name), why)
	default:
		l.note("the quality is of the model's own predictions: %s", why)
	}
}

// isClass tells of an output that it is what labels that are classes are compared with.
func (l *learner) isClass(output string) bool {
	return l.m.Target != nil && l.m.Target.Kind == schemas.TargetMulticlass && output == l.m.Target.Score
}

// leastRows is below how many rows of a window, the median, few things are told from chance.
const leastRows = 30

// remark notes what a plan leaves open.
func (l *learner) remark(plan *reference.Plan, windows reference.Windows) {
	if windows.Rows < leastRows {
		l.note("a window has %d rows (the median), by which next to nothing is told from chance: take longer windows (--window), or more rows", windows.Rows)
	}
	for _, c := range plan.Blind {
		name := string(c.Check.Stattest)
		if c.Check.Column != "" {
			name += " of " + c.Check.Column
		}
		switch {
		case c.Check.Column != "":
			l.note("%s is not checked: windows differ so much that it would find next to nothing, with a threshold of %v; longer windows (--window) may differ less", name, c.Check.Threshold)
		case math.IsNaN(c.Overall):
			l.note("%s is not checked: it has no value on these rows, of which all labels or all predictions are the same", name)
		case c.Check.Stattest == schemas.StattestAUC:
			l.note("roc_auc is not checked: the scores rank worse than chance (%.3g): are they those of the other class?", c.Overall)
		default:
			l.note("%s is not checked: it is %.3g over all rows, and differs so much from window to window that no value would be a breach", name, c.Overall)
		}
	}
	for _, c := range plan.Checks {
		if c.Check.Retrain && c.Check.Stattest == schemas.StattestPSI && c.Check.Threshold >= 2 {
			l.note("psi of %s finds next to nothing with a threshold of %v, as windows differ so much: take longer windows (--window)", c.Check.Column, c.Check.Threshold)
		}
	}
	if l.monitored == nil {
		return
	}
	var gone []string
	for _, old := range l.monitored.Checks {
		if !slices.ContainsFunc(plan.Checks, func(c reference.Judged) bool {
			return c.Check.Stattest == old.Stattest && c.Check.Column == old.Column
		}) {
			gone = append(gone, strings.TrimSpace(string(old.Stattest)+" "+old.Column))
		}
	}
	if len(gone) > 0 {
		l.note("checks of the manifest before are not in the proposed ones: %s: add those that you want, with thresholds of these data", few(gone))
	}
}

// doubtScores notes where the out-of-fold predictions given are not of the kind of the model's own.
func (l *learner) doubtScores(given, own *reference.Column) {
	if given.Numbers == nil || own.Numbers == nil {
		return
	}
	var x, y []float64
	low, high, least, most := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for i, v := range given.Numbers {
		if w := own.Numbers[i]; !math.IsNaN(v) && !math.IsNaN(w) {
			x, y = append(x, v), append(y, w)
			low, high, least, most = min(low, v), max(high, v), min(least, w), max(most, w)
		}
	}
	if len(x) == 0 {
		return
	}
	if l.m.Target.Kind == schemas.TargetBinary && least >= 0 && most <= 1 && (low < 0 || high > 1) {
		l.note("the predictions of --score go from %.3g to %.3g, and those of the model from %.3g to %.3g: are they probabilities?", low, high, least, most)
	}
	if r := stat.Correlation(x, y, nil); r < 0.3 {
		l.note("the predictions of --score and the model's own have little in common (correlation %.2g): are they of the same model, and of the same class?", r)
	}
}
