package history

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// maxSegmentBytes bounds a value that is a segment of its own; rows of longer ones are other.
const maxSegmentBytes = 256

type segmentRow struct {
	Window uint32 `ch:"w"`
	Value  string `ch:"segment"`
	Other  bool   `ch:"other"`
	TP     uint64 `ch:"tp"`
	FP     uint64 `ch:"fp"`
	FN     uint64 `ch:"fn"`
	TN     uint64 `ch:"tn"`
}

// segmentsQuery counts labelled rows by value of a feature: of a binary target by prediction and
// label, of a multiclass one by whether the class is right, as true and false positives. The values
// of a window with most rows are told apart, the rest are one.
func (t versionRows) segmentsQuery(target *schemas.Target, feature string, s profile.Span, starts []time.Time) string {
	said, is := "score >= "+strconv.FormatFloat(target.Threshold, 'e', -1, 64), positive(target)
	if target.Kind == schemas.TargetMulticlass {
		said, is = "1", "predicted = label"
	}
	rows := t.labelsQueryWith(target, s, starts, extra{
		row:    fmt.Sprintf("argMin(ifNull(toString(%s), ''), (request_topic_id, request_partition, request_offset, request_row)) AS `0g`", column(feature)),
		column: "o.`0g` AS segment",
	})
	return fmt.Sprintf(`SELECT w, if(other, '', value) AS segment, rank > %[1]d OR length(value) > %[2]d AS other, sum(c.1) AS tp, sum(c.2) AS fp, sum(c.3) AS fn, sum(c.4) AS tn
FROM (
  SELECT w, value, c, row_number() OVER (PARTITION BY w ORDER BY length(value) > %[2]d, n DESC, value) AS rank
  FROM (
    SELECT w, segment AS value, count() AS n, (countIf(said AND truth), countIf(said AND NOT truth), countIf(NOT said AND truth), countIf(NOT said AND NOT truth)) AS c
    FROM (SELECT w, segment, assumeNotNull(%[3]s) AS said, assumeNotNull(%[4]s) AS truth FROM (
%[5]s
    ))
    GROUP BY w, value
  )
)
GROUP BY w, segment, other ORDER BY w, other, tp + fp + fn + tn DESC, segment`, profile.MaxSegments, maxSegmentBytes, said, is, rows)
}

// CountSegmentQuality counts the labelled rows of windows by value of a feature of type string, category or
// bool: the profile.MaxSegments values of a window with most rows each for itself, and the rest
// together. starts are the starts of windows, ascending; targets of regression have no counts.
func (s *Store) CountSegmentQuality(ctx context.Context, m *schemas.Manifest, feature string, starts []time.Time) ([][]profile.Segment, error) {
	out := make([][]profile.Segment, len(starts))
	if len(starts) == 0 || m.Target.Kind == schemas.TargetRegression {
		return out, nil
	}
	if steps(m) != nil {
		return apart(m, starts, func(m *schemas.Manifest, starts []time.Time) ([][]profile.Segment, error) {
			return s.CountSegmentQuality(ctx, m, feature, starts)
		})
	}
	t := s.rowsOf(m)
	q := qualityCount{t: t, span: t.span(starts), starts: starts}
	var rows []segmentRow
	if err := s.conn.Select(ctx, &rows, t.segmentsQuery(m.Target, feature, q.span, starts)); err != nil {
		return nil, fmt.Errorf("count the labels of %s version %s by %s: %w", t.observations(), t.version, feature, err)
	}
	for _, r := range rows {
		at, err := q.index(r.Window)
		if err != nil {
			return nil, fmt.Errorf("count segments: %w", err)
		}
		out[at] = append(out[at], profile.Segment{
			Value: r.Value, Other: r.Other,
			Confusion: profile.Confusion{TruePositive: int64(r.TP), FalsePositive: int64(r.FP), FalseNegative: int64(r.FN), TrueNegative: int64(r.TN)},
		})
	}
	return out, nil
}
