package profile

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

// Quality is what labels say about a window.
type Quality struct {
	Confusion
	// TwiceU is twice the Mann–Whitney U of the scores of positive rows, a whole number:
	// each pair of a positive and a negative row counts 2 when the positive one scores
	// higher and 1 when both score the same.
	TwiceU uint64
}
