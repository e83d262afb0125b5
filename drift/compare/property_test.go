package compare_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/compare"
)

func drawColumn(t *rapid.T, kind string, rows int) any {
	switch kind {
	case "num":
		scale := rapid.SampledFrom([]float64{1e-300, 1e-9, 1, 1e9, 1e300, math.MaxFloat64}).Draw(t, "scale")
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float64 {
			switch k := rapid.IntRange(0, 30).Draw(t, "value"); k {
			case 0:
				return math.NaN()
			case 1:
				return math.Inf(-1)
			default:
				return scale * rapid.Float64Range(-1, 1).Draw(t, "of scale")
			}
		}), rows, rows).Draw(t, "numbers")
	case "int":
		return rapid.SliceOfN(rapid.Int64Range(-rapid.Int64Range(0, 1<<60).Draw(t, "to"), 3), rows, rows).Draw(t, "integers")
	case "bool":
		return rapid.SliceOfN(rapid.Bool(), rows, rows).Draw(t, "booleans")
	default:
		return rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "\x00", "ü", "\xff", "</script>", strings.Repeat("x", 300)}), rows, rows).Draw(t, "texts")
	}
}

// TestAnyTables: whatever the values, a comparison is an error in words or a result that all
// writers take, that keeps the schema, and in which a table does not drift from itself.
func TestAnyTables(t *testing.T) {
	root := readSchema(t)
	rapid.Check(t, func(rt *rapid.T) {
		rows := [2]int{rapid.IntRange(1, 80).Draw(rt, "rows"), rapid.IntRange(1, 80).Draw(rt, "current rows")}
		var columns [2][]namedColumn
		for _, name := range []string{"p", "q", "r"}[:rapid.IntRange(1, 3).Draw(rt, "columns")] {
			kind := rapid.SampledFrom([]string{"num", "int", "bool", "text"}).Draw(rt, "kind")
			for k := range columns {
				columns[k] = append(columns[k], namedColumn{name, drawColumn(rt, kind, rows[k])})
			}
		}
		a, b := newTable(t, "a", columns[0]...), newTable(t, "b", columns[1]...)
		o := compare.Options{
			MinRows: new(rapid.IntRange(1, 30).Draw(rt, "minimum")), AllTests: rapid.IntRange(0, 5).Draw(rt, "all tests") == 5,
			Bins:       rapid.SampledFrom([]string{"", "width", "sturges", "evidently", "0,1,2"}).Draw(rt, "bins"),
			Correction: rapid.SampledFrom([]string{"", "holm", "bh", "bonferroni", "none"}).Draw(rt, "correction"),
			Rule:       rapid.SampledFrom([]string{"", "evidently"}).Draw(rt, "rule"),
			Calibrate:  compare.Calibration{Chunks: rapid.SampledFrom([]int{0, 8}).Draw(rt, "chunks")},
			Segment:    rapid.SampledFrom([]string{"", "p"}).Draw(rt, "segment"),
			Memory:     rapid.SampledFrom([]int64{0, 1 << 10}).Draw(rt, "memory"),
		}
		for _, current := range []*memoryTable{a, b} {
			r, err := compare.Compare(t.Context(), a, current, o)
			if err != nil {
				require.NotEmpty(rt, err.Error())
				continue
			}
			var out bytes.Buffer
			require.NoError(rt, compare.WriteJSON(&out, r, false))
			require.NoError(rt, compare.WriteTable(io.Discard, r, true, 80))
			require.NoError(rt, compare.WriteHTML(io.Discard, r, time.Time{}))
			var document any
			require.NoError(rt, json.Unmarshal(out.Bytes(), &document))
			require.NoError(rt, root.check(root, document, "comparison"))
			if current == a && o.Memory == 0 { // samples of the sides differ
				for _, c := range r.Columns {
					require.False(rt, c.Drifted && c.Threshold > 0, "%s: %s", c.Column, c.Explanation)
				}
			}
		}
	})
}
