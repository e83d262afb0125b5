package quality

import (
	"fmt"
	"maps"
	"slices"
)

// Multilabel counts rows that have several labels at once, each of them set or not.
type Multilabel struct {
	right, predicted, labelled []sum // by label
	exact, rows                sum
	shapes                     map[shape]sum // for the average over rows
}

// shape is what a row's own figures depend on: how many labels are rightly predicted,
// predicted and set.
type shape struct{ right, predicted, labelled int }

// NewMultilabel returns an empty count of labels.
func NewMultilabel(labels int) (*Multilabel, error) {
	if labels < 1 {
		return nil, fmt.Errorf("multilabel of %d labels, must have at least 1", labels)
	}
	return &Multilabel{
		right: make([]sum, labels), predicted: make([]sum, labels), labelled: make([]sum, labels),
		shapes: map[shape]sum{},
	}, nil
}

// Add counts rows: labels and predictions have a slice a label, with an entry a row.
func (m *Multilabel) Add(labels, predictions [][]bool, weights []float64) error {
	n := len(m.right)
	if len(labels) != n || len(predictions) != n {
		return fmt.Errorf("multilabel of %d labels: %d columns of labels and %d of predictions", n, len(labels), len(predictions))
	}
	rows := len(labels[0])
	for l := range n {
		if len(labels[l]) != rows || len(predictions[l]) != rows {
			return fmt.Errorf("label %d: %d labels and %d predictions, must have %d", l, len(labels[l]), len(predictions[l]), rows)
		}
	}
	if err := checkWeights(rows, weights); err != nil {
		return err
	}
	for i := range rows {
		w := weightOf(weights, i)
		if w == 0 {
			continue
		}
		var s shape
		for l := range n {
			y, p := labels[l][i], predictions[l][i]
			if y {
				s.labelled++
				m.labelled[l].add(w)
			}
			if p {
				s.predicted++
				m.predicted[l].add(w)
			}
			if y && p {
				s.right++
				m.right[l].add(w)
			}
		}
		m.rows.add(w)
		if wrong := s.predicted - s.right + s.labelled - s.right; wrong == 0 {
			m.exact.add(w)
		}
		c := m.shapes[s]
		c.add(w)
		m.shapes[s] = c
	}
	return nil
}

// Merge adds the counts of o, of as many labels.
func (m *Multilabel) Merge(o *Multilabel) error {
	if len(m.right) != len(o.right) {
		return fmt.Errorf("merge multilabel counts of %d and %d labels", len(m.right), len(o.right))
	}
	for l := range m.right {
		m.right[l].merge(o.right[l])
		m.predicted[l].merge(o.predicted[l])
		m.labelled[l].merge(o.labelled[l])
	}
	m.exact.merge(o.exact)
	m.rows.merge(o.rows)
	for s, n := range o.shapes {
		c := m.shapes[s]
		c.merge(n)
		m.shapes[s] = c
	}
	return nil
}

// Accuracy is the share of rows that have all labels right.
func (m *Multilabel) Accuracy() (float64, error) {
	if m.rows.value() == 0 {
		return 0, fmt.Errorf("%s: %w", MetricAccuracy, ErrNoRows)
	}
	return finite(MetricAccuracy, m.exact.value()/m.rows.value())
}

// Precision is the share of predicted labels that were set.
func (m *Multilabel) Precision(o Options) (float64, error) {
	return m.averaged(MetricPrecision, precision, o)
}

// Recall is the share of set labels that were predicted.
func (m *Multilabel) Recall(o Options) (float64, error) { return m.averaged(MetricRecall, recall, o) }

// FBeta is the harmonic mean of precision and recall, with recall beta times as important.
func (m *Multilabel) FBeta(beta float64, o Options) (float64, error) {
	f, err := fBeta(beta)
	if err != nil {
		return 0, err
	}
	return m.averaged(MetricFBeta, f, o)
}

func (m *Multilabel) averaged(metric Metric, f ratio, o Options) (float64, error) {
	if o.Average == AverageBinary {
		return 0, fmt.Errorf("%s: average binary is not for several labels a row: choose samples, micro, macro or weighted", metric)
	}
	if o.Average != AverageSamples {
		_, tallies, err := m.tallies(metric, o)
		if err != nil {
			return 0, err
		}
		return average(metric, f, tallies, o)
	}
	if o.Labels != nil {
		return 0, fmt.Errorf("%s: average samples takes all labels: leave labels out", metric)
	}
	if m.rows.value() == 0 {
		return 0, fmt.Errorf("%s: %w", metric, ErrNoRows)
	}
	var values, weights []float64
	for _, s := range slices.SortedFunc(maps.Keys(m.shapes), compareShapes) { // the same sum every time
		n := m.shapes[s]
		values = append(values, f(tally{float64(s.right), float64(s.predicted), float64(s.labelled)}, o.ZeroDivision))
		weights = append(weights, n.value())
	}
	return defined(metric, nanMean(values, weights))
}

func compareShapes(a, b shape) int {
	return slices.Compare([]int{a.right, a.predicted, a.labelled}, []int{b.right, b.predicted, b.labelled})
}

func (m *Multilabel) tallies(metric Metric, o Options) ([]int, []tally, error) {
	if m.rows.value() == 0 {
		return nil, nil, fmt.Errorf("%s: %w", metric, ErrNoRows)
	}
	labels := o.Labels
	if labels == nil {
		labels = all(len(m.right)) // a column is there even where no row has its label set
	}
	if err := checkLabels(labels, len(m.right)); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", metric, err)
	}
	out := make([]tally, len(labels))
	for k, l := range labels {
		out[k] = tally{m.right[l].value(), m.predicted[l].value(), m.labelled[l].value()}
	}
	return labels, out, nil
}

// PerLabel returns precision, recall and F-beta of each label; the average of o does not matter.
func (m *Multilabel) PerLabel(beta float64, o Options) ([]ClassScores, error) {
	labels, tallies, err := m.tallies(MetricFBeta, o)
	if err != nil {
		return nil, err
	}
	return scoresOf(beta, labels, tallies, o.ZeroDivision)
}
