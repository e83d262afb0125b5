package dataset_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/dataset"
	"github.com/millrace/millrace/drift/internal/golden"
)

// column is a column of testdata/table.json, which make_dataset.py writes.
type column struct {
	Name   string            `json:"name"`
	Type   string            `json:"type"`
	Values []json.RawMessage `json:"values"`
}

var types = map[string]arrow.DataType{
	"int64": dataset.Int64, "uint64": dataset.Uint64, "float64": dataset.Float64, "float32": dataset.Float32,
	"bool": dataset.Boolean, "text": dataset.Text, "date": dataset.Date, "timestamp": dataset.Timestamp,
}

func loadTable(tb testing.TB) []column {
	tb.Helper()
	b, err := os.ReadFile("testdata/table.json")
	require.NoError(tb, err)
	var out []column
	require.NoError(tb, json.Unmarshal(b, &out))
	return out
}

func open(tb testing.TB, path string, o dataset.Options) dataset.Source {
	tb.Helper()
	s, err := dataset.Open(tb.Context(), path, o)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

// values returns all values of the columns as texts, nulls as "null".
func values(tb testing.TB, s dataset.Source, columns ...int) [][]string {
	tb.Helper()
	out := make([][]string, len(columns))
	require.NoError(tb, s.Scan(context.Background(), columns, func(r arrow.Record) error {
		for i, c := range r.Columns() {
			require.Equal(tb, s.Schema().Field(columns[i]).Type, c.DataType())
			out[i] = append(out[i], texts(c)...)
		}
		return nil
	}))
	return out
}

func texts(c arrow.Array) []string {
	out := make([]string, c.Len())
	for i := range out {
		if c.IsNull(i) {
			out[i] = "null"
			continue
		}
		switch c := c.(type) {
		case *array.Date32:
			out[i] = strconv.Itoa(int(c.Value(i)))
		case *array.Timestamp:
			out[i] = strconv.FormatInt(int64(c.Value(i)), 10)
		case *array.String:
			b, _ := json.Marshal(c.Value(i))
			out[i] = string(b)
		default:
			out[i] = c.ValueStr(i)
		}
	}
	return out
}

func all(s dataset.Source) []int {
	var out []int
	for i, f := range s.Schema().Fields() {
		if !arrow.IsNested(f.Type.ID()) {
			out = append(out, i)
		}
	}
	return out
}

// TestGoldenTable reads the same table out of every file that pyarrow and pandas wrote.
func TestGoldenTable(t *testing.T) {
	want := loadTable(t)
	files, err := filepath.Glob("testdata/*")
	require.NoError(t, err)
	compared := 0
	for _, path := range files {
		name := filepath.Base(path)
		switch name {
		case "table.json", "nested.parquet", "pandas_index.parquet", "fuzz", "rapid": // the last two are left by failures
			continue
		}
		t.Run(name, func(t *testing.T) {
			for _, rows := range []int{0, 1, 7, 1000} {
				s := open(t, path, dataset.Options{BatchRows: rows})
				columns := all(s)
				got := values(t, s, columns...)
				for _, w := range want {
					found := s.Schema().FieldIndices(w.Name)
					if len(found) == 0 {
						continue
					}
					compareColumn(t, name, w, s.Schema().Field(found[0]).Type, got[slices.Index(columns, found[0])])
					compared++
				}
				require.Equal(t, make([]int64, s.Schema().NumFields()), s.TypeErrors())
			}
		})
	}
	require.Greater(t, compared, 200)
}

// inferred tells of formats without types, in which a float32 is any number.
func inferred(name string) bool {
	return filepath.Ext(name) != ".parquet" && filepath.Ext(name) != ".feather" && filepath.Ext(name) != ".arrow" && filepath.Ext(name) != ".arrows"
}

func compareColumn(t *testing.T, file string, w column, typ arrow.DataType, got []string) {
	t.Helper()
	wantType := types[w.Type]
	if w.Type == "float32" && inferred(file) {
		wantType = dataset.Float64
	}
	require.Equal(t, wantType, typ, w.Name)
	require.Len(t, got, len(w.Values), w.Name)
	for i, raw := range w.Values {
		what := fmt.Sprintf("%s: %s, row %d", file, w.Name, i)
		if string(raw) == "null" || string(raw) == `""` && filepath.Base(file)[:6] == "pandas" && inferred(file) {
			require.Equal(t, "null", got[i], what)
			continue
		}
		if w.Type == "float64" || w.Type == "float32" {
			var x, y float64
			require.NoError(t, json.Unmarshal(raw, &x))
			require.NoError(t, json.Unmarshal([]byte(got[i]), &y), what)
			if w.Type == "float32" {
				x, y = float64(float32(x)), float64(float32(y))
			}
			require.False(t, math.IsNaN(y))
			golden.Equal(t, golden.Read, what, x, y, 0)
			continue
		}
		var v any
		if w.Type == "text" {
			var s string
			require.NoError(t, json.Unmarshal(raw, &s))
			b, _ := json.Marshal(s)
			v = string(b)
		} else {
			v = string(raw)
		}
		require.Equal(t, v, got[i], what)
	}
}
