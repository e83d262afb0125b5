package profile_test

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
	"github.com/millrace/millrace/schemas/observe/observetest"
)

// shop is a version with a column of each type, and a plan of them.
func shop() (*schemas.Manifest, *profile.Plan) {
	m := &schemas.Manifest{
		Name: "shop", Version: "1",
		Features: []schemas.Feature{
			{Name: "f64", Type: schemas.TypeFloat64, Optional: true},
			{Name: "f32", Type: schemas.TypeFloat32, Optional: true},
			{Name: "i32", Type: schemas.TypeInt32, Optional: true},
			{Name: "i64", Type: schemas.TypeInt64, Optional: true},
			{Name: "flag", Type: schemas.TypeBool, Optional: true},
			{Name: "text", Type: schemas.TypeString, Optional: true},
			{Name: "category", Type: schemas.TypeCategory, Optional: true},
			{Name: "bit", Type: schemas.TypeBool, Optional: true},
		},
		Outputs: []schemas.Output{{Name: "score", Type: schemas.TypeFloat64}},
	}
	edges := []float64{-math.MaxFloat64, -2, -1, -5e-324, 0, 5e-324, 0.1, float64(float32(0.1)), 1, 1 << 53, 1<<53 + 2, 1e300}
	return m, &profile.Plan{
		Model: "shop", Version: "1", Bucket: time.Minute, Segments: []string{"category", "flag"},
		Columns: []profile.Column{
			{Name: "f64", Edges: edges},
			{Name: "f32", Edges: edges},
			{Name: "i32", Edges: []float64{-1, 0, 3}},
			{Name: "i64", Edges: edges},
			{Name: "flag", Categories: []string{"true"}},
			{Name: "text", Categories: []string{"", "a", "größe", "it's"}},
			{Name: "category", Categories: []string{"b", "a", "\xff"}},
			{Name: "bit", Edges: []float64{1}},
			{Name: "score", Edges: []float64{0.25, 0.5, 0.75}},
		},
	}
}

// hardRow is a row of the shop.
type hardRow struct {
	event                     int64
	variant, outcome, version string
	values                    map[string]any
}

func drawRows(t *rapid.T, m *schemas.Manifest, n int) []hardRow {
	float := rapid.OneOf(rapid.SampledFrom([]float64{
		0, math.Copysign(0, -1), 5e-324, -5e-324, math.NaN(), math.Inf(1), math.Inf(-1), 0.1, float64(float32(0.1)),
		1, -1, -2, 1 << 53, 1<<53 + 2, 1e300, math.MaxFloat64, -math.MaxFloat64, math.Float64frombits(0x7ff8_0000_4e55_4c4c),
	}), rapid.Float64(), rapid.Float64Range(-3, 3))
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "a", "b", "größe", "it's", "(others)", "\xff"}), rapid.StringN(0, 3, 3))
	draw := func(f schemas.FeatureType) any {
		switch f {
		case schemas.TypeFloat64:
			return float.Draw(t, "f64")
		case schemas.TypeFloat32:
			return float32(float.Draw(t, "f32"))
		case schemas.TypeInt32:
			return rapid.OneOf(rapid.Int32(), rapid.Int32Range(-2, 4)).Draw(t, "i32")
		case schemas.TypeInt64:
			return rapid.OneOf(rapid.Int64(), rapid.Int64Range(1<<53-2, 1<<53+4), rapid.Int64Range(-2, 2)).Draw(t, "i64")
		case schemas.TypeBool:
			return rapid.Bool().Draw(t, "bool")
		default:
			return text.Draw(t, "text")
		}
	}
	rows := make([]hardRow, n)
	for i := range rows {
		r := hardRow{
			event:   rapid.Int64Range(-150_000_000, 150_000_000).Draw(t, "event"),
			variant: rapid.SampledFrom([]string{"", "", "b"}).Draw(t, "variant"),
			outcome: rapid.SampledFrom([]string{"ok", "ok", "ok", "failed"}).Draw(t, "outcome"),
			version: rapid.SampledFrom([]string{"1", "1", "1", "2"}).Draw(t, "version"),
			values:  map[string]any{},
		}
		for _, f := range m.Features {
			if rapid.IntRange(0, 5).Draw(t, "null") > 0 {
				r.values[f.Name] = draw(f.Type)
			}
		}
		if r.outcome == "ok" {
			r.values["score"] = float.Draw(t, "score")
		}
		rows[i] = r
	}
	return rows
}

