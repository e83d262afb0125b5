package history

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// aboveUnit is the unit that scores are summed in, as whole numbers: the sum is the same in whatever
// order rows are read, and as exact as a float64 below 1 is.
const aboveUnit = 60

// outsideCell stands for scores that are no probabilities: no cell begins there.
const outsideCell = 2

type scoreRow struct {
	Window    uint32  `ch:"w"`
	Predicted bool    `ch:"predicted"`
	Edge      float64 `ch:"edge"`
	Rows      uint64  `ch:"n"`
	Above     big.Int `ch:"above"`
}

// scoresQuery counts the rows of a query with the columns 0w and 0s, window and score, by cell.
func scoresQuery(target *schemas.Target, edges []float64, rows string) string {
	list := make([]string, len(edges)+1)
	list[0] = "-1"
	for i, e := range edges {
		list[i+1] = strconv.FormatFloat(e, 'e', -1, 64)
	}
	return fmt.Sprintf("SELECT w, predicted, edge, count() AS n, sum(if(edge = %[1]d, toInt128(0), toInt128((score - greatest(edge, 0)) * %[2]d.))) AS above\n"+
		"FROM (SELECT `0w` AS w, `0s` AS score, score >= %[3]s AS predicted, if(score >= 0 AND score <= 1, roundDown(score, CAST([%[4]s], 'Array(Float64)')), %[1]d.) AS edge\nFROM (%[5]s))\n"+
		"GROUP BY w, predicted, edge ORDER BY w, predicted, edge",
		outsideCell, int64(1)<<aboveUnit, strconv.FormatFloat(target.Threshold, 'e', -1, 64), strings.Join(list, ","), rows)
}

// CountScores counts the answered rows of windows by prediction and by cell of the score of a binary
// target, or of these rows those that have a label. Edges ascend, from 0 to 1: see profile.ScoreCounts.
// starts are the starts of windows, ascending.
func (s *Store) CountScores(ctx context.Context, m *schemas.Manifest, edges []float64, starts []time.Time, labelled bool) ([]profile.ScoreCounts, error) {
	if len(starts) == 0 {
		return nil, nil
	}
	if steps(m) != nil {
		return apart(m, starts, func(m *schemas.Manifest, starts []time.Time) ([]profile.ScoreCounts, error) {
			return s.CountScores(ctx, m, edges, starts, labelled)
		})
	}
	t := s.rowsOf(m)
	q := qualityCount{t: t, span: t.span(starts), starts: starts}
	rows := fmt.Sprintf("SELECT toUInt32(%s) AS `0w`, assumeNotNull(toFloat64(%s)) AS `0s` FROM %s WHERE %s AND %s",
		t.index(q.span.Start), column(m.Target.Score), t.observations(), t.where(q.span)+t.only(q.span, starts), predicted(m.Target))
	if labelled {
		rows = "SELECT w AS `0w`, assumeNotNull(score) AS `0s` FROM (\n" + t.labelsQuery(m.Target, q.span, starts) + "\n)"
	}
	out := make([]profile.ScoreCounts, len(starts))
	for i := range out {
		for y := range out[i].Rows {
			out[i].Rows[y], out[i].Above[y] = make([]int64, len(edges)+1), make([]float64, len(edges)+1)
		}
	}
	var found []scoreRow
	if err := s.conn.Select(ctx, &found, scoresQuery(m.Target, edges, rows)); err != nil {
		return nil, fmt.Errorf("count the scores of %s version %s: %w", t.observations(), t.version, err)
	}
	for i := range found {
		r := &found[i]
		at, err := q.index(r.Window)
		if err != nil {
			return nil, fmt.Errorf("count scores: %w", err)
		}
		if r.Edge == outsideCell {
			out[at].Outside += int64(r.Rows)
			continue
		}
		cell := 0
		if r.Edge >= 0 {
			k, ok := slices.BinarySearch(edges, r.Edge)
			if !ok {
				return nil, fmt.Errorf("count scores: the answer names an edge %v, which was not asked for", r.Edge)
			}
			cell = k + 1
		}
		y := 0
		if r.Predicted {
			y = 1
		}
		above, _ := new(big.Float).SetMantExp(new(big.Float).SetInt(&r.Above), -aboveUnit).Float64()
		out[at].Rows[y][cell], out[at].Above[y][cell] = int64(r.Rows), above
	}
	return out, nil
}

// LabelledScores returns score and target of rows of windows that have both, by window: at most so
// many, chosen by a hash of their request ids, so that they are the same each time. starts are the starts of windows, ascending. total counts all such rows.
func (s *Store) LabelledScores(ctx context.Context, m *schemas.Manifest, starts []time.Time, most int) (scores []float64, targets []bool, total uint64, err error) {
	t := s.rowsOf(m)
	span := t.span(starts)
	var rows []struct {
		Score    float64 `ch:"score"`
		Positive bool    `ch:"positive"`
		Total    uint64  `ch:"total"`
	}
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf(
		"SELECT score, positive, total FROM (\nSELECT w, assumeNotNull(score) AS score, assumeNotNull(%s) AS positive, count() OVER () AS total, cityHash64(request_id, w) AS hash, request_id\nFROM (\n%s\n)\nORDER BY hash, request_id LIMIT %d\n) ORDER BY w, hash, request_id",
		positive(m.Target), t.labelsQueryWith(m.Target, span, starts, extra{column: "o.request_id AS request_id"}), most)); err != nil {
		return nil, nil, 0, fmt.Errorf("read the labelled scores of %s version %s: %w", t.observations(), t.version, err)
	}
	for _, r := range rows {
		scores, targets, total = append(scores, r.Score), append(targets, r.Positive), r.Total
	}
	return scores, targets, total, nil
}
