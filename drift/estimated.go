package drift

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/estimate"
	"github.com/millrace/millrace/drift/estimator"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// binaryTarget tells whether the version has a target whose figures can be estimated.
func (v Version) binaryTarget() bool {
	return v.Manifest.Target != nil && v.Manifest.Target.Kind == schemas.TargetBinary
}

// estimates tells whether quality of the version's windows is estimated.
func (v Version) estimates() bool {
	return v.binaryTarget() && v.Reference != nil && v.Reference.Estimator != nil
}

// estimating is an estimator that the monitor has made of a reference.
type estimating struct {
	of   *schemas.Estimator
	cbpe *estimate.BinaryCBPE
}

// cbpe returns the estimator of the version; nil where it has none.
func (p *pass) cbpe() (*estimate.BinaryCBPE, error) {
	if !p.estimates() {
		return nil, nil //nolint:nilnil // quality is not estimated
	}
	made := &p.state.estimating
	if made.of != p.Reference.Estimator {
		c, err := estimator.Of(p.Reference.Estimator)
		if err != nil {
			return nil, fmt.Errorf("estimator of the reference: %w", err)
		}
		*made = estimating{p.Reference.Estimator, c}
	}
	return made.cbpe, nil
}

// judgeEstimates estimates the quality of windows that have closed, from the scores of all their
// rows. It asks for no label.
func (p *pass) judgeEstimates(ctx context.Context, windows []window) ([]Judged, error) {
	cbpe, err := p.cbpe()
	if err != nil {
		return nil, err
	}
	counts, err := p.store.CountScores(ctx, p.Manifest, cbpe.Cells(), startsOf(windows), false)
	if err != nil {
		return nil, err
	}
	judged := make([]Judged, len(windows))
	learning := p.learning(windows)
	for i, w := range windows {
		j := &judged[i]
		j.FinishedWindow = p.finishedWindow(schemas.JobEstimate, w)
		least := p.Manifest.Monitoring.MinRows
		switch {
		case int64(w.Rows) < least || scoredRows(counts[i]) < least:
			j.Verdict = string(schemas.VerdictTooFew)
			continue
		case i < learning:
			j.Verdict = string(schemas.VerdictLearning)
			continue
		}
		estimates, err := estimatesOf(cbpe, counts[i])
		if err != nil {
			return nil, fmt.Errorf("window %s: %w", w.Start.Format(time.RFC3339), err)
		}
		if estimates.noValue != "" {
			j.Verdict = string(schemas.VerdictNotJudged)
		}
		for k, figure := range schemas.EstimatedFigures {
			row := p.accuracyRow(w, figure.Estimated())
			row.NoInterval = estimates.noValue
			if estimates.noValue == "" {
				e := estimates.of[k]
				row.Value, row.SamplingError = e.Value, e.SamplingError
				setInterval(&row, e.Interval, e.NoInterval)
				if figure == schemas.StattestAUC {
					row.Within = &estimates.within
				}
			}
			p.judgeFigure(&row)
			j.Accuracy = append(j.Accuracy, row)
		}
	}
	return judged, nil
}

// windowEstimates are those of a window, or why there is none.
type windowEstimates struct {
	of      []estimate.Estimate
	within  float64
	noValue string
}

func estimatesOf(cbpe *estimate.BinaryCBPE, c profile.ScoreCounts) (windowEstimates, error) {
	if c.Outside > 0 {
		return windowEstimates{noValue: fmt.Sprintf("the scores of %d rows are no probabilities", c.Outside)}, nil
	}
	found, err := cbpe.EstimateCounts(&estimate.ScoreCounts{Rows: c.Rows, Above: c.Above})
	if errors.Is(err, estimate.ErrEmpty) {
		return windowEstimates{noValue: "no row has a score"}, nil
	}
	if err != nil {
		return windowEstimates{}, err
	}
	return windowEstimates{of: found.Estimates, within: found.Within}, nil
}

func scoredRows(c profile.ScoreCounts) int64 {
	n := c.Outside
	for _, rows := range c.Rows {
		for _, k := range rows {
			n += k
		}
	}
	return n
}

func setInterval(row *schemas.AccuracyResult, i *estimate.Interval, why error) {
	switch {
	case i != nil:
		row.Low, row.High = &i.Low, &i.High
	case why != nil:
		row.NoInterval = why.Error()
	}
}

// realizedFigure is a figure that is estimated too, by the rows that have a label.
func realizedFigure(q profile.Quality, s schemas.Stattest) (float64, bool) {
	if s == schemas.StattestSpecificity {
		return mean(float64(q.TrueNegative), q.Negatives())
	}
	return binaryFigure(q, s)
}

