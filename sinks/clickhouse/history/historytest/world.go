// Package historytest gives tests a database of observations, labels and a reference that
// are hard to count, and counts them without SQL.
package historytest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
)

// Observation is a row of observations_shop. Features and outputs bear names that queries and tables use themselves, and categories
// hold what SQL escapes.
type Observation struct {
	Amount      *float32  `ch:"amount"`
	Items       int32     `ch:"items"`
	W           float64   `ch:"w"`
	Country     string    `ch:"t"`
	Member      bool      `ch:"n"`
	Note        *string   `ch:"label"`
	RequestID   string    `ch:"request_id"`
	EventTime   time.Time `ch:"event_time"`
	TopicID     string    `ch:"request_topic_id"`
	Partition   int32     `ch:"request_partition"`
	Offset      int64     `ch:"request_offset"`
	Probability *float32  `ch:"score"`
	Version     string    `ch:"version"`
	Outcome     string    `ch:"outcome"`
	LatencyUS   int64     `ch:"latency_us"`
	ScoredAt    time.Time `ch:"scored_at"`
}

// Feedback is a row of feedback.
type Feedback struct {
	Model      string    `ch:"model"`
	RequestID  string    `ch:"request_id"`
	Label      *float64  `ch:"label"`
	ObservedAt time.Time `ch:"observed_at"`
	ReceivedAt time.Time `ch:"received_at"`
	TopicID    string    `ch:"feedback_topic_id"`
	Partition  int32     `ch:"feedback_partition"`
	Offset     int64     `ch:"feedback_offset"`
}

var (
	countries = []string{"it's", `back\slash`, "? {x:String}", "größe", "new\nline", ""}
	edges     = map[string][]float64{
		"amount": {-1e30, -1, 0, 0.1, float64(float32(0.1)), 1.0 / 3, 2, 1e30}, "items": {0, 1, 2, 3, 5, 8},
		"w": {-1e-300, 0, 1e-300, 0.1, 0.7, 1e6, 1e300}, "score": {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9},
	}
	categories = map[string][]string{"t": countries[:5], "n": {"false", "true"}, "label": {"a", "b"}}
)

