package history_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// TestLabelledSince reads labels page by page while others are stored, and compares each with what
// became of it and with the error counted here: none is missing and none comes twice.
func TestLabelledSince(t *testing.T) {
	c := newClocked(t)
	const seed = 12
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	rows := append(c.Hour(0, 120, 0), c.Hour(1, 120, 1)...)
	store, ctx := history.New(c, c.Database()), t.Context()

	first := map[string]bool{}
	offsets := [3]int64{}
	want := map[schemas.Coordinates]profile.Labelled{}
	// send stores labels of a second: most of requests that there are, some again, some of nobody.
	send := func(n int) {
		var labels []storedLabel
		for range n {
			o := rows[random.IntN(len(rows))]
			p := int32(random.IntN(3))
			offsets[p] += 1 + random.Int64N(3)
			l := numbered(o.RequestID, p, offsets[p], 0)
			value := []float64{10, 15, 40}[random.IntN(3)]
			l.Label = &value
			switch random.IntN(12) {
			case 0:
				l.RequestID, o = "nobody's", historytest.Observation{RequestID: "nobody's"}
			case 1:
				l.Label, l.Class = nil, "text" // which the target cannot use
			}
			labels = append(labels, l)
			if l.Label == nil {
				continue
			}
			at := schemas.Coordinates{Partition: p, Offset: l.Offset}
			w := profile.Labelled{At: at, StoredAt: c.now, Fate: profile.LabelTaken}
			switch {
			case o.Outcome == "":
				w.Fate = profile.LabelUnknown
			case o.Outcome != schemas.OutcomeOK || o.Version != "1.0":
				w.Fate = profile.LabelForeign
			case o.Probability == nil || math.IsNaN(float64(*o.Probability)):
				w.EventTime, w.Error = o.EventTime, math.NaN()
			default:
				w.EventTime = o.EventTime
				if (*o.Probability >= 0.5) != (value > 15) {
					w.Error = 1
				}
			}
			want[at] = w
		}
		// Of a request, the first by the order in which labels are stored.
		slices.SortFunc(labels, func(a, b storedLabel) int {
			return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
		})
		for _, l := range labels {
			at := schemas.Coordinates{Partition: l.Partition, Offset: l.Offset}
			if w, ok := want[at]; ok && first[l.RequestID] {
				w.Fate = profile.LabelLater
				want[at] = w
			} else if ok {
				first[l.RequestID] = true
			}
		}
		c.tell(t, labels...)
	}
	after := profile.LabelsAfter{StoredFrom: c.now, ScoredFrom: historytest.WallClock.Add(-24 * time.Hour), Limit: 7}
	got, last := map[schemas.Coordinates]profile.Labelled{}, map[int32]schemas.Coordinates{}
	read := func() int {
		page, err := store.LabelledSince(ctx, c.Manifest, after)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), 3*after.Limit)
		for _, l := range page {
			require.NotContains(t, got, l.At, "twice")
			require.Greater(t, l.At.Offset, last[l.At.Partition].Offset, "in order")
			got[l.At], last[l.At.Partition] = l, l.At
		}
		after.Position = after.Position[:0]
		for _, at := range last {
			after.Position = append(after.Position, at)
		}
		return len(page)
	}
	require.Zero(t, read())
	for range 8 {
		send(40)
		c.now = c.now.Add(time.Second)
		read()
		read()
	}
	for read() > 0 {
	}
	require.Len(t, got, len(want))
	fates := map[profile.LabelFate]int{}
	for at, w := range want {
		g := got[at]
		fates[w.Fate]++
		require.Equal(t, w.Fate, g.Fate, "%v", at)
		require.True(t, w.StoredAt.Equal(g.StoredAt))
		if w.Fate != profile.LabelTaken {
			continue
		}
		require.True(t, w.EventTime.Equal(g.EventTime), "%v: %v and %v", at, w.EventTime, g.EventTime)
		if math.IsNaN(w.Error) {
			require.True(t, math.IsNaN(g.Error), "%v", at)
			continue
		}
		require.InDelta(t, w.Error, g.Error, 0, "%v", at)
	}
	for _, f := range []profile.LabelFate{profile.LabelTaken, profile.LabelLater, profile.LabelForeign, profile.LabelUnknown} {
		require.Positive(t, fates[f], "%v", fates)
	}

	after.StoredFrom = c.now.Add(time.Hour)
	after.Position = nil
	require.Zero(t, read(), "stored before")
}

// TestLabelledSinceOfEachTarget counts the errors of the other kinds of targets.
func TestLabelledSinceOfEachTarget(t *testing.T) {
	c := newClocked(t)
	rows := slices.DeleteFunc(c.Hour(0, 40, 0), func(o historytest.Observation) bool {
		return o.Outcome != schemas.OutcomeOK || o.Version != "1.0" || o.Probability == nil || math.IsNaN(float64(*o.Probability))
	})
	var labels []storedLabel
	for i, o := range rows {
		value := float64(i) / 7
		number := storedLabel{Model: "shop", RequestID: o.RequestID, Label: &value, ObservedAt: o.EventTime, Offset: int64(2 * i)}
		text := storedLabel{Model: "shop", RequestID: o.RequestID, Class: []string{o.Country, "another"}[i%2], ObservedAt: o.EventTime, Offset: int64(2*i + 1)}
		if text.Class == "" {
			text.Class = "none"
		}
		labels = append(labels, number, text)
	}
	c.tell(t, labels...)
	store := history.New(c, c.Database())
	after := profile.LabelsAfter{StoredFrom: c.now, ScoredFrom: historytest.WallClock.Add(-24 * time.Hour), Limit: 1000}
	for name, tc := range map[string]struct {
		target schemas.Target
		error  func(i int, o historytest.Observation) float64
	}{
		"regression": {schemas.Target{Kind: schemas.TargetRegression, Score: "score"}, func(i int, o historytest.Observation) float64 {
			return math.Abs(float64(*o.Probability) - float64(i)/7)
		}},
		"words": {schemas.Target{Kind: schemas.TargetBinary, Score: "score", Threshold: 0.3, Positive: "another"}, func(i int, o historytest.Observation) float64 {
			if (float64(*o.Probability) >= 0.3) != (i%2 == 1) {
				return 1
			}
			return 0
		}},
	} {
		m := *c.Manifest
		m.Target = &tc.target
		got, err := store.LabelledSince(t.Context(), &m, after)
		require.NoError(t, err, name)
		require.Len(t, got, len(rows), name)
		for i, o := range rows {
			require.Equal(t, profile.LabelTaken, got[i].Fate, name)
			require.InDelta(t, tc.error(i, o), got[i].Error, 1e-15, "%s %d", name, i)
		}
	}
	classes := *c.Manifest
	classes.Target = &schemas.Target{Kind: schemas.TargetMulticlass, Score: "t"}
	after.Position = []schemas.Coordinates{{Offset: 9}}
	got, err := store.LabelledSince(t.Context(), &classes, after)
	require.NoError(t, err)
	require.Len(t, got, 2*len(rows)-10)
	wrong := map[float64]int{}
	for i, l := range got { // the number, which no class is called by, was stored first
		if i%2 == 1 {
			require.Equal(t, profile.LabelLater, l.Fate)
			continue
		}
		wrong[l.Error]++
	}
	require.Equal(t, map[float64]int{1: len(rows) - 5}, wrong)
}
