package reason_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/reason"
	"github.com/millrace/millrace/schemas"
)

// TestChangesAreThoseOfRuptures: where counts change clearly, the changes are those of ruptures' Binseg.
func TestChangesAreThoseOfRuptures(t *testing.T) {
	text, err := os.ReadFile("testdata/golden_reason.json")
	require.NoError(t, err)
	var golden struct {
		Changes []struct {
			Counts  [][]float64
			Changes []int
		}
		Correlations []struct {
			X, Y []float64
			Rho  float64
		}
	}
	require.NoError(t, json.Unmarshal(text, &golden))
	require.Len(t, golden.Changes, 18)
	for i, g := range golden.Changes {
		found := append([]int{}, reason.Changes(g.Counts)...)
		if len(g.Changes) <= 2 {
			require.Equal(t, g.Changes, found, "sequence %d of %d buckets", i, len(g.Counts))
		} else { // of several changes those to come make a first one look like bursts
			require.Subset(t, g.Changes, found, "sequence %d of %d buckets", i, len(g.Counts))
		}
	}
	require.Len(t, golden.Correlations, 12)
	for _, g := range golden.Correlations {
		rho, p, ok := reason.Spearman(g.X, g.Y)
		require.True(t, ok)
		require.InDelta(t, g.Rho, rho, 1e-12)
		require.True(t, p >= 0 && p <= 1)
	}
}

func TestCorrelationOfTooLittle(t *testing.T) {
	_, _, ok := reason.Spearman(make([]float64, 9), make([]float64, 9))
	require.False(t, ok, "nine windows")
	_, _, ok = reason.Spearman(make([]float64, 20), make([]float64, 20))
	require.False(t, ok, "nothing varies")
	same := []float64{3, 9, 1, 0, 7, 5, 8, 2, 4, 6}
	rho, p, ok := reason.Spearman(same, same)
	require.True(t, ok)
	require.InDelta(t, 1, rho, 1e-12)
	require.Less(t, p, 0.001)
}

// TestSegments: what changed in one value alone is said to be there.
func TestSegments(t *testing.T) {
	even, odd := profile.Counts{Cells: []int64{500, 500}}, profile.Counts{Cells: []int64{900, 100}}
	in := reason.Input{Rows: 4000, Columns: []reason.Column{{
		Name: "x", Categories: []string{"a", "b"}, Reference: profile.Counts{Cells: []int64{5000, 5000}}, Window: profile.Counts{Cells: []int64{2400, 1600}},
	}}}
	for _, value := range []string{"DE", "FR", "", "IT"} {
		s := reason.Segment{Segment: "country", Value: value, Rows: 1000, Before: []profile.Counts{even}, Window: []profile.Counts{even}}
		if value == "FR" {
			s.Window = []profile.Counts{odd}
		}
		in.Segments = append(in.Segments, s)
	}
	r, rows := reason.Of(in)
	require.Len(t, r.Segments, 1, "the others did not change")
	require.Equal(t, "FR", r.Segments[0].Value)
	require.InDelta(t, 1, r.Segments[0].Share, 1e-12)
	require.Contains(t, r.Sentence, "nearly all of it where `country` is \"FR\"")
	require.Equal(t, "a", *rows.Category)
	require.Equal(t, `category "a" rose from 50 % to 60 %`, r.Columns[0].What)
	require.Equal(t, "there are too few buckets to tell", r.Columns[0].Undated)
}

// TestWhenIsWhatIsKnown: a change is dated, one that is over has an end, and one that was there before is not dated.
func TestWhenIsWhatIsKnown(t *testing.T) {
	calm, gone := profile.Counts{Cells: []int64{30, 30}}, profile.Counts{Cells: []int64{0, 0}, Missing: 60}
	at := func(b int) time.Time { return begin.Add(time.Duration(b) * time.Minute) }
	of := func(missing func(b int) bool) schemas.Reason {
		c := reason.Column{Name: "x", Categories: []string{"a", "b"}, Reference: profile.Counts{Cells: []int64{5000, 5000}}, Window: profile.Counts{Cells: []int64{0, 0}}}
		in := reason.Input{Start: at(48), End: at(60), History: reason.History{Length: time.Minute}}
		for b := range 60 {
			counts := calm
			if missing(b) {
				counts = gone
			}
			c.Buckets, in.History.Starts = append(c.Buckets, counts), append(in.History.Starts, at(b))
			if b >= 48 {
				c.Window.Plus(counts)
			}
		}
		in.Columns = []reason.Column{c}
		r, _ := reason.Of(in)
		require.Len(t, r.Columns, 1)
		return r
	}
	r := of(func(b int) bool { return b >= 59 })
	require.Equal(t, at(59), *r.Columns[0].Since, "in the last bucket alone")
	require.Equal(t, "`x` has been missing since 2026-03-01 00:59 UTC. Whether it matters is unknown.", r.Sentence)
	r = of(func(b int) bool { return b >= 50 && b < 53 })
	require.Equal(t, at(50), *r.Columns[0].Since)
	require.Equal(t, at(53), *r.Columns[0].Until)
	require.Contains(t, r.Sentence, "`x` was missing from 2026-03-01 00:50 to 2026-03-01 00:53 UTC")
	r = of(func(b int) bool { return b >= 20 })
	require.Equal(t, at(20), *r.Columns[0].Since, "windows before")
	r = of(func(int) bool { return true })
	require.Nil(t, r.Columns[0].Since)
	require.Equal(t, "it was so already at 2026-03-01 00:00, from when on was looked", r.Columns[0].Undated)
}