var (
	// Start is when the first window begins.
	Start = time.Date(2001, 2, 1, 0, 0, 0, 0, time.UTC)
	// WallClock is when rows are scored.
	WallClock = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

// Manifest returns the manifest of the version, with windows of an hour.
func Manifest() *schemas.Manifest {
	return &schemas.Manifest{
		Name: "shop", Version: "1.0",
		Features: []schemas.Feature{
			{Name: "amount", Type: schemas.TypeFloat32, Optional: true},
			{Name: "items", Type: schemas.TypeInt32},
			{Name: "w", Type: schemas.TypeFloat64},
			{Name: "t", Type: schemas.TypeCategory, Categories: countries},
			{Name: "n", Type: schemas.TypeBool},
			{Name: "label", Type: schemas.TypeString, Optional: true},
		},
		Outputs: []schemas.Output{{Name: "score", Type: schemas.TypeFloat32}},
		Target:  &schemas.Target{Kind: schemas.TargetBinary, Score: "score", Threshold: 0.5, PositiveAbove: 15},
		Monitoring: &schemas.Monitoring{
			Window: schemas.Duration(time.Hour), Lateness: schemas.Duration(10 * time.Minute),
			IdleTimeout: schemas.Duration(time.Minute), LabelDelay: schemas.Duration(2 * time.Hour), MinRows: 100, Rate: schemas.DefaultRate,
			Checks: []schemas.Check{
				{Stattest: schemas.StattestPSI, Column: "items", Threshold: 0.25, Severity: schemas.SeverityWarning},
				{Stattest: schemas.StattestKS, Column: "score", Threshold: 0.3, Severity: schemas.SeverityCritical, Retrain: true},
				{Stattest: schemas.StattestChiSquare, Column: "t", Threshold: 0.9, Severity: schemas.SeverityWarning},
				{Stattest: schemas.StattestShare, Threshold: 0.6, Severity: schemas.SeverityInfo},
				{Stattest: schemas.StattestAccuracy, Threshold: 0.6, Severity: schemas.SeverityWarning},
				{Stattest: schemas.StattestAUC, Threshold: 0.6, Severity: schemas.SeverityCritical, Retrain: true},
			},
		},
	}
}

// World is a database with rows of a version, and the same rows here. It is for one goroutine.
type World struct {
	*clickhouse.Client
	Manifest  *schemas.Manifest
	Reference *schemas.Reference
	Rows      []Observation
	Labels    map[string]float64 // by request id

	t      testing.TB
	random *rand.Rand
	offset int64
}

// NewWorld returns a world with a reference and without rows.
func NewWorld(tb testing.TB) *World {
	tb.Helper()
	const seed = 7
	tb.Logf("seed %d", seed)
	w := &World{
		Client: clickhousetest.Client(tb), Manifest: Manifest(), Labels: map[string]float64{},
		t: tb, random: rand.New(rand.NewPCG(seed, seed)), //nolint:gosec // rows of a test
	}
	require.NoError(tb, w.EnsureTable(tb.Context(), w.Manifest.ObservationSchema()))
	var reference []Observation
	for i := range 5000 {
		reference = append(reference, w.Observe(Start.Add(-time.Hour), i, 0))
	}
	w.Reference = w.reference(reference)
	w.offset = 0
	return w
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// Observe makes a row; shift moves its numbers up.
func (w *World) Observe(at time.Time, i, shift int) Observation {
	r := w.random
	amount := float32(r.NormFloat64())
	score := float32(math.Min(0.999, math.Max(0, r.Float64()*0.8+0.05*float64(shift))))
	w.offset++
	o := Observation{
		Amount: &amount, Items: int32(r.IntN(8) + shift), W: r.NormFloat64(), Country: pick(r, countries...), Member: r.IntN(3) == 0,
		RequestID: fmt.Sprintf("6ba7b810-9dad-11d1-80b4-00c04fd430c8/%d/%d", i%4, w.offset), EventTime: at, TopicID: "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
		Partition: int32(i % 4), Offset: w.offset, Probability: &score, Version: "1.0", Outcome: schemas.OutcomeOK, ScoredAt: WallClock,
	}
	nan := float32(math.NaN())
	inf := float32(math.Inf(1 - 2*r.IntN(2)))
	tenth := float32(0.1)
	switch r.IntN(12) { // values that binning gets wrong first
	case 0:
		o.Amount = nil
	case 1:
		o.Amount = &nan
	case 2:
		o.Amount = &inf
	case 3:
		o.Amount = &tenth
	case 4:
		o.W = math.NaN()
	case 5:
		o.W = pick(r, append([]float64{0.1 - 1e-17, math.Nextafter(0.1, 0), math.Nextafter(0.7, 1), math.Copysign(0, -1)}, edges["w"]...)...)
	case 6:
		o.Country = "unknown"
	}
	if r.IntN(2) == 0 {
		note := pick(r, "a", "b", "c")
		o.Note = &note
	}
	if r.IntN(50) == 0 {
		o.Outcome, o.Probability = schemas.OutcomeFailed, nil
	}
	return o
}

// Count counts as CountCells should.
func (w *World) Count(rows []Observation, c string) profile.Counts {
	var out profile.Counts
	if e, ok := edges[c]; ok {
		out.Cells = make([]int64, len(e)+1)
		for _, o := range rows {
			value := math.NaN()
			switch {
			case c == "amount" && o.Amount != nil:
				value = float64(*o.Amount)
			case c == "items":
				value = float64(o.Items)
			case c == "w":
				value = o.W
			case c == "score" && o.Probability != nil:
				value = float64(*o.Probability)
			}
			if math.IsNaN(value) {
				out.Missing++
				continue
			}
			out.Cells[sort.Search(len(e), func(i int) bool { return e[i] > value })]++
		}
		return out
	}
	out.Cells = make([]int64, len(categories[c]))
	for _, o := range rows {
		value := map[string]string{"t": o.Country, "n": strconv.FormatBool(o.Member)}[c]
		if c == "label" {
			if o.Note == nil {
				out.Missing++
				continue
			}
			value = *o.Note
		}
		if i := slices.Index(categories[c], value); i >= 0 {
			out.Cells[i]++
		} else {
			out.Other++
		}
	}
	return out
}

func (w *World) reference(rows []Observation) *schemas.Reference {
	ref := &schemas.Reference{Rows: int64(len(rows)), Quality: map[schemas.Stattest]float64{schemas.StattestAUC: 0.8}}
	for _, c := range []string{"amount", "items", "w", "t", "n", "label", "score"} {
		n := w.Count(rows, c)
		ref.Columns = append(ref.Columns, schemas.ReferenceColumn{
			Name: c, Edges: edges[c], Categories: categories[c], Counts: n.Cells, Other: n.Other, Missing: n.Missing,
		})
	}
	return ref
}

// Hour stores n rows, spread over hour h of the four partitions.
func (w *World) Hour(h, n, shift int) []Observation {
	w.t.Helper()
	rows := make([]Observation, n)
	for i := range rows {
		at := Start.Add(time.Duration(h)*time.Hour + time.Duration(i)*time.Hour/time.Duration(n))
		rows[i] = w.Observe(at, i, shift)
	}
	w.Put(rows)
	return rows
}

// Put stores rows.
func (w *World) Put(rows []Observation) {
	w.t.Helper()
	require.NoError(w.t, w.InsertRows(w.t.Context(), schemas.ObservationsTable("shop"), rows))
	w.Rows = append(w.Rows, rows...)
}

// Label stores a label for each row but every skip-th; good ones follow the score.
func (w *World) Label(rows []Observation, skip int, good bool) {
	w.t.Helper()
	var out []Feedback
	for i, o := range rows {
		if i%skip == 0 {
			continue
		}
		p := 0.5
		if good && o.Probability != nil {
			p = float64(*o.Probability)
		}
		label := 15.0 // not above
		if w.random.Float64() < p {
			label = 40
		}
		wrong := 55 - label
		// A correction follows; what counts is the greater offset, not the order of storing.
		out = append(out, Feedback{"shop", o.RequestID, &label, o.EventTime, WallClock, "", 0, 2*o.Offset + 1},
			Feedback{"shop", o.RequestID, &wrong, o.EventTime, WallClock, "", 0, 2 * o.Offset},
			Feedback{"another", o.RequestID, &wrong, o.EventTime, WallClock, "", 0, 2*o.Offset + 9},
			Feedback{"shop", o.RequestID, nil, o.EventTime, WallClock, "", 0, 2*o.Offset + 5})
		w.Labels[o.RequestID] = label
	}
	w.Tell(out)
}

// Tell stores labels as they are.
func (w *World) Tell(labels []Feedback) {
	w.t.Helper()
	require.NoError(w.t, w.InsertRows(w.t.Context(), "feedback", labels))
}

// Answered returns the rows of the version in hour h that were answered.
func (w *World) Answered(h int) []Observation {
	from, to := Start.Add(time.Duration(h)*time.Hour), Start.Add(time.Duration(h+1)*time.Hour)
	return slices.DeleteFunc(slices.Clone(w.Rows), func(o Observation) bool {
		return o.Outcome != schemas.OutcomeOK || o.Version != "1.0" || o.EventTime.Before(from) || !o.EventTime.Before(to)
	})
}
