package estimate

import (
	"errors"
	"fmt"
)

// PAPEOptions are the parameters of PAPE. The zero value is the default.
type PAPEOptions struct {
	Ratios RatioOptions
	// Intervals has estimates get intervals of 95 %, which take 199 calibrations a chunk. Binary only.
	Intervals bool
}

// BinaryPAPE estimates the quality of a binary classifier as BinaryCBPE does, with scores that
// are calibrated for each chunk anew, on the reference weighted to look like the chunk
// (probabilistic adaptive performance estimation; Białek, Kivimäki, Kuberski and Perrakis 2024,
// arXiv 2401.08348). It follows a change of the features even where rows of one score are then
// no longer right as often; like CBPE it cannot see that the same features lead to other
// targets.
//
// The weighted calibration is isotonic, and made always. Sampling errors and thresholds are
// those of CBPE.
type BinaryPAPE struct {
	cbpe      *BinaryCBPE
	reference Binary
	features  []Feature
	options   PAPEOptions
}

// FitBinaryPAPE learns sampling errors and thresholds from a reference whose targets are all
// known, as FitBinaryCBPE does, and keeps a copy of it. features are those of the reference.
func FitBinaryPAPE(reference Binary, features []Feature, chunks []Chunk, o PAPEOptions) (*BinaryPAPE, error) {
	cbpe, err := FitBinaryCBPE(reference, chunks)
	if err == nil {
		_, _, err = stack(features, features)
	}
	if err == nil && len(features[0].Values) != len(reference.Scores) {
		err = fmt.Errorf("features of %d rows and %d scores", len(features[0].Values), len(reference.Scores))
	}
	if err == nil && o.Intervals && len(reference.Scores) < minReference {
		err = fmt.Errorf("%w: a reference of %d rows, at least %d are needed", ErrTooFew, len(reference.Scores), minReference)
	}
	if err != nil {
		return nil, fmt.Errorf("fit binary pape: %w", err)
	}
	return &BinaryPAPE{cbpe: cbpe, reference: reference.clone(), features: cloneFeatures(features), options: o}, nil
}

// Estimate estimates each chunk of data, whose features are given. Of a chunk that is too far
// from the reference there is no value: ChunkEstimates.NoValue is ErrApart and says why.
func (p *BinaryPAPE) Estimate(data Binary, features []Feature, chunks []Chunk) ([]ChunkEstimates, error) {
	if err := data.check(); err != nil {
		return nil, fmt.Errorf("binary pape: %w", err)
	}
	if data.Predicted == nil && p.reference.Predicted != nil {
		return nil, errors.New("binary pape: the reference has predictions and the data has none")
	}
	if err := checkChunks(chunks, len(data.Scores)); err != nil {
		return nil, fmt.Errorf("binary pape: %w", err)
	}
	out := make([]ChunkEstimates, len(chunks))
	for i, chunk := range chunks {
		ratios, err := ratiosOf(p.features, features, len(data.Scores), chunk, p.options.Ratios)
		if err != nil {
			return nil, fmt.Errorf("binary pape: rows %d to %d: %w", chunk.Start, chunk.End, err)
		}
		if out[i], err = p.estimate(data.slice(chunk), chunk, ratios); err != nil {
			return nil, fmt.Errorf("binary pape: rows %d to %d: %w", chunk.Start, chunk.End, err)
		}
	}
	return out, nil
}

func (p *BinaryPAPE) estimate(part Binary, chunk Chunk, ratios *Ratios) (ChunkEstimates, error) {
	c := *p.cbpe // each chunk has a calibration of its own
	if why := ratios.apart(); why != nil {
		out := c.estimates(part, chunk, make([]*float64, len(c.metrics)), noIntervals(c.metrics, why))
		out.Ratios, out.NoValue = ratios, why
		return out, nil
	}
	weights := weightsOf(ratios)
	var calibration *Isotonic
	var err error
	intervals := noIntervals(c.metrics, fmt.Errorf("%w: they were not asked for", ErrNoInterval))
	if p.options.Intervals {
		if c.refitted, err = refit(p.reference.Scores, p.reference.Targets, weights, ratios.Effective); err != nil {
			return ChunkEstimates{}, err
		}
		calibration = c.refitted.whole
		intervals.of, intervals.missing = c.intervals(part)
	} else if calibration, err = fitWeighted(p.reference.Scores, p.reference.Targets, 1, weights); err != nil {
		return ChunkEstimates{}, err
	}
	probabilities := make([]float64, len(part.Scores))
	for i, s := range part.Scores {
		probabilities[i] = calibration.At(s)
	}
	out := c.estimates(part, chunk, c.expected(probabilities, part), intervals)
	out.Ratios = ratios
	return out, nil
}

