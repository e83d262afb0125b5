package history

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// LastFinished reads the start of the last window that each job of a version has finished.
func (s *Store) LastFinished(ctx context.Context, m *schemas.Manifest) (map[schemas.Job]time.Time, error) {
	var rows []struct {
		Job  string    `ch:"job"`
		Last time.Time `ch:"last"`
	}
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf(
		"SELECT job, max(window_start) AS last FROM %s.windows WHERE %s GROUP BY job", s.database, ofWindows(m))); err != nil {
		return nil, fmt.Errorf("read the finished windows: %w", err)
	}
	last := map[schemas.Job]time.Time{}
	for _, r := range rows {
		last[schemas.Job(r.Job)] = r.Last.UTC()
	}
	return last, nil
}

// columns lists those of a row, for a SELECT.
func columns[T any]() string { return strings.Join(schemas.RowColumns(reflect.TypeFor[T]()), ", ") }

// since selects the results of a version in the windows from a start on; zero selects all.
func since(m *schemas.Manifest, from time.Time) string {
	if from.IsZero() {
		return ofWindows(m)
	}
	return ofWindows(m) + " AND window_start >= " + instant(from)
}

// FinishedWindows reads the finished windows of a version from a start on, by revision; the
// zero time is the beginning.
func (s *Store) FinishedWindows(ctx context.Context, m *schemas.Manifest, from time.Time) ([]schemas.FinishedWindow, error) {
	var rows []schemas.FinishedWindow
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf(
		"SELECT %s FROM %s.windows FINAL WHERE %s ORDER BY revision", columns[schemas.FinishedWindow](), s.database, since(m, from))); err != nil {
		return nil, fmt.Errorf("read the finished windows: %w", err)
	}
	return rows, nil
}

// LastRetraining reads the latest window of a version, of any kind, that asked for retraining; nil
// where none has.
func (s *Store) LastRetraining(ctx context.Context, m *schemas.Manifest) (*schemas.FinishedWindow, error) {
	var rows []schemas.FinishedWindow
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT %s FROM %s.windows FINAL WHERE %s AND retraining ORDER BY window_end DESC, done_at LIMIT 1",
		columns[schemas.FinishedWindow](), s.database, of(m))); err != nil {
		return nil, fmt.Errorf("read which window asked for retraining last: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil //nolint:nilnil // nobody has asked
	}
	return &rows[0], nil
}

// Retrainings reads the windows of a version, of any kind, that have asked for retraining, by revision.
func (s *Store) Retrainings(ctx context.Context, m *schemas.Manifest) ([]schemas.FinishedWindow, error) {
	var rows []schemas.FinishedWindow
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT %s FROM %s.windows FINAL WHERE %s AND retraining ORDER BY revision",
		columns[schemas.FinishedWindow](), s.database, of(m))); err != nil {
		return nil, fmt.Errorf("read which windows asked for retraining: %w", err)
	}
	return rows, nil
}

// WriteResults writes the results of windows: one insert each of scores and of figures,
// where there are any.
func (s *Store) WriteResults(ctx context.Context, scores []schemas.DriftResult, figures []schemas.AccuracyResult) error {
	if len(scores) > 0 {
		if err := s.conn.InsertRows(ctx, "drift_results", scores); err != nil {
			return fmt.Errorf("write %d drift results: %w", len(scores), err)
		}
	}
	if len(figures) > 0 {
		if err := s.conn.InsertRows(ctx, "accuracy_results", figures); err != nil {
			return fmt.Errorf("write %d accuracy results: %w", len(figures), err)
		}
	}
	return nil
}

// WriteWindows writes windows as finished, as one insert.
func (s *Store) WriteWindows(ctx context.Context, windows []schemas.FinishedWindow) error {
	return s.conn.InsertRows(ctx, "windows", windows)
}

