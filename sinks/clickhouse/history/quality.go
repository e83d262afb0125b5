package history

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Sums of fractions are made of sorted values and with compensation (sumKahan), so that the
// same rows give the same figures to the last bit, in whatever order ClickHouse reads them.

// calibrationBins is that of quality.DefaultBins; a bin is (edge, edge], the first with 0.
const calibrationBins = 10

// usable is the condition of a label that the target can use. Other labels correct nothing.
func usable(target *schemas.Target) string {
	const number, text = "isNotNull(f.label) AND NOT isNaN(f.label)", "f.label_class != ''"
	switch {
	case target.Kind == schemas.TargetMulticlass:
		return "(" + text + " OR (isNotNull(f.label) AND isFinite(f.label)))"
	case target.Kind == schemas.TargetRegression:
		return "isNotNull(f.label) AND isFinite(f.label)"
	case target.Positive != "":
		return text
	default:
		return number
	}
}

// predicted is the condition of a row with a prediction that a label can be compared with.
func predicted(target *schemas.Target) string {
	score := column(target.Score)
	if target.Kind == schemas.TargetMulticlass {
		return "isNotNull(" + score + ")"
	}
	return fmt.Sprintf("isNotNull(%[1]s) AND NOT isNaN(toFloat64(%[1]s))", score)
}

// labelOf is the label that counts, as the target reads it, of the rows of latestLabels, which
// are called by the given name: a class as text, of other targets a number.
func labelOf(target *schemas.Target, name string) string {
	switch {
	case target.Kind == schemas.TargetMulticlass:
		return fmt.Sprintf("if(%[1]s.label_class != '', toString(%[1]s.label_class), ifNull(toString(accurateCastOrNull(%[1]s.label, 'Int64')), toString(assumeNotNull(%[1]s.label))))", name)
	case target.Positive != "":
		return name + ".label_class"
	default:
		return name + ".label"
	}
}

// labelsQuery selects window, prediction and label of the rows of a span that have both, once
// for each window that has rows of a request's id: of requests that share an id in a window,
// the first by coordinates counts. LabelStates counts the same. The prediction is the column score, a number; of a multiclass
// target it is predicted, the class as text, and probabilities, in the order of Target.Classes.
func (t versionRows) labelsQuery(target *schemas.Target, s profile.Span, starts []time.Time) string {
	return t.labelsQueryWith(target, s, starts, extra{})
}

// extra is what a labelsQuery selects beside.
type extra struct {
	row    string // of the row that counts, an aggregate; empty: nothing
	column string // of the rows o, which are these
}

func (t versionRows) labelsQueryWith(target *schemas.Target, s profile.Span, starts []time.Time, more extra) string {
	where := t.where(s) + t.only(s, starts) + " AND " + predicted(target)
	prediction := "toFloat64(" + column(target.Score) + ")"
	selected := "o.`0s` AS score"
	if target.Kind == schemas.TargetMulticlass {
		probabilities := make([]string, 0, len(target.Probabilities))
		for _, class := range target.Classes() {
			probabilities = append(probabilities, "ifNull(toFloat64("+column(target.Probabilities[class])+"), nan)")
		}
		prediction = fmt.Sprintf("(toString(%s), CAST([%s], 'Array(Float64)'))", column(target.Score), strings.Join(probabilities, ", "))
		selected = "assumeNotNull(o.`0s`.1) AS predicted, o.`0s`.2 AS probabilities"
	}
	if more.row != "" {
		more.row = ", " + more.row
	}
	if more.column != "" {
		selected += ", " + more.column
	}
	return fmt.Sprintf("SELECT o.`0w` AS w, %[6]s, %[7]s AS label\n"+
		"FROM (\n"+
		"  SELECT request_id, toUInt32(%[1]s) AS `0w`, argMin(%[2]s, (request_topic_id, request_partition, request_offset, request_row)) AS `0s`%[8]s\n"+
		"  FROM %[3]s WHERE %[4]s GROUP BY request_id, `0w`\n"+
		") AS o INNER JOIN (%[5]s) AS l ON l.request_id = o.request_id",
		t.index(s.Start), prediction, t.observations(), where,
		t.latestLabels(usable(target), fmt.Sprintf("SELECT request_id FROM %s WHERE %s", t.observations(), where)),
		selected, labelOf(target, "l"), more.row)
}

