package quality

import (
	"errors"
	"fmt"
	"math"
)

// sumTolerance is how far the probabilities of a row may be from a sum of 1, as
// scikit-learn allows for the ROC AUC of several classes; 32-bit models need it.
const sumTolerance = 1e-5

// checkSums returns an error unless the columns of probabilities sum to 1 in every row.
func checkSums(probabilities [][]float64) error {
	for i := range probabilities[0] {
		s := 0.0
		for _, p := range probabilities {
			s += p[i]
		}
		if math.Abs(s-1) > sumTolerance {
			return fmt.Errorf("row %d: the probabilities of the classes sum to %v, must sum to 1", i, s)
		}
	}
	return nil
}

// checkMulticlass checks labels against a column of probabilities a class.
func checkMulticlass(labels []int, probabilities [][]float64, weights []float64) error {
	if len(probabilities) < 2 {
		return fmt.Errorf("%d columns of probabilities, several classes have at least 2", len(probabilities))
	}
	for c, p := range probabilities {
		if err := checkProbabilities(fmt.Sprintf("probability of class %d", c), len(labels), p); err != nil {
			return err
		}
	}
	return errors.Join(checkClasses("label", len(probabilities), labels), checkWeights(len(labels), weights),
		checkSums(probabilities))
}

// MulticlassROCAUC is the ROC AUC of every class against the rest, averaged: macro, weighted
// or micro. probabilities has a column a class. It is undefined when a class has no rows
// (weighted: leaves it out) or all of them.
func MulticlassROCAUC(labels []int, probabilities [][]float64, weights []float64, by Average) (float64, error) {
	return multiclass(MetricROCAUC, (*Ranking).ROCAUC, labels, probabilities, weights, by)
}

// MulticlassAveragePrecision is MulticlassROCAUC for average precision.
func MulticlassAveragePrecision(labels []int, probabilities [][]float64, weights []float64, by Average) (float64, error) {
	return multiclass(MetricAveragePrecision, (*Ranking).AveragePrecision, labels, probabilities, weights, by)
}

func multiclass(m Metric, figure func(*Ranking) (float64, error), labels []int, probabilities [][]float64, weights []float64, by Average) (float64, error) {
	if err := checkMulticlass(labels, probabilities, weights); err != nil {
		return 0, err
	}
	if by == AverageSamples {
		return 0, fmt.Errorf("%s: average samples is for several labels a row", m)
	}
	columns := make([][]bool, len(probabilities))
	for c := range columns {
		columns[c] = make([]bool, len(labels))
		for i, l := range labels {
			columns[c][i] = l == c
		}
	}
	return oneVsRest(m, figure, columns, probabilities, weights, by)
}

// MultilabelROCAUC is the ROC AUC of each label, averaged: macro, weighted, micro or
// samples. labels and scores have a column a label.
func MultilabelROCAUC(labels [][]bool, scores [][]float64, weights []float64, by Average) (float64, error) {
	return oneVsRest(MetricROCAUC, (*Ranking).ROCAUC, labels, scores, weights, by)
}

// MultilabelAveragePrecision is MultilabelROCAUC for average precision.
func MultilabelAveragePrecision(labels [][]bool, scores [][]float64, weights []float64, by Average) (float64, error) {
	return oneVsRest(MetricAveragePrecision, (*Ranking).AveragePrecision, labels, scores, weights, by)
}