// LearnedReference reads the reference that a version has learned; false where there is none. Of
// several, which monitors that ran at the same time have written, the first one counts.
func (s *Store) LearnedReference(ctx context.Context, m *schemas.Manifest) (schemas.LearnedReference, bool, error) {
	var rows []schemas.LearnedReference
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT %s FROM %s.learned_references WHERE %s ORDER BY made_at, reference LIMIT 1",
		columns[schemas.LearnedReference](), s.database, of(m))); err != nil {
		return schemas.LearnedReference{}, false, fmt.Errorf("read the learned reference: %w", err)
	}
	if len(rows) == 0 {
		return schemas.LearnedReference{}, false, nil
	}
	return rows[0], true, nil
}

// WriteReference writes a reference that was learned, as one insert.
func (s *Store) WriteReference(ctx context.Context, r schemas.LearnedReference) error {
	if err := s.conn.InsertRows(ctx, "learned_references", []schemas.LearnedReference{r}); err != nil {
		return fmt.Errorf("write the learned reference: %w", err)
	}
	return nil
}

// DueReports reads which windows of a version were finished, or revised, since their report
// was written: at most so many, the newest first. Unless before is zero, what was finished from then on
// is not due yet.
func (s *Store) DueReports(ctx context.Context, m *schemas.Manifest, before time.Time, most int) ([]schemas.DueReport, error) {
	var due []schemas.DueReport
	until := ""
	if !before.IsZero() {
		until = " AND done_at < " + instant(before)
	}
	if err := s.conn.Select(ctx, &due, fmt.Sprintf(`SELECT window_start, maxIf(done_at, job != '%[2]s'%[5]s) AS done
FROM %[1]s.windows WHERE %[3]s GROUP BY window_start
HAVING done > maxIf(done_at, job = '%[2]s') ORDER BY window_start DESC LIMIT %[4]d`,
		s.database, schemas.JobReport, ofWindows(m), most, until)); err != nil {
		return nil, fmt.Errorf("read the windows without a report: %w", err)
	}
	return due, nil
}

// Results reads the latest revisions of what was found in the windows of a version from
// first to last, both starts.
func (s *Store) Results(ctx context.Context, m *schemas.Manifest, first, last time.Time) (schemas.Results, error) {
	var out schemas.Results
	where := fmt.Sprintf("%s AND window_start BETWEEN %s AND %s", ofWindows(m), instant(first), instant(last))
	latest := func(columns, table, by string) string {
		return fmt.Sprintf("SELECT %s FROM %s.%s FINAL WHERE %s ORDER BY window_start, %s, revision DESC LIMIT 1 BY window_start, %s", columns, s.database, table, where, by, by)
	}
	if err := s.conn.Select(ctx, &out.Windows, latest(columns[schemas.FinishedWindow](), "windows", "job")); err != nil {
		return out, fmt.Errorf("read the finished windows: %w", err)
	}
	if err := s.conn.Select(ctx, &out.Drift, latest(columns[schemas.DriftResult](), "drift_results", "column, stattest")); err != nil {
		return out, fmt.Errorf("read the drift results: %w", err)
	}
	if err := s.conn.Select(ctx, &out.Accuracy, latest(columns[schemas.AccuracyResult](), "accuracy_results", "metric")); err != nil {
		return out, fmt.Errorf("read the accuracy results: %w", err)
	}
	return out, nil
}

// WindowSummaries reads the verdicts on the windows of a version: at most so many, the
// newest first.
func (s *Store) WindowSummaries(ctx context.Context, m *schemas.Manifest, most int) ([]schemas.WindowSummary, error) {
	var rows []schemas.WindowSummary
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf(`SELECT window_start,
  toString(argMaxIf(verdict, (revision, done_at), job = '%[1]s')) AS drift, toString(argMaxIf(verdict, (revision, done_at), job = '%[2]s')) AS accuracy,
  max(job = '%[3]s') = 1 AS reported, max(rows) AS n, max(labels) AS l
FROM %[4]s.windows WHERE %[5]s GROUP BY window_start ORDER BY window_start DESC LIMIT %[6]d`,
		schemas.JobDrift, schemas.JobAccuracy, schemas.JobReport, s.database, ofWindows(m), most)); err != nil {
		return nil, fmt.Errorf("read the windows of the report index: %w", err)
	}
	return rows, nil
}