// calibrationBin is the bin of a probability, from 0.
func calibrationBin(p string) string {
	edges := make([]string, 0, calibrationBins-1)
	for i := 1; i < calibrationBins; i++ {
		edges = append(edges, strconv.FormatFloat(float64(i)*(1/float64(calibrationBins)), 'g', -1, 64))
	}
	return fmt.Sprintf("arrayCount(e -> e < %s, [%s])", p, strings.Join(edges, ", "))
}

// lossColumns are the columns of lossRow, of an array of rows (log loss, Brier score, predicted
// probability, what came true, rows, bin of calibration) that is sorted.
func lossColumns(rows string) string {
	sum := func(of string) string { return fmt.Sprintf("arrayReduce('sumKahan', arrayMap(r -> %s, %s))", of, rows) }
	binned := func(of string) string {
		return fmt.Sprintf("arrayMap(b -> arrayReduce('sumKahan', arrayMap(r -> if(r.6 = b, %s, 0.), %s)), range(%d))", of, rows, calibrationBins)
	}
	return fmt.Sprintf("arraySum(arrayMap(r -> r.5, %s)) AS n, %s AS log_loss, %s AS brier,\n  %s AS predicted_sums, %s AS observed_sums",
		rows, sum("r.1"), sum("r.2"), binned("r.3 * r.5"), binned("r.4"))
}

type lossRow struct {
	Rows      uint64    `ch:"n"`
	LogLoss   float64   `ch:"log_loss"`
	Brier     float64   `ch:"brier"`
	Predicted []float64 `ch:"predicted_sums"`
	Observed  []float64 `ch:"observed_sums"`
	Outside   uint64    `ch:"outside"` // rows whose prediction is no probability
}

func (r lossRow) losses() profile.Losses {
	if r.Outside > 0 {
		return profile.Losses{}
	}
	return profile.Losses{Rows: int64(r.Rows), LogLoss: r.LogLoss, Brier: r.Brier, Predicted: r.Predicted, Observed: r.Observed}
}

// clipped is minus the logarithm of a probability that is kept 2^-52 away from 0 and 1.
func clipped(p string) string {
	return fmt.Sprintf("-log(least(greatest(%s, 2.220446049250313e-16), 0.9999999999999998))", p)
}

type binaryRow struct {
	Window uint32 `ch:"w"`
	TP     uint64 `ch:"tp"`
	FP     uint64 `ch:"fp"`
	FN     uint64 `ch:"fn"`
	TN     uint64 `ch:"tn"`
	TwiceU uint64 `ch:"twice_u"`

	Precisions float64 `ch:"precisions"`
	lossRow
}

// positive is the condition of a positive label.
func positive(target *schemas.Target) string {
	if target.Positive != "" {
		return "label = " + quote(target.Positive)
	}
	return "label > " + strconv.FormatFloat(target.PositiveAbove, 'e', -1, 64)
}

// binaryQuery computes confusion counts and the exact Mann–Whitney U of each window: labels are
// counted by distinct score, and a running sum counts the negatives below. For losses and average
// precision the distinct scores of a window become an array.
func (t versionRows) binaryQuery(target *schemas.Target, s profile.Span, starts []time.Time) string {
	threshold := strconv.FormatFloat(target.Threshold, 'e', -1, 64)
	return fmt.Sprintf(`SELECT w, tp, fp, fn, tn, twice_u, outside,
  arrayReduce('sumKahan', arrayMap(r -> r.2 * ((tp + fn - r.4 + r.2) / (tp + fn - r.4 + r.2 + fp + tn - r.5 + r.3)), counts)) AS precisions,
  %[4]s
FROM (
  SELECT *, arrayMap(r -> (r.2 * %[5]s + r.3 * %[6]s, r.2 * pow(1 - r.1, 2) + r.3 * pow(r.1, 2), r.1, toFloat64(r.2), r.2 + r.3, %[7]s), counts) AS rows
  FROM (
    SELECT w, sumIf(p, score >= %[1]s) AS tp, sumIf(n, score >= %[1]s) AS fp, sumIf(p, score < %[1]s) AS fn, sumIf(n, score < %[1]s) AS tn,
      sum(p * toUInt64(2 * negatives - n)) AS twice_u, countIf(score < 0 OR score > 1) AS outside,
      arraySort(groupArray((score, p, n, positives, negatives))) AS counts
    FROM (
      SELECT w, score, p, n, sum(p) OVER below AS positives, sum(n) OVER below AS negatives
      FROM (
        SELECT w, assumeNotNull(score) AS score, countIf(%[2]s) AS p, countIf(NOT %[2]s) AS n
        FROM (
%[3]s
        )
        GROUP BY w, score
      )
      WINDOW below AS (PARTITION BY w ORDER BY score ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
    GROUP BY w
  )
)`, threshold, positive(target), t.labelsQuery(target, s, starts), lossColumns("rows"), clipped("r.1"), clipped("1 - r.1"), calibrationBin("r.1"))
}

