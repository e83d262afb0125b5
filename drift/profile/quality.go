package profile

import "time"

// Confusion counts labelled rows by what was predicted and what was true.
type Confusion struct {
	TruePositive, FalsePositive, FalseNegative, TrueNegative int64
}

// Positives counts the positive labels.
func (c Confusion) Positives() int64 { return c.TruePositive + c.FalseNegative }

// Negatives counts the negative labels.
func (c Confusion) Negatives() int64 { return c.FalsePositive + c.TrueNegative }

// Labels counts all labelled rows.
func (c Confusion) Labels() int64 { return c.Positives() + c.Negatives() }

// Quality is what labels say about a window: of a binary target Confusion, Ranking and Losses,
// of a multiclass one Classes, Rankings and Losses, of regression Numbers and MedianError.
type Quality struct {
	Confusion
	// TwiceU is twice the Mann–Whitney U of the scores of positive rows, a whole number:
	// each pair of a positive and a negative row counts 2 when the positive one scores
	// higher and 1 when both score the same.
	TwiceU uint64
	// Precisions sums, over the positive rows, the precision of predicting as positive what
	// scores at least as high: average precision times the positive rows.
	Precisions float64

	Classes  Classes
	Rankings []Ranking // each class of Target.Probabilities against the rest, in the order of Target.Classes
	Losses   Losses    // no rows where a prediction is no probability, or a label has none

	Numbers     Numbers
	MedianError float64 // of |prediction - label|, between two values their mean
}

// Labels counts all labelled rows.
func (q Quality) Labels() int64 { return q.Confusion.Labels() + q.Classes.Rows + q.Numbers.Rows }

// MaxClasses bounds the classes of a window that are counted each for itself.
const MaxClasses = 1000

// Classes counts the labelled rows of a multiclass target.
type Classes struct {
	Rows     int64
	Right    int64
	Distinct int64   // classes among labels and predictions
	Tallies  []Tally // the MaxClasses classes with most rows; all of them where Distinct is no more
}

// Whole tells whether all classes are in Tallies.
func (c Classes) Whole() bool { return int64(len(c.Tallies)) == c.Distinct }

// Tally counts the rows of one class; right are those that are labelled and predicted so.
type Tally struct {
	Class                      string
	Right, Predicted, Labelled int64
}

// Ranking says how well scores order the rows of one class above all others.
type Ranking struct {
	Positives, Negatives int64
	TwiceU               uint64 // see Quality.TwiceU
}

// Losses are sums over labelled rows: see quality.ProbabilitySums.
type Losses struct {
	Rows                int64
	LogLoss, Brier      float64
	Predicted, Observed []float64 // by bin of calibration
}

// Numbers are sums over the labelled rows of regression: see quality.RegressionSums.
type Numbers struct {
	Rows                    int64
	Under, Over             float64
	Squares                 float64
	Percentage              float64
	Symmetric               float64
	Target, TargetSquares   float64
	LeastTarget, MostTarget float64
}

// LabelDelays is how long after the event time of rows their first usable label became known,
// over the rows of a window that have one. A label that is told to be older than its row has a
// delay below 0.
type LabelDelays struct {
	Labels                    uint64
	Median, P90, P99, Longest time.Duration
}

// Latency is how long the requests of a window took, in microseconds.
type Latency struct {
	Requests  uint64
	P99       float64
	Low, High float64 // the interval of 95 % of P99
	Known     bool    // there is an interval
}