// TestQualityDecides: whether it matters follows the window's figure, and is unknown where there are too few windows.
func TestQualityDecides(t *testing.T) {
	for _, tc := range []struct {
		metric  schemas.Stattest
		windows int
		now     float64
		want    schemas.Matters
	}{
		{schemas.StattestAUC, 19, 0.6, schemas.MattersYes},
		{schemas.StattestAUC, 18, 0.6, schemas.MattersUnknown},
		{schemas.StattestAUC, 30, 0.95, schemas.MattersNo},
		{schemas.StattestRMSE, 30, 99, schemas.MattersYes},
		{schemas.StattestRMSE, 30, 0.1, schemas.MattersNo},
		{schemas.StattestBias, 30, -5, schemas.MattersYes},
		{schemas.StattestAUC, 30, math.NaN(), schemas.MattersUnknown},
	} {
		in := reason.Input{Quality: reason.Quality{Metric: tc.metric, Estimated: &tc.now}}
		for i := range tc.windows {
			v := 0.8 + 0.001*float64(i%7)
			in.Past = append(in.Past, reason.Past{Estimated: &v})
		}
		r, _ := reason.Of(in)
		require.Equal(t, tc.want, r.Matters, "%v", tc)
		if tc.want != schemas.MattersUnknown {
			require.Contains(t, r.Why, "the estimated "+string(tc.metric))
		}
	}
}

// TestHostileInput: whatever the counts and names are, there is an answer, it is JSON, the same again, and bounded.
func TestHostileInput(t *testing.T) {
	const seed = 3
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, seed))
	texts := []string{"", "\x00\xff\xfe", strings.Repeat("\x01", 5000), "</script>", "it's `x`; --", strings.Repeat("größe", 300), "%s%d%!"}
	counts := func(cells int) profile.Counts {
		n := func() int64 {
			switch r.IntN(6) {
			case 0:
				return math.MaxInt64 / 1000
			case 1:
				return 1
			case 2:
				return int64(r.IntN(1000))
			}
			return 0
		}
		c := profile.Counts{Cells: make([]int64, cells), Other: n(), Missing: n()}
		for i := range c.Cells {
			c.Cells[i] = n()
		}
		return c
	}
	value := func() *float64 {
		v := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, 1e308, -1e308, 0.5}[r.IntN(7)]
		if r.IntN(4) == 0 {
			return nil
		}
		return &v
	}
	for run := range 3000 {
		in := reason.Input{Start: begin, End: begin.Add(time.Hour), Quality: reason.Quality{Metric: schemas.StattestAUC, Realised: value(), Estimated: value()}}
		in.History.Length = time.Minute
		buckets := []int{0, 1, 2, 3, 30}[r.IntN(5)]
		for b := range buckets {
			in.History.Starts = append(in.History.Starts, begin.Add(time.Duration(b-10)*time.Minute))
		}
		for range r.IntN(30) {
			c := reason.Column{Name: names[r.IntN(len(names))], Output: r.IntN(5) == 0}
			cells := r.IntN(5)
			if r.IntN(2) == 0 {
				for i := range cells {
					c.Categories = append(c.Categories, texts[i])
				}
			} else if cells > 0 {
				c.Edges = []float64{-math.MaxFloat64, -1, 0, 5e-324, math.MaxFloat64}[:cells]
				cells++
			}
			c.Reference, c.Window = counts(cells), counts(cells)
			for range buckets {
				c.Buckets = append(c.Buckets, counts(cells))
			}
			in.Columns = append(in.Columns, c)
			in.Checks = append(in.Checks, schemas.DriftResult{Column: c.Name, Stattest: "psi", Drifted: r.IntN(2) == 0})
		}
		for range r.IntN(30) {
			p := reason.Past{Realised: value(), Estimated: value(), Scores: map[string]float64{}}
			for _, c := range in.Columns {
				if v := value(); v != nil {
					p.Scores[c.Name] = *v
				}
			}
			in.Past = append(in.Past, p)
		}
		for range r.IntN(8) {
			s := reason.Segment{Segment: "s", Value: texts[r.IntN(len(texts))], Rows: uint64(r.IntN(3))}
			for _, c := range in.Columns[:r.IntN(len(in.Columns)+1)] {
				s.Before, s.Window = append(s.Before, counts(len(c.Reference.Cells))), append(s.Window, counts(len(c.Reference.Cells)))
			}
			in.Segments = append(in.Segments, s)
		}
		out, _ := reason.Of(in)
		text, err := json.Marshal(out)
		require.NoError(t, err, "run %d", run)
		require.Less(t, len(text), schemas.MaxReasonBytes/2, "run %d: %.500s", run, text)
		require.NotEmpty(t, out.Sentence)
		again, _ := reason.Of(in)
		require.Equal(t, out, again)
		total := 0.0
		for _, c := range out.Columns {
			require.False(t, c.Share < 0 || c.Share > 1.0000001, fmt.Sprint(c))
			total += c.Share
		}
		require.LessOrEqual(t, total, 1.000001)
	}
}
