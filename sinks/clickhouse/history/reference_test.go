package history_test

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// hour is the span of an hour of the world.
func hour(h int) profile.Span {
	return profile.Span{Start: historytest.Start.Add(time.Duration(h) * time.Hour), End: historytest.Start.Add(time.Duration(h+1) * time.Hour)}
}

func TestReferenceOfRows(t *testing.T) {
	w := historytest.NewWorld(t)
	var rows []historytest.Observation
	for h := range 5 {
		w.Hour(h, 400, h)
	}
	for _, h := range []int{0, 1, 3} {
		rows = append(rows, w.Answered(h)...)
	}
	store := history.New(w, w.Database())
	ref, err := store.MakeReference(t.Context(), w.Manifest, []profile.Span{hour(0), hour(1), hour(3)})
	require.NoError(t, err)
	require.Equal(t, int64(len(rows)), ref.Rows)

	text, err := json.Marshal(ref)
	require.NoError(t, err)
	again, err := schemas.ParseReference("learned", text, w.Manifest)
	require.NoError(t, err, "it is a reference as a file is one")
	require.Equal(t, ref, again)
	second, err := store.MakeReference(t.Context(), w.Manifest, []profile.Span{hour(0), hour(1), hour(3)})
	require.NoError(t, err)
	require.Equal(t, ref, second)

	w.Label(w.Answered(3)[:100], 3, true)
	var labelled []struct {
		Rows   uint64 `ch:"n"`
		Labels uint64 `ch:"labels"`
	}
	require.NoError(t, w.Select(t.Context(), &labelled, "SELECT count() AS n, countIf(isNotNull(`"+history.LabelledLabel+"`)) AS labels FROM ("+store.LabelledSQL(w.Manifest, hour(3))+")"))
	require.Equal(t, uint64(len(w.Answered(3))), labelled[0].Rows, "each answered row once, with a label or without")
	require.Positive(t, labelled[0].Labels)
	require.Less(t, labelled[0].Labels, labelled[0].Rows)

	names := make([]string, len(ref.Columns))
	for i, c := range ref.Columns {
		names[i] = c.Name
	}
	require.Equal(t, []string{"amount", "items", "w", "t", "n", "label", "score"}, names)
	for _, c := range ref.Columns {
		var values []float64
		frequency := map[string]int64{}
		missing := int64(0)
		for _, o := range rows {
			v, category := math.NaN(), ""
			switch c.Name {
			case "amount":
				v = float64(ptr(o.Amount, float32(math.NaN())))
			case "items":
				v = float64(o.Items)
			case "w":
				v = o.W
			case "score":
				v = float64(ptr(o.Probability, float32(math.NaN())))
			case "t":
				category = o.Country
			case "n":
				category = map[bool]string{false: "false", true: "true"}[o.Member]
			case "label":
				category = ptr(o.Note, "missing")
			}
			switch {
			case category == "missing", c.Categories == nil && math.IsNaN(v):
				missing++
			case c.Categories != nil:
				frequency[category]++
			default:
				values = append(values, v)
			}
		}
		require.Equal(t, missing, c.Missing, c.Name)
		if c.Categories != nil {
			require.Zero(t, c.Other, c.Name)
			require.Len(t, c.Categories, len(frequency), c.Name)
			for i, category := range c.Categories {
				require.Equal(t, frequency[category], c.Counts[i], "%s %q", c.Name, category)
			}
			require.True(t, slices.IsSortedFunc(c.Counts, func(a, b int64) int { return int(b - a) }), c.Name)
			continue
		}
		slices.Sort(values)
		finite := slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsInf(v, 0) })
		var at []float64
		for _, rank := range profile.EdgeRanks(int64(len(finite))) {
			at = append(at, finite[rank])
		}
		require.Equal(t, profile.Edges(at, finite[0]), c.Edges, c.Name)
		counts := make([]int64, len(c.Edges)+1)
		for _, v := range values {
			counts[len(c.Edges)-len(slices.DeleteFunc(slices.Clone(c.Edges), func(e float64) bool { return e <= v }))]++
		}
		require.Equal(t, counts, c.Counts, c.Name)
	}

	_, err = store.MakeReference(t.Context(), w.Manifest, []profile.Span{hour(9)})
	require.ErrorIs(t, err, history.ErrNoRows)
	_, err = store.MakeReference(t.Context(), w.Manifest, nil)
	require.ErrorIs(t, err, history.ErrNoRows)
}

func ptr[T any](p *T, none T) T {
	if p == nil {
		return none
	}
	return *p
}

// TestReferenceLeavesIdentifiersOut stores texts that hardly repeat, and columns without values.
func TestReferenceLeavesIdentifiersOut(t *testing.T) {
	w := historytest.NewWorld(t)
	var rows []historytest.Observation
	for i := range 500 {
		o := w.Observe(historytest.Start.Add(time.Duration(i)*time.Second), i, 0)
		o.Note, o.Amount, o.W, o.Outcome = &o.RequestID, nil, 7, schemas.OutcomeOK
		rows = append(rows, o)
	}
	w.Put(rows)
	store := history.New(w, w.Database())
	ref, err := store.MakeReference(t.Context(), w.Manifest, []profile.Span{hour(0)})
	require.NoError(t, err)
	_, ok := ref.Column("label")
	require.False(t, ok)
	amount, _ := ref.Column("amount")
	require.Equal(t, &schemas.ReferenceColumn{Name: "amount", Edges: []float64{0}, Counts: []int64{0, 0}, Missing: 500}, amount)
	constant, _ := ref.Column("w")
	require.Equal(t, []int64{0, 500, 0}, constant.Counts)

	only := *w.Manifest
	only.Features, only.Outputs = slices.DeleteFunc(slices.Clone(only.Features), func(f schemas.Feature) bool { return f.Name != "label" }), nil
	_, err = store.MakeReference(t.Context(), &only, []profile.Span{hour(0)})
	require.ErrorIs(t, err, history.ErrNoColumns, "there are rows, and identifiers alone")

	w.Manifest.Monitoring.Checks = append(w.Manifest.Monitoring.Checks, schemas.Check{Stattest: schemas.StattestPSI, Column: "label", Threshold: 0.1})
	ref, err = store.MakeReference(t.Context(), w.Manifest, []profile.Span{hour(0)})
	require.NoError(t, err)
	label, ok := ref.Column("label")
	require.True(t, ok, "a check names it")
	require.Len(t, label.Categories, profile.MaxCategories)
	require.Equal(t, int64(400), label.Other)
}