// lessEstimated adds to judged windows what their labels showed less what is estimated of the rows
// that have them: a part of the rows is compared with itself, however many labels are still to come.
func (p *pass) lessEstimated(ctx context.Context, windows []window, quality []profile.Quality, judged []Judged) error {
	cbpe, err := p.cbpe()
	if cbpe == nil || err != nil {
		return err
	}
	var which []int
	var starts []time.Time
	for i, w := range windows {
		if len(judged[i].Accuracy) > 0 && !w.Start.Before(p.state.learning.to) {
			which, starts = append(which, i), append(starts, w.Start)
		}
	}
	counts, err := p.store.CountScores(ctx, p.Manifest, cbpe.Cells(), starts, true)
	if err != nil {
		return err
	}
	for n, i := range which {
		estimates, err := estimatesOf(cbpe, counts[n])
		if err != nil {
			return fmt.Errorf("window %s, rows with a label: %w", windows[i].Start.Format(time.RFC3339), err)
		}
		for k, figure := range schemas.EstimatedFigures {
			row := p.accuracyRow(windows[i], figure.LessEstimated())
			row.Labels = uint64(quality[i].Labels())
			if value, ok := realizedFigure(quality[i], figure); ok {
				row.Realized = &value
			}
			row.NoInterval = estimates.noValue
			if estimates.noValue == "" {
				e := estimates.of[k]
				row.Estimated = e.Value
				if difference, interval, ok := e.RealizedLess(row.Realized); ok {
					row.Value = &difference
					setInterval(&row, interval, e.NoInterval)
				}
			}
			p.judgeFigure(&row)
			if row.Low != nil && *row.Low <= 0 && *row.High >= 0 {
				row.Breached = false // chance alone makes such a difference
			}
			judged[i].Accuracy = append(judged[i].Accuracy, row)
		}
	}
	return nil
}

// learnEstimator reads the estimator of a learned reference, or makes it of the labels of the windows
// that the reference was made of, once these are due. It returns nil while there are too few, and is
// asked again when the next window has closed.
//
// Of monitors that make one at the same time all take the one that was kept first.
func (m *Monitor) learnEstimator(ctx context.Context, v Version, state *versionState, watermark time.Time) error {
	l := &state.learning
	man := v.Manifest
	if !v.binaryTarget() || l.reference == nil || l.reference.Estimator != nil {
		return nil
	}
	open := profile.WindowStart(watermark, man.Monitoring.Window.Std())
	if watermark.Add(-man.Monitoring.LabelDelay.Std()).Before(l.to) || !open.After(l.estimatorLooked) {
		return nil
	}
	if err := l.keepEstimator(ctx, m.store, man); err != nil || l.reference.Estimator != nil {
		return err
	}
	if man.WindowKind() != "" { // it is made of the first windows, as the reference is
		l.estimatorLooked = open
		return nil
	}
	kept, ok, err := m.store.LearnedReference(ctx, man)
	if err != nil || !ok {
		return err
	}
	scores, positive, total, err := m.store.LabelledScores(ctx, man, kept.Windows, maxLearnedScores)
	if err != nil {
		return err
	}
	log := m.log.Info().Str("model", man.Name).Str("version", man.Version).Uint64("labels", total)
	if total < max(uint64(man.Monitoring.MinRows), estimator.Enough) {
		log.Int("wanted", estimator.Enough).Msg("the windows that the reference was learned from have too few labels yet: quality is not estimated")
		l.estimatorLooked = open
		return nil
	}
	made, err := estimator.Fit(scores, positive, man.Target.Threshold)
	if err != nil {
		// Which depends on the labels, and more of them may come.
		m.log.Warn().Err(err).Str("model", man.Name).Str("version", man.Version).Msg("quality is not estimated: the labelled rows make no estimator")
		l.estimatorLooked = open
		return nil
	}
	text, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("encode the learned estimator: %w", err)
	}
	row := schemas.LearnedEstimator{Model: man.Name, Version: man.Version, LearnedTo: l.to, Rows: total, Estimator: string(text)}
	if err := m.store.WriteEstimator(ctx, row); err != nil {
		return err
	}
	if err := l.keepEstimator(ctx, m.store, man); err != nil {
		return err
	}
	if l.reference.Estimator == nil {
		return fmt.Errorf("the learned estimator of %s/%s was written and is not there", man.Name, man.Version)
	}
	log.Msg("quality is estimated from here on; the estimator does not change")
	return nil
}

// maxLearnedScores bounds the rows that an estimator is made of.
const maxLearnedScores = 100_000

// maxEstimatorBytes bounds the text of an estimator: points and rows as Estimator.Check allows.
const maxEstimatorBytes = 1 << 20

// keepEstimator reads the estimator that is kept, if there is one, into a copy of the reference.
func (l *learning) keepEstimator(ctx context.Context, store LearnedEstimators, m *schemas.Manifest) error {
	row, ok, err := store.LearnedEstimator(ctx, m, l.to)
	if err != nil || !ok {
		return err
	}
	var e schemas.Estimator
	var faults []error
	if len(row.Estimator) > maxEstimatorBytes {
		return fmt.Errorf("learned estimator of %s/%s: more than %d bytes", m.Name, m.Version, maxEstimatorBytes)
	}
	dec := json.NewDecoder(strings.NewReader(row.Estimator))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return fmt.Errorf("learned estimator of %s/%s: %w", m.Name, m.Version, err)
	}
	e.Check(func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) })
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("learned estimator of %s/%s: %w", m.Name, m.Version, err)
	}
	ref := *l.reference
	ref.Estimator = &e
	l.reference = &ref
	return nil
}