func oneVsRest(m Metric, figure func(*Ranking) (float64, error), labels [][]bool, scores [][]float64, weights []float64, by Average) (float64, error) {
	if len(labels) == 0 || len(labels) != len(scores) {
		return 0, fmt.Errorf("%s: %d columns of labels and %d of scores: every label needs both", m, len(labels), len(scores))
	}
	rows := len(labels[0])
	for l := range labels {
		if len(labels[l]) != rows {
			return 0, fmt.Errorf("%s: label %d has %d rows, label 0 has %d", m, l, len(labels[l]), rows)
		}
		if err := checkFinite(fmt.Sprintf("score of label %d", l), rows, scores[l]); err != nil {
			return 0, fmt.Errorf("%s: %w", m, err)
		}
	}
	if err := checkWeights(rows, weights); err != nil {
		return 0, fmt.Errorf("%s: %w", m, err)
	}
	switch by {
	case AverageMicro:
		r := NewRanking()
		for l := range labels {
			if err := r.Add(labels[l], scores[l], weights); err != nil {
				return 0, err
			}
		}
		return figure(r)
	case AverageSamples:
		return overRows(m, figure, labels, scores, weights)
	case AverageMacro, AverageWeighted, "":
	default:
		return 0, fmt.Errorf("%s: average %q is not one of macro, weighted, micro, samples", m, by)
	}
	var s, n sum
	for l := range labels {
		r := NewRanking()
		if err := r.Add(labels[l], scores[l], weights); err != nil {
			return 0, err
		}
		w := 1.0
		if by == AverageWeighted {
			if w, _ = r.Rows(); w == 0 {
				continue
			}
		}
		v, err := figure(r)
		if err != nil {
			return 0, fmt.Errorf("class %d: %w", l, err)
		}
		s.addProduct(w, v)
		n.add(w)
	}
	if n.value() == 0 {
		return 0, undefined(m, "no row has a label set")
	}
	return finite(m, s.value()/n.value())
}

// overRows averages the figure of each row over its labels.
func overRows(m Metric, figure func(*Ranking) (float64, error), labels [][]bool, scores [][]float64, weights []float64) (float64, error) {
	var s, n sum
	row, values := make([]bool, len(labels)), make([]float64, len(labels))
	for i := range labels[0] {
		w := weightOf(weights, i)
		if w == 0 {
			continue
		}
		for l := range labels {
			row[l], values[l] = labels[l][i], scores[l][i]
		}
		r := NewRanking()
		if err := r.Add(row, values, nil); err != nil {
			return 0, err
		}
		v, err := figure(r)
		if err != nil {
			return 0, fmt.Errorf("row %d: %w", i, err)
		}
		s.addProduct(w, v)
		n.add(w)
	}
	if n.value() == 0 {
		return 0, fmt.Errorf("%s: %w", m, ErrNoRows)
	}
	return finite(m, s.value()/n.value())
}

// PairwiseROCAUC is the mean ROC AUC of every two classes that occur, one against the other
// and back (Hand and Till 2001; scikit-learn's multi_class="ovo"). Weighted weights a pair
// by its rows. As in scikit-learn, rows have no weights here.
func PairwiseROCAUC(labels []int, probabilities [][]float64, by Average) (float64, error) {
	if err := checkMulticlass(labels, probabilities, nil); err != nil {
		return 0, err
	}
	if by != "" && by != AverageMacro && by != AverageWeighted {
		return 0, fmt.Errorf("%s of pairs: average %q, must be macro or weighted", MetricROCAUC, by)
	}
	k := len(probabilities)
	rows := make([][]int, k)
	for i, l := range labels {
		rows[l] = append(rows[l], i)
	}
	var s, n sum
	for a := range k {
		for b := a + 1; b < k; b++ {
			if len(rows[a]) == 0 || len(rows[b]) == 0 {
				continue
			}
			var both float64
			for _, positive := range []int{a, b} {
				r := NewRanking()
				for _, class := range []int{a, b} {
					for _, i := range rows[class] {
						r.pending = append(r.pending, scored{probabilities[positive][i], 1, class == positive})
					}
				}
				v, err := r.ROCAUC()
				if err != nil {
					return 0, err
				}
				both += v / 2
			}
			w := 1.0
			if by == AverageWeighted {
				w = float64(len(rows[a]) + len(rows[b]))
			}
			s.addProduct(w, both)
			n.add(w)
		}
	}
	if n.value() == 0 {
		if len(labels) == 0 {
			return 0, fmt.Errorf("%s: %w", MetricROCAUC, ErrNoRows)
		}
		return 0, undefined(MetricROCAUC, "all rows are of one class")
	}
	return finite(MetricROCAUC, s.value()/n.value())
}