func streamOf(tb testing.TB, m *schemas.Manifest, rows []hardRow, cuts []int) []byte {
	tb.Helper()
	w := observetest.Rows{
		Manifest: m, Event: func(row int) int64 { return rows[row].event },
		Value:   func(column string, row int) any { return rows[row].values[column] },
		Variant: func(row int) string { return rows[row].variant },
		Outcome: func(row int) string { return rows[row].outcome },
		Version: func(row int) string { return rows[row].version },
	}
	return w.Stream(tb, cuts)
}

// add counts an observation record.
func add(c *profile.Counter, value []byte) error {
	r := observe.NewReader()
	s, messages, err := r.Read(&schemas.Record{Value: value}, func(schemas.Coordinates, int64) {})
	if err != nil {
		return err
	}
	return r.Batches(s, messages, c.Add)
}

// naive is what is counted of one column in one block.
type naive struct {
	row            profile.Row
	sum, squares   *big.Float
	scale, squared float64 // sums of magnitudes
	values         []float64
	unseen         map[string]uint64
}

func key(r profile.Row) string {
	return fmt.Sprintf("%q %d %q %q %q", r.Variant, r.Bucket.UnixMicro(), r.Segment, r.Value, r.Column)
}

// count counts rows one by one.
func count(plan *profile.Plan, rows []hardRow) map[string]*naive {
	out := map[string]*naive{}
	for _, row := range rows {
		if row.outcome != "ok" || row.version != plan.Version {
			continue
		}
		bucket := time.UnixMicro(int64(math.Floor(float64(row.event)/6e7)) * 6e7).UTC()
		blocks := []profile.Row{{Variant: row.variant, Bucket: bucket}}
		for _, s := range plan.Segments {
			value := ""
			if v, ok := row.values[s]; ok {
				value = fmt.Sprint(v)
				i := slices.IndexFunc(plan.Columns, func(c profile.Column) bool { return c.Name == s })
				if value != "" && !slices.Contains(plan.Columns[i].Categories, value) {
					value = profile.OtherValues
				}
			}
			blocks = append(blocks, profile.Row{Variant: row.variant, Bucket: bucket, Segment: s, Value: value})
		}
		for _, b := range blocks {
			for i := range plan.Columns {
				b.Column = plan.Columns[i].Name
				n := out[key(b)]
				if n == nil {
					n = &naive{row: b, sum: new(big.Float).SetPrec(3000), squares: new(big.Float).SetPrec(3000), unseen: map[string]uint64{}}
					n.row.Cells = make([]uint64, max(len(plan.Columns[i].Categories), len(plan.Columns[i].Edges)+1))
					n.row.Min, n.row.Max = math.Inf(1), math.Inf(-1)
					out[key(b)] = n
				}
				n.add(&plan.Columns[i], row.values[b.Column])
			}
		}
	}
	return out
}

func (n *naive) add(c *profile.Column, v any) {
	n.row.Rows++
	if v == nil {
		n.row.Missing++
		return
	}
	if len(c.Edges) == 0 {
		if i := slices.Index(c.Categories, fmt.Sprint(v)); i >= 0 {
			n.row.Cells[i]++
		} else {
			n.row.Other++
			n.unseen[fmt.Sprint(v)]++
		}
		return
	}
	var x float64
	switch v := v.(type) {
	case float64:
		x = v
	case float32:
		x = float64(v)
	case int32:
		x = float64(v)
	case int64:
		x = float64(v)
	case bool:
		if v {
			x = 1
		}
	}
	if math.IsNaN(x) {
		n.row.NaN++
		return
	}
	cell := 0
	for _, e := range c.Edges {
		if e <= x {
			cell++
		}
	}
	n.row.Cells[cell]++
	switch {
	case x == math.Inf(1):
		n.row.PositiveInf++
	case x == math.Inf(-1):
		n.row.NegativeInf++
	default:
		n.row.Min, n.row.Max = min(n.row.Min, x+0), max(n.row.Max, x+0) // -0 is 0
		d := x - c.Origin()
		if math.IsInf(d, 0) || math.IsInf(d*d, 0) {
			n.squared = math.Inf(1)
		}
		if !math.IsInf(d, 0) {
			n.sum.Add(n.sum, big.NewFloat(d))
			n.squares.Add(n.squares, new(big.Float).SetPrec(200).Mul(big.NewFloat(d), big.NewFloat(d)))
		}
		n.scale += math.Abs(d)
		n.squared += d * d
		n.values = append(n.values, x)
	}
}