type classRow struct {
	Window    uint32 `ch:"w"`
	Class     string `ch:"class"`
	Right     uint64 `ch:"hits"`
	Predicted uint64 `ch:"predictions"`
	Labelled  uint64 `ch:"labels"`
	AllRight  uint64 `ch:"all_hits"`
	AllRows   uint64 `ch:"all_labels"`
	Distinct  uint64 `ch:"distinct_classes"`
}

// classesQuery counts the rows of each class of a window, those with most rows first.
func (t versionRows) classesQuery(target *schemas.Target, s profile.Span, starts []time.Time) string {
	return fmt.Sprintf(`SELECT w, class, hits, predictions, labels,
  sum(hits) OVER (PARTITION BY w) AS all_hits, sum(labels) OVER (PARTITION BY w) AS all_labels, count() OVER (PARTITION BY w) AS distinct_classes
FROM (
  SELECT w, c.1 AS class, sum(c.2) AS hits, sum(c.3) AS predictions, sum(c.4) AS labels
  FROM (
    SELECT w, arrayJoin(if(predicted = label, [(label, 1, 1, 1)], [(label, 0, 0, 1), (predicted, 0, 1, 0)])) AS c
    FROM (
%s
    )
  )
  GROUP BY w, class
)
ORDER BY w, predictions + labels DESC, class LIMIT %d BY w`, t.labelsQuery(target, s, starts), profile.MaxClasses)
}

type classLossRow struct {
	Window uint32 `ch:"w"`
	lossRow
}

// classLossesQuery sums the losses of each window. A row whose probabilities do not sum to 1
// within 1e-5, or whose label is none of the classes, is outside.
func (t versionRows) classLossesQuery(target *schemas.Target, s profile.Span, starts []time.Time) string {
	half := ""
	if len(target.Probabilities) == 2 {
		half = " / 2"
	}
	calibrated := "(arrayMax(p), toFloat64(indexOf(p, arrayMax(p)) = l))" // the likeliest class, the first of several, and whether it is right
	if len(target.Probabilities) == 2 {
		calibrated = "(p[2], toFloat64(l = 2))"
	}
	return fmt.Sprintf(`SELECT w, outside,
  %s
FROM (
  SELECT w, sum(toUInt64(NOT inside)) AS outside, arraySort(groupArrayIf((%s, arraySum(arrayMap((x, i) -> pow(x - (i = l), 2), p, arrayEnumerate(p)))%s, c.1, c.2, 1, %s), inside)) AS rows
  FROM (
    SELECT w, probabilities AS p, indexOf([%s], label) AS l, %s AS c,
      l > 0 AND arrayAll(x -> x >= 0 AND x <= 1, p) AND abs(arraySum(p) - 1) <= 1e-5 AS inside
    FROM (
%s
    )
  )
  GROUP BY w
)`, lossColumns("rows"), clipped("p[l]"), half, calibrationBin("c.1"), quoted(target.Classes()), calibrated, t.labelsQuery(target, s, starts))
}

func quoted(texts []string) string {
	out := make([]string, len(texts))
	for i, s := range texts {
		out[i] = quote(s)
	}
	return strings.Join(out, ", ")
}

type rankingRow struct {
	Window    uint32 `ch:"w"`
	Class     uint32 `ch:"class"`
	Positives uint64 `ch:"positives"`
	Negatives uint64 `ch:"negatives"`
	TwiceU    uint64 `ch:"twice_u"`
}

