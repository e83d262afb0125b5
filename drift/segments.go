package drift

import (
	"context"
	"math"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// segmentFigures are those that segments are told apart by: shares of counted rows.
func segmentFigures(t *schemas.Target) []schemas.Stattest {
	switch t.Kind {
	case schemas.TargetBinary:
		return []schemas.Stattest{schemas.StattestAccuracy, schemas.StattestPrecision, schemas.StattestRecall, schemas.StattestF1}
	case schemas.TargetMulticlass:
		return []schemas.Stattest{schemas.StattestAccuracy}
	case schemas.TargetRegression:
	}
	return nil
}

// segments adds to judged windows the figures of their segments.
func (p *pass) segments(ctx context.Context, windows []window, quality []profile.Quality, judged []Judged) error {
	figures := segmentFigures(p.Manifest.Target)
	if len(figures) == 0 {
		return nil
	}
	which, starts := withFigures(windows, judged)
	for _, feature := range p.Manifest.Monitoring.Segments {
		counts, err := p.store.CountSegments(ctx, p.Manifest, feature, starts)
		if err != nil {
			return err
		}
		for n, i := range which {
			judged[i].Segments = append(judged[i].Segments, p.segmentResults(windows[i], feature, figures, quality[i], counts[n])...)
		}
	}
	return nil
}

// withFigures returns the indices and starts of the windows that have figures.
func withFigures(windows []window, judged []Judged) (which []int, starts []time.Time) {
	for i, w := range windows {
		if len(judged[i].Accuracy) > 0 {
			which, starts = append(which, i), append(starts, w.Start)
		}
	}
	return which, starts
}

// segmentResults are the figures of a window by value of a feature. A figure differs from that of
// the whole where its interval excludes it at a level that holds for all of them together
// (Bonferroni): else one of twenty segments would stand out by chance.
func (p *pass) segmentResults(w window, feature string, figures []schemas.Stattest, whole profile.Quality, segments []profile.Segment) []schemas.SegmentResult {
	var out []schemas.SegmentResult
	of := make([]profile.Quality, len(segments))
	tested := 0
	for i, s := range segments {
		of[i] = segmentQuality(p.Manifest.Target, s)
		for _, figure := range figures {
			if _, ok := qualityFigure(p.Manifest.Target, of[i], figure); ok {
				tested++
			}
		}
	}
	for i, s := range segments {
		for _, figure := range figures {
			row := schemas.SegmentResult{
				Model: p.Manifest.Name, Version: p.Manifest.Version, WindowStart: w.Start, WindowEnd: w.Start.Add(p.length()), Revision: w.revision,
				Segment: feature, Of: s.Value, Other: s.Other, Metric: string(figure), Labels: uint64(s.Labels()), ComputedAt: p.now,
			}
			all, known := qualityFigure(p.Manifest.Target, whole, figure)
			if known {
				row.Whole = &all
			}
			if value, ok := qualityFigure(p.Manifest.Target, of[i], figure); ok {
				row.Value = &value
				interval, err := figureInterval(p.Manifest.Target, of[i], figure, confidence)
				if err != nil {
					row.NoInterval = err.Error()
				} else {
					row.Low, row.High = &interval.Low, &interval.High
				}
				wide, err := figureInterval(p.Manifest.Target, of[i], figure, 1-(1-confidence)/math.Max(1, float64(tested)))
				row.Differs = err == nil && known && len(segments) > 1 && (all < wide.Low || all > wide.High)
			}
			out = append(out, row)
		}
	}
	return out
}

// segmentQuality are the counts of a segment as those of a window.
func segmentQuality(t *schemas.Target, s profile.Segment) profile.Quality {
	if t.Kind == schemas.TargetMulticlass {
		return profile.Quality{Classes: profile.Classes{Rows: s.Labels(), Right: s.TruePositive}}
	}
	return profile.Quality{Confusion: s.Confusion}
}

// labelDelays adds to judged windows how long their labels took.
func (p *pass) labelDelays(ctx context.Context, windows []window, judged []Judged) error {
	which, starts := withFigures(windows, judged)
	delays, err := p.store.LabelDelays(ctx, p.Manifest, starts)
	if err != nil {
		return err
	}
	for n, i := range which {
		d := delays[n]
		judged[i].Delays = &schemas.LabelDelayResult{
			Model: p.Manifest.Name, Version: p.Manifest.Version, WindowStart: windows[i].Start, WindowEnd: windows[i].Start.Add(p.length()),
			Revision: windows[i].revision, Rows: windows[i].Rows, Labels: d.Labels,
			Median: d.Median.Seconds(), P90: d.P90.Seconds(), P99: d.P99.Seconds(), Longest: d.Longest.Seconds(), ComputedAt: p.now,
		}
	}
	return nil
}