// requireCounted compares rows with those that were counted one by one.
func requireCounted(t require.TestingT, want map[string]*naive, got []profile.Row) {
	require.Len(t, got, len(want))
	for _, r := range got {
		n := want[key(r)]
		require.NotNil(t, n, key(r))
		cells := slices.Clone(n.row.Cells)
		for len(cells) > 0 && cells[len(cells)-1] == 0 {
			cells = cells[:len(cells)-1]
		}
		require.Equal(t, cells, r.Cells, key(r))
		total := r.Missing + r.NaN + r.Other
		for _, k := range r.Cells {
			total += k
		}
		require.Equal(t, r.Rows, total)
		w := n.row
		w.Cells, w.Sum, w.SumSquares, w.Unseen, w.Sketch = r.Cells, r.Sum, r.SumSquares, r.Unseen, r.Sketch
		require.Equal(t, w.Bucket, r.Bucket)
		require.Equal(t, fmt.Sprint(w), fmt.Sprint(r)) // NaN is equal to itself
		sum, _ := n.sum.Float64()
		squares, _ := n.squares.Float64()
		if !math.IsInf(n.scale, 0) {
			require.InDelta(t, sum, r.Sum, 4e-15*n.scale+5e-324, key(r))
		}
		if !math.IsInf(n.squared, 0) {
			require.InDelta(t, squares, r.SumSquares, 4e-15*n.squared+float64(r.Rows)*5e-324, key(r))
		} else {
			require.False(t, r.SumSquares < math.MaxFloat64, key(r))
		}
		require.Equal(t, topOf(n.unseen), r.Unseen, key(r))
	}
}

func topOf(all map[string]uint64) map[string]uint64 {
	type entry struct {
		text string
		n    uint64
	}
	var entries []entry
	for text, n := range all {
		entries = append(entries, entry{text, n})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.text, b.text)) })
	var out map[string]uint64
	for _, e := range entries[:min(len(entries), profile.MaxUnseen)] {
		if out == nil {
			out = map[string]uint64{}
		}
		out[e.text] = e.n
	}
	return out
}

func TestCounterEqualsRowsOneByOne(t *testing.T) {
	m, plan := shop()
	rapid.Check(t, func(rt *rapid.T) {
		c, err := profile.NewCounter(plan)
		require.NoError(rt, err)
		for range rapid.IntRange(1, 2).Draw(rt, "resets") {
			c.Reset()
			rows := drawRows(rt, m, rapid.IntRange(0, 60).Draw(rt, "rows"))
			cuts := append(rapid.SliceOfN(rapid.IntRange(0, len(rows)), 0, 4).Draw(rt, "cuts"), 0, len(rows))
			slices.Sort(cuts)
			require.NoError(rt, add(c, streamOf(t, m, rows, cuts)))
			want := count(plan, rows)
			requireCounted(rt, want, c.Rows())
			requireCounted(rt, want, c.Rows()) // as before
		}
	})
}

// TestCounterOfBatches: all but the last digits of sums is the same however rows are cut, and what two
// Counters count adds up.
func TestCounterOfBatches(t *testing.T) {
	m, plan := shop()
	rapid.Check(t, func(rt *rapid.T) {
		rows := drawRows(rt, m, rapid.IntRange(1, 60).Draw(rt, "rows"))
		at := rapid.IntRange(0, len(rows)).Draw(rt, "at")
		counters := make([]*profile.Counter, 3)
		for i, cuts := range [][]int{{0, len(rows)}, {0, at}, {at, len(rows)}} {
			c, err := profile.NewCounter(plan)
			require.NoError(rt, err)
			require.NoError(rt, add(c, streamOf(t, m, rows, cuts)))
			counters[i] = c
		}
		sums := map[string]profile.Row{}
		for _, c := range counters[1:] {
			for _, r := range c.Rows() {
				s, ok := sums[key(r)]
				if !ok {
					s = profile.Row{Min: math.Inf(1), Max: math.Inf(-1)}
				}
				s.Rows, s.Missing, s.NaN, s.Other = s.Rows+r.Rows, s.Missing+r.Missing, s.NaN+r.NaN, s.Other+r.Other
				s.PositiveInf, s.NegativeInf = s.PositiveInf+r.PositiveInf, s.NegativeInf+r.NegativeInf
				cells := make([]uint64, max(len(s.Cells), len(r.Cells)))
				for _, from := range [][]uint64{s.Cells, r.Cells} {
					for i, n := range from {
						cells[i] += n
					}
				}
				s.Cells, s.Min, s.Max = cells, min(s.Min, r.Min), max(s.Max, r.Max)
				sums[key(r)] = s
			}
		}
		all := counters[0].Rows()
		require.Len(rt, sums, len(all))
		for _, r := range all {
			s := sums[key(r)]
			require.Equal(rt, []any{r.Rows, r.Missing, r.NaN, r.Other, r.PositiveInf, r.NegativeInf, r.Cells, r.Min + 0, r.Max + 0},
				[]any{s.Rows, s.Missing, s.NaN, s.Other, s.PositiveInf, s.NegativeInf, s.Cells, s.Min + 0, s.Max + 0}, key(r))
		}
		c, err := profile.NewCounter(plan)
		require.NoError(rt, err)
		require.NoError(rt, add(c, streamOf(t, m, rows, []int{0, at})))
		require.NoError(rt, add(c, streamOf(t, m, rows, []int{at, len(rows)})))
		for i, r := range c.Rows() {
			require.Equal(rt, all[i].Sketch, r.Sketch)
		}
	})
}

