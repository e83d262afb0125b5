package history

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace/schemas"
)

// WriteFound writes what jobs found in windows beside scores and figures: one insert for each table.
func (s *Store) WriteFound(ctx context.Context, f schemas.Found) error {
	if len(f.Segments) > 0 {
		if err := s.conn.InsertRows(ctx, "accuracy_segments", f.Segments); err != nil {
			return fmt.Errorf("write %d figures of segments: %w", len(f.Segments), err)
		}
	}
	if len(f.Requirements) > 0 {
		if err := s.conn.InsertRows(ctx, "requirement_results", f.Requirements); err != nil {
			return fmt.Errorf("write %d results of requirements: %w", len(f.Requirements), err)
		}
	}
	if len(f.Delays) > 0 {
		if err := s.conn.InsertRows(ctx, "label_delays", f.Delays); err != nil {
			return fmt.Errorf("write the delay of labels in %d windows: %w", len(f.Delays), err)
		}
	}
	return nil
}

// Found reads the latest revisions of what WriteFound wrote of the windows of a version from first to
// last, both starts: of segments only those that differ from the whole.
func (s *Store) Found(ctx context.Context, m *schemas.Manifest, first, last time.Time) (schemas.Found, error) {
	var out schemas.Found
	where := fmt.Sprintf("%s AND window_start BETWEEN %s AND %s", ofWindows(m), instant(first), instant(last))
	latest := func(columns, table, by string) string {
		return fmt.Sprintf("SELECT %s FROM %s.%s FINAL WHERE %s ORDER BY window_start, %srevision DESC LIMIT 1 BY window_start%s",
			columns, s.database, table, where, by, commaBefore(by))
	}
	// Of a revision that has fewer segments, those of the revision before are left out.
	if err := s.conn.Select(ctx, &out.Segments, fmt.Sprintf(
		"SELECT %s FROM (SELECT *, max(revision) OVER (PARTITION BY window_start) AS last_revision FROM %s.accuracy_segments FINAL WHERE %s) WHERE revision = last_revision AND differs ORDER BY window_start, segment, segment_value, other, metric",
		columns[schemas.SegmentResult](), s.database, where)); err != nil {
		return out, fmt.Errorf("read the figures of segments: %w", err)
	}
	if err := s.conn.Select(ctx, &out.Requirements, latest(columns[schemas.RequirementResult](), "requirement_results", "requirement, ")); err != nil {
		return out, fmt.Errorf("read the results of requirements: %w", err)
	}
	if err := s.conn.Select(ctx, &out.Delays, latest(columns[schemas.LabelDelayResult](), "label_delays", "")); err != nil {
		return out, fmt.Errorf("read the delay of labels: %w", err)
	}
	return out, nil
}

func commaBefore(by string) string {
	if by == "" {
		return ""
	}
	return ", " + by[:len(by)-2]
}

// LearnedEstimator reads the estimator of the reference that a version has learned up to a time; false
// where there is none yet. Of several the first one counts.
func (s *Store) LearnedEstimator(ctx context.Context, m *schemas.Manifest, learnedTo time.Time) (schemas.LearnedEstimator, bool, error) {
	var rows []schemas.LearnedEstimator
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT %s FROM %s.learned_estimators WHERE %s AND learned_to = %s ORDER BY made_at, estimator LIMIT 1",
		columns[schemas.LearnedEstimator](), s.database, of(m), instant(learnedTo))); err != nil {
		return schemas.LearnedEstimator{}, false, fmt.Errorf("read the learned estimator: %w", err)
	}
	if len(rows) == 0 {
		return schemas.LearnedEstimator{}, false, nil
	}
	return rows[0], true, nil
}

// WriteEstimator writes an estimator that was learned, as one insert.
func (s *Store) WriteEstimator(ctx context.Context, e schemas.LearnedEstimator) error {
	if err := s.conn.InsertRows(ctx, "learned_estimators", []schemas.LearnedEstimator{e}); err != nil {
		return fmt.Errorf("write the learned estimator: %w", err)
	}
	return nil
}
