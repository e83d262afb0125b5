package drift

import (
	"context"
	"time"

	"gonum.org/v1/gonum/mathext"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/quality"
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
		counts, err := p.store.CountSegmentQuality(ctx, p.Manifest, feature, starts)
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

// share is a figure of a segment as right rows of all that count. Of F1 these are the true positives
// of the rows that are positive or said to be: the share s makes it 2s/(1+s).
type share struct {
	right, rows float64
	figure      func(s float64) float64
}

func shareOf(c profile.Confusion, figure schemas.Stattest) share {
	right, same := float64(c.TruePositive), func(s float64) float64 { return s }
	switch figure {
	case schemas.StattestPrecision:
		return share{right, float64(c.TruePositive + c.FalsePositive), same}
	case schemas.StattestRecall:
		return share{right, float64(c.Positives()), same}
	case schemas.StattestF1:
		return share{right, float64(c.TruePositive + c.FalsePositive + c.FalseNegative), func(s float64) float64 { return 2 * s / (1 + s) }}
	default:
		return share{right + float64(c.TrueNegative), float64(c.Labels()), same}
	}
}

// exact is the interval of Clopper and Pearson (1934), which holds however few the rows are, and
// where all of them, or none, are right: a segment that is always wrong must not go unseen.
func (s share) exact(level float64) quality.Interval {
	tail, out := (1-level)/2, quality.Interval{High: 1}
	if s.right > 0 {
		out.Low = s.figure(mathext.InvRegIncBeta(s.right, s.rows-s.right+1, tail))
	}
	if s.right < s.rows {
		out.High = s.figure(mathext.InvRegIncBeta(s.right+1, s.rows-s.right, 1-tail))
	}
	return out
}

// segmentResults are the figures of a window by value of a feature. A figure differs from that of
// the whole where its exact interval excludes it at a level that holds for all of them together
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
				Segment: feature, Of: s.Value, Other: s.Other, Metric: string(figure), Labels: uint64(s.Labels()), ComputedAt: p.now, WindowKind: p.Manifest.WindowKind(),
			}
			all, known := qualityFigure(p.Manifest.Target, whole, figure)
			if known {
				row.Whole = &all
			}
			if value, ok := qualityFigure(p.Manifest.Target, of[i], figure); ok {
				row.Value = &value
				rows := shareOf(s.Confusion, figure)
				interval, err := figureInterval(p.Manifest.Target, of[i], figure, confidence)
				if err != nil { // too few rows, or too few of one kind
					interval = rows.exact(confidence)
				}
				row.Low, row.High = &interval.Low, &interval.High
				wide := rows.exact(1 - (1-confidence)/float64(tested))
				row.Differs = known && len(segments) > 1 && (all < wide.Low || all > wide.High)
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
			Median: d.Median.Seconds(), P90: d.P90.Seconds(), P99: d.P99.Seconds(), Longest: d.Longest.Seconds(), ComputedAt: p.now, WindowKind: p.Manifest.WindowKind(),
		}
	}
	return nil
}