// TestCounterBins puts values by each of many edges, and edges at the ends of slots.
func TestCounterBins(t *testing.T) {
	m := &schemas.Manifest{Name: "m", Version: "1", Features: []schemas.Feature{{Name: "x", Type: schemas.TypeFloat64}}}
	rapid.Check(t, func(rt *rapid.T) {
		one := rapid.OneOf(rapid.Float64(), rapid.Float64Range(-1, 1), rapid.Float64Range(1990, 2030), rapid.SampledFrom([]float64{0, 5e-324, -5e-324, math.MaxFloat64, -math.MaxFloat64}))
		edges := rapid.SliceOfN(one, 1, 60).Draw(rt, "edges")
		for i := range edges {
			edges[i] += 0
		}
		slices.Sort(edges)
		edges = slices.Compact(edges)
		plan := &profile.Plan{Model: "m", Version: "1", Bucket: time.Minute, Columns: []profile.Column{{Name: "x", Edges: edges}}}
		var rows []hardRow
		put := func(x float64) {
			rows = append(rows, hardRow{outcome: "ok", version: "1", values: map[string]any{"x": x}})
		}
		for _, e := range edges {
			put(e)
			put(math.Nextafter(e, math.Inf(1)))
			put(math.Nextafter(e, math.Inf(-1)))
		}
		for _, x := range rapid.SliceOfN(one, 0, 100).Draw(rt, "values") {
			put(x)
		}
		want := count(plan, rows)
		c, err := profile.NewCounter(plan)
		require.NoError(rt, err)
		value := streamOf(t, m, rows, []int{0, len(rows)})
		require.NoError(rt, add(c, value))
		requireCounted(rt, want, c.Rows())
		times := 1 + 2100/len(rows) // beyond which values are counted by slot
		for range times - 1 {
			require.NoError(rt, add(c, value))
		}
		got := c.Rows()[0]
		for i, n := range got.Cells {
			require.Equal(rt, want[key(got)].row.Cells[i]*uint64(times), n)
		}
		weight := 0.0
		for _, k := range centroidsOf(rt, got.Sketch) {
			weight += k[1]
		}
		require.Equal(rt, float64(got.Finite()), weight)
	})
}

// centroidsOf reads a sketch: means and weights.
func centroidsOf(t require.TestingT, sketch []byte) (out [][2]float64) {
	n, used := binary.Uvarint(sketch)
	require.Positive(t, used)
	require.Len(t, sketch, used+8*int(n))
	last := math.Inf(-1)
	for at := used; at < len(sketch); at += 8 {
		c := [2]float64{
			float64(math.Float32frombits(binary.LittleEndian.Uint32(sketch[at:]))),
			float64(math.Float32frombits(binary.LittleEndian.Uint32(sketch[at+4:]))),
		}
		require.GreaterOrEqual(t, c[0], last)
		require.Positive(t, c[1])
		last = c[0]
		out = append(out, c)
	}
	return out
}

func TestCounterUnseen(t *testing.T) {
	m := &schemas.Manifest{Name: "m", Version: "1", Features: []schemas.Feature{{Name: "x", Type: schemas.TypeString}}}
	plan := &profile.Plan{Model: "m", Version: "1", Bucket: time.Minute, Columns: []profile.Column{{Name: "x", Categories: []string{"a"}}}}
	var rows []hardRow
	for i := range 20_000 { // two in three are rare
		x := strconv.Itoa(i % 5)
		if i%3 > 0 {
			x = "rare " + strconv.Itoa(i)
		}
		rows = append(rows, hardRow{outcome: "ok", version: "1", values: map[string]any{"x": x}})
	}
	want := count(plan, rows)
	c, err := profile.NewCounter(plan)
	require.NoError(t, err)
	require.NoError(t, add(c, streamOf(t, m, rows, []int{0, len(rows)})))
	got := c.Rows()[0]
	require.Len(t, got.Unseen, profile.MaxUnseen)
	for i := range 5 {
		n := want[key(got)].unseen[strconv.Itoa(i)]
		require.LessOrEqual(t, got.Unseen[strconv.Itoa(i)], n)
		require.GreaterOrEqual(t, got.Unseen[strconv.Itoa(i)]+got.Other/129, n)
	}
}