// MulticlassPAPE estimates the quality of a classifier of at least 3 classes as MulticlassCBPE
// does, with the calibration of each class against the rest made for each chunk anew, as in
// BinaryPAPE. It has no intervals.
type MulticlassPAPE struct {
	cbpe      *MulticlassCBPE
	reference Multiclass
	features  []Feature
	options   PAPEOptions
}

// FitMulticlassPAPE learns sampling errors and thresholds from a reference whose targets are all
// known and have every class, and keeps a copy of it. features are those of the reference.
func FitMulticlassPAPE(reference Multiclass, features []Feature, chunks []Chunk, o PAPEOptions) (*MulticlassPAPE, error) {
	cbpe, err := FitMulticlassCBPE(reference, chunks)
	if err == nil {
		_, _, err = stack(features, features)
	}
	if err == nil && len(features[0].Values) != reference.rows() {
		err = fmt.Errorf("features of %d rows and %d scores", len(features[0].Values), reference.rows())
	}
	if err == nil && o.Intervals {
		err = fmt.Errorf("%w: how far the calibrations of several classes err together is not measured", ErrNoInterval)
	}
	if err != nil {
		return nil, fmt.Errorf("fit multiclass pape: %w", err)
	}
	return &MulticlassPAPE{cbpe: cbpe, reference: reference.clone(), features: cloneFeatures(features), options: o}, nil
}

// Estimate estimates each chunk of data, whose features are given. Of a chunk that is too far
// from the reference there is no value: ChunkEstimates.NoValue is ErrApart and says why.
func (p *MulticlassPAPE) Estimate(data Multiclass, features []Feature, chunks []Chunk) ([]ChunkEstimates, error) {
	if err := data.check(); err != nil {
		return nil, fmt.Errorf("multiclass pape: %w", err)
	}
	if len(data.Scores) != len(p.reference.Scores) {
		return nil, fmt.Errorf("multiclass pape: scores of %d classes, the reference has %d", len(data.Scores), len(p.reference.Scores))
	}
	if err := checkChunks(chunks, data.rows()); err != nil {
		return nil, fmt.Errorf("multiclass pape: %w", err)
	}
	out := make([]ChunkEstimates, len(chunks))
	for i, chunk := range chunks {
		ratios, err := ratiosOf(p.features, features, data.rows(), chunk, p.options.Ratios)
		if err != nil {
			return nil, fmt.Errorf("multiclass pape: rows %d to %d: %w", chunk.Start, chunk.End, err)
		}
		part := data.slice(chunk)
		values, why := make([]*float64, len(MulticlassMetrics)), ratios.apart()
		if why == nil {
			c := &MulticlassCBPE{Calibrations: make([]*Calibration, len(p.reference.Scores))}
			for class, scores := range p.reference.Scores {
				f, err := fitWeighted(scores, p.reference.Targets, class, weightsOf(ratios))
				if err != nil {
					return nil, fmt.Errorf("multiclass pape: class %d against the rest: %w", class, err)
				}
				c.Calibrations[class] = &Calibration{Needed: true, Isotonic: f}
			}
			values = expectedMulticlass(c.probabilities(part.Scores), part)
		}
		out[i] = p.cbpe.estimates(part, chunk, values)
		out[i].Ratios, out[i].NoValue = ratios, why
	}
	return out, nil
}

// ratiosOf returns the density ratios of the reference for a chunk of rows.
func ratiosOf(reference, features []Feature, rows int, chunk Chunk, o RatioOptions) (*Ratios, error) {
	current := make([]Feature, len(features))
	for k, f := range features {
		if len(f.Values) != rows {
			return nil, fmt.Errorf("feature %q has %d rows of %d", f.Name, len(f.Values), rows)
		}
		current[k] = Feature{Name: f.Name, Categorical: f.Categorical, Values: f.Values[chunk.Start:chunk.End]}
	}
	return NewRatios(reference, current, o)
}

// weightsOf returns the ratios as weights that add up to the number of rows, so that neither
// sums nor what is added to them depend on how much of the chunk is covered.
func weightsOf(r *Ratios) []float64 {
	out := make([]float64, len(r.Weights))
	for i, w := range r.Weights {
		out[i] = w / r.Covered
	}
	return out
}

// fitWeighted calibrates scores to the targets that are class, by weighted isotonic regression.
func fitWeighted(scores []float64, targets []int, class int, weights []float64) (*Isotonic, error) {
	y := make([]float64, len(targets))
	for i, t := range targets {
		if t == class {
			y[i] = 1
		}
	}
	return fitOrdered(scores, y, weights, ascending(scores), nil)
}
