package profile

// ScoreCounts are rows of a binary target counted by prediction, 0 or 1, and by cell of their score:
// cell k holds scores from edge k-1 up to, not including, edge k, and there is one more than edges.
type ScoreCounts struct {
	Rows    [2][]int64
	Above   [2][]float64 // sums of the score less the lower edge of its cell; of the first cell less 0
	Outside int64        // rows whose score is no probability
}

// MaxSegments bounds the values of a feature that quality is told apart by in a window.
const MaxSegments = 50

// Segment counts the labelled rows of one value of a feature, or of all but the most frequent ones.
// Of a multiclass target true and false positives are rows whose class is right and wrong.
type Segment struct {
	Value string
	Other bool
	Confusion
}