// rankingsQuery ranks the rows of each window by the probability of each class.
func (t versionRows) rankingsQuery(target *schemas.Target, s profile.Span, starts []time.Time) string {
	return fmt.Sprintf(`SELECT w, class, sum(p) AS positives, sum(n) AS negatives, sum(p * toUInt64(2 * below - n)) AS twice_u
FROM (
  SELECT w, class, p, n, sum(n) OVER (PARTITION BY w, class ORDER BY score ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS below
  FROM (
    SELECT w, c.1 AS class, c.2 AS score, countIf(l = class) AS p, countIf(l != class) AS n
    FROM (
      SELECT w, indexOf([%s], label) AS l, arrayJoin(arrayZip(arrayEnumerate(probabilities), probabilities)) AS c
      FROM (
%s
      )
    )
    GROUP BY w, class, score
  )
)
GROUP BY w, class ORDER BY w, class`, quoted(target.Classes()), t.labelsQuery(target, s, starts))
}

type numberRow struct {
	Window        uint32  `ch:"w"`
	Rows          uint64  `ch:"n"`
	Under         float64 `ch:"under"`
	Over          float64 `ch:"over"`
	Squares       float64 `ch:"squares"`
	Percentage    float64 `ch:"percentage"`
	Symmetric     float64 `ch:"symmetric"`
	Target        float64 `ch:"target"`
	TargetSquares float64 `ch:"target_squares"`
	LeastTarget   float64 `ch:"least_target"`
	MostTarget    float64 `ch:"most_target"`
	MedianError   float64 `ch:"median_error"`
}

// numbersQuery sums errors of each window. Targets are taken from near their mean, so that
// the sum of squares keeps their spread.
func (t versionRows) numbersQuery(target *schemas.Target, s profile.Span, starts []time.Time) string {
	sum := func(of string) string { return "arrayReduce('sumKahan', arrayMap(r -> " + of + ", rows))" }
	return fmt.Sprintf(`SELECT w, length(rows) AS n, %s AS under, %s AS over, %s AS squares, %s AS percentage, %s AS symmetric,
  %s AS target, %s AS target_squares, rows[1].1 AS least_target, rows[-1].1 AS most_target,
  arrayReduce('quantileExactInclusive(0.5)', arrayMap(r -> abs(r.1 - r.2), rows)) AS median_error
FROM (
  SELECT w, arraySort(groupArray((y, p))) AS rows, arrayReduce('sumKahan', arrayMap(r -> r.1 / length(rows), rows)) AS center
  FROM (
    SELECT w, assumeNotNull(label) AS y, assumeNotNull(score) AS p
    FROM (
%s
    )
  )
  GROUP BY w
)`, sum("if(r.1 >= r.2, r.1 - r.2, 0.)"), sum("if(r.1 < r.2, r.2 - r.1, 0.)"), sum("(r.1 - r.2) * (r.1 - r.2)"),
		sum("abs(r.1 - r.2) / greatest(abs(r.1), 2.220446049250313e-16)"),
		sum("if(r.1 = 0 AND r.2 = 0, 0., abs(r.1 - r.2) / (abs(r.1) / 2 + abs(r.2) / 2))"),
		sum("r.1 - center"), sum("(r.1 - center) * (r.1 - center)"), t.labelsQuery(target, s, starts))
}

