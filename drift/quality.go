package drift

import (
	"github.com/millrace/millrace/drift/quality"
	"github.com/millrace/millrace/schemas"
)

// Confusion counts labelled rows by what was predicted and what was true.
type Confusion struct {
	TruePositive, FalsePositive, FalseNegative, TrueNegative int64
}

// Positives and Negatives count the labels.
func (c Confusion) Positives() int64 { return c.TruePositive + c.FalseNegative }

// Negatives counts the negative labels.
func (c Confusion) Negatives() int64 { return c.FalsePositive + c.TrueNegative }

// Labels counts all labelled rows.
func (c Confusion) Labels() int64 { return c.Positives() + c.Negatives() }

func (c Confusion) matrix() *quality.Confusion {
	return quality.BinaryConfusion(c.TruePositive, c.FalsePositive, c.FalseNegative, c.TrueNegative)
}

// binary scores the positive class; without rows to judge there is no figure rather than 0.
var binary = quality.Options{Average: quality.AverageBinary, ZeroDivision: quality.ZeroDivisionUndefined}

// Accuracy is the share of right predictions; false when there is no label.
func (c Confusion) Accuracy() (float64, bool) { return known(c.matrix().Accuracy()) }

// Precision is the share of true among positive predictions; false when there is none.
func (c Confusion) Precision() (float64, bool) { return known(c.matrix().Precision(binary)) }

// Recall is the share of positive labels that were predicted; false when there is none.
func (c Confusion) Recall() (float64, bool) { return known(c.matrix().Recall(binary)) }

// known turns the error of a figure without a value into false.
func known(v float64, err error) (float64, bool) { return v, err == nil }

// ROCAUC is the area under the ROC curve from labels counted by score: positives[i] and
// negatives[i] have the i-th score, scores ascending; see quality.Ranking. False when a
// class is empty or the lengths differ.
//
// Over exact scores it is exact. Where scores were binned, bound is the greatest possible
// error, Σ p·n / (2·P·N): the pairs that share a bin could all have been ordered one way.
func ROCAUC(positives, negatives []int64) (auc, bound float64, ok bool) {
	ranks := make([]float64, len(positives))
	for i := range ranks {
		ranks[i] = float64(i)
	}
	r, err := quality.RankingOf(ranks, floats(positives), floats(negatives))
	if err != nil {
		return 0, 0, false
	}
	if auc, err = r.ROCAUC(); err != nil {
		return 0, 0, false
	}
	bound, err = r.TieBound()
	return auc, bound, err == nil
}

func floats(counts []int64) []float64 {
	out := make([]float64, len(counts))
	for i, n := range counts {
		out[i] = float64(n)
	}
	return out
}

// Quality is what labels say about a window.
type Quality struct {
	Confusion
	// TwiceU is twice the Mann–Whitney U of the scores of positive rows, a whole number:
	// each pair of a positive and a negative row counts 2 when the positive one scores
	// higher and 1 when both score the same.
	TwiceU uint64
}

// ROCAUC is TwiceU / (2·P·N), exact; false when a class is empty.
func (q Quality) ROCAUC() (float64, bool) {
	p, n := q.Positives(), q.Negatives()
	if p <= 0 || n <= 0 {
		return 0, false
	}
	return float64(q.TwiceU) / 2 / (float64(p) * float64(n)), true
}

// figure returns a quality figure by name; false when it is not defined.
func (q Quality) figure(s schemas.Stattest) (float64, bool) {
	switch s {
	case schemas.StattestAccuracy:
		return q.Accuracy()
	case schemas.StattestPrecision:
		return q.Precision()
	case schemas.StattestRecall:
		return q.Recall()
	case schemas.StattestAUC:
		return q.ROCAUC()
	default:
		return 0, false
	}
}

// qualityFigures are computed for every labelled window, in this order.
func qualityFigures() []schemas.Stattest {
	return []schemas.Stattest{
		schemas.StattestAccuracy, schemas.StattestPrecision, schemas.StattestRecall, schemas.StattestAUC,
	}
}