// CountQuality counts the labelled rows of windows by what was predicted and what was true.
// starts are the starts of windows, ascending; a window without labels has zero counts.
func (s *Store) CountQuality(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.Quality, error) {
	if len(starts) == 0 {
		return nil, nil
	}
	if steps(m) != nil {
		return apart(m, starts, func(m *schemas.Manifest, starts []time.Time) ([]profile.Quality, error) {
			return s.CountQuality(ctx, m, starts)
		})
	}
	t := s.rowsOf(m)
	q := qualityCount{Store: s, t: t, target: m.Target, span: t.span(starts), starts: starts, out: make([]profile.Quality, len(starts))}
	var err error
	switch m.Target.Kind {
	case schemas.TargetMulticlass:
		err = q.classes(ctx)
	case schemas.TargetRegression:
		err = q.numbers(ctx)
	case schemas.TargetBinary:
		err = q.binary(ctx)
	default:
		err = fmt.Errorf("%q is no kind of target", m.Target.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("join the labels of %s version %s: %w", t.observations(), t.version, err)
	}
	return q.out, nil
}

// qualityCount is one count of the labels of windows.
type qualityCount struct {
	*Store
	t      versionRows
	target *schemas.Target
	span   profile.Span
	starts []time.Time
	out    []profile.Quality // by start
}

// of returns where the counts of a window go.
func (q *qualityCount) of(window uint32) (*profile.Quality, error) {
	i, err := q.index(window)
	if err != nil {
		return nil, err
	}
	return &q.out[i], nil
}

// index returns which of the starts is that of a window.
func (q *qualityCount) index(window uint32) (int, error) {
	i, ok := slices.BinarySearchFunc(q.starts, q.span.Start.Add(time.Duration(window)*q.t.window), time.Time.Compare)
	if !ok {
		return 0, fmt.Errorf("answer names window %d, which was not asked for", window)
	}
	return i, nil
}

// eachWindow asks a query and hands over each row of its answer with the counts of its window.
func eachWindow[T any](ctx context.Context, q *qualityCount, query string, window func(*T) uint32, take func(*T, *profile.Quality)) error {
	var rows []T
	if err := q.conn.Select(ctx, &rows, query); err != nil {
		return err
	}
	for i := range rows {
		into, err := q.of(window(&rows[i]))
		if err != nil {
			return err
		}
		take(&rows[i], into)
	}
	return nil
}

func (q *qualityCount) binary(ctx context.Context) error {
	return eachWindow(ctx, q, q.t.binaryQuery(q.target, q.span, q.starts), func(r *binaryRow) uint32 { return r.Window },
		func(r *binaryRow, into *profile.Quality) {
			into.Confusion = profile.Confusion{
				TruePositive: int64(r.TP), FalsePositive: int64(r.FP), FalseNegative: int64(r.FN), TrueNegative: int64(r.TN),
			}
			into.TwiceU, into.Precisions, into.Losses = r.TwiceU, r.Precisions, r.losses()
		})
}

func (q *qualityCount) classes(ctx context.Context) error {
	if err := eachWindow(ctx, q, q.t.classesQuery(q.target, q.span, q.starts), func(r *classRow) uint32 { return r.Window },
		func(r *classRow, into *profile.Quality) {
			c := &into.Classes
			c.Rows, c.Right, c.Distinct = int64(r.AllRows), int64(r.AllRight), int64(r.Distinct)
			c.Tallies = append(c.Tallies, profile.Tally{Class: r.Class, Right: int64(r.Right), Predicted: int64(r.Predicted), Labelled: int64(r.Labelled)})
		}); err != nil || len(q.target.Probabilities) == 0 {
		return err
	}
	if err := eachWindow(ctx, q, q.t.classLossesQuery(q.target, q.span, q.starts), func(r *classLossRow) uint32 { return r.Window },
		func(r *classLossRow, into *profile.Quality) { into.Losses = r.losses() }); err != nil {
		return err
	}
	return eachWindow(ctx, q, q.t.rankingsQuery(q.target, q.span, q.starts), func(r *rankingRow) uint32 { return r.Window },
		func(r *rankingRow, into *profile.Quality) {
			if into.Losses.Rows > 0 { // of what is no probability there is no ranking
				into.Rankings = append(into.Rankings, profile.Ranking{Positives: int64(r.Positives), Negatives: int64(r.Negatives), TwiceU: r.TwiceU})
			}
		})
}

func (q *qualityCount) numbers(ctx context.Context) error {
	return eachWindow(ctx, q, q.t.numbersQuery(q.target, q.span, q.starts), func(r *numberRow) uint32 { return r.Window },
		func(r *numberRow, into *profile.Quality) {
			into.Numbers = profile.Numbers{
				Rows: int64(r.Rows), Under: r.Under, Over: r.Over, Squares: r.Squares, Percentage: r.Percentage, Symmetric: r.Symmetric,
				Target: r.Target, TargetSquares: r.TargetSquares, LeastTarget: r.LeastTarget, MostTarget: r.MostTarget,
			}
			into.MedianError = r.MedianError
		})
}
