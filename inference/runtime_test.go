package inference_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/schemas"
)

// doubler is a runtime whose instances answer y = 2x and seen = the color; a negative x
// fails, and NULL counts as 0.
type doubler struct {
	factor  float64 // 2 when it is right
	fail    error   // of Predict
	batches []int64 // sizes of all that were scored
	closed  int
}

type doublerInstance struct {
	*doubler
	m     *inference.Model
	alloc memory.Allocator
}

func (d *doubler) NewInstance(_ context.Context, m *inference.Model, alloc memory.Allocator) (inference.Instance, error) {
	return &doublerInstance{d, m, alloc}, nil
}

func (d *doublerInstance) Predict(_ context.Context, in arrow.Record) (arrow.Record, []schemas.RowError, error) {
	d.batches = append(d.batches, in.NumRows())
	if d.fail != nil {
		return nil, nil, d.fail
	}
	b := array.NewRecordBuilder(d.alloc, arrow.NewSchema(d.m.Manifest.OutputFields(), nil))
	defer b.Release()
	var failed []schemas.RowError
	x, color := in.Column(0).(*array.Float32), in.Column(1).(*array.Dictionary)
	for row := range x.Len() {
		if x.Value(row) < 0 {
			failed = append(failed, schemas.RowError{Row: row, RequestError: schemas.Errorf(schemas.ErrorClassInferenceFailed, "negative")})
			b.Field(0).AppendNull()
			b.Field(1).AppendNull()
			continue
		}
		y := 0.0
		if !x.IsNull(row) {
			y = d.factor * float64(x.Value(row))
		}
		b.Field(0).(*array.Float64Builder).Append(y)
		b.Field(1).(*array.StringBuilder).Append(color.ValueStr(row))
	}
	return b.NewRecord(), failed, nil
}

func (d *doublerInstance) Close() error {
	d.closed++
	return nil
}

// sampleFile returns an Arrow IPC file in batches of one row; nil is NULL.
func sampleFile(tb testing.TB, schema *arrow.Schema, rows [][]any) string {
	tb.Helper()
	var file bytes.Buffer
	w, err := ipc.NewFileWriter(nopSeeker{&file}, ipc.WithSchema(schema))
	require.NoError(tb, err)
	for _, row := range rows {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for c, v := range row {
			switch v := v.(type) {
			case nil:
				b.Field(c).AppendNull()
			case float32:
				b.Field(c).(*array.Float32Builder).Append(v)
			case float64:
				b.Field(c).(*array.Float64Builder).Append(v)
			case string:
				b.Field(c).(*array.StringBuilder).Append(v)
			}
		}
		batch := b.NewRecord()
		require.NoError(tb, w.Write(batch))
		batch.Release()
		b.Release()
	}
	require.NoError(tb, w.Close())
	return file.String()
}

// pandasFile is a right sample in the types that pandas and Polars write: text that may be large
// or categories, floats of 64 bits, columns in another order, and one more.
func pandasFile(tb testing.TB) string {
	tb.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "y", Type: arrow.PrimitiveTypes.Float64},
		{Name: "__index_level_0__", Type: arrow.PrimitiveTypes.Int64},
		{Name: "color", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, Nullable: true},
		{Name: "x", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "seen", Type: arrow.BinaryTypes.LargeString, Nullable: true},
	}, nil)
	record, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(
		`[{"y": 3, "__index_level_0__": 7, "color": "red", "x": 1.5, "seen": "red"},
		  {"y": 0, "__index_level_0__": 8, "color": "green", "x": null, "seen": "green"},
		  {"y": 2e6, "__index_level_0__": 9, "color": "mauve", "x": 1e6, "seen": null},
		  {"y": 1, "__index_level_0__": 8, "color": "green", "x": 0.5, "seen": "green"}]`))
	require.NoError(tb, err)
	defer record.Release()
	var file bytes.Buffer
	w, err := ipc.NewFileWriter(nopSeeker{&file}, ipc.WithSchema(schema))
	require.NoError(tb, err)
	require.NoError(tb, w.Write(record))
	require.NoError(tb, w.Close())
	return file.String()
}

// nopSeeker is a writer that the file writer only asks for its position.
type nopSeeker struct{ *bytes.Buffer }

func (s nopSeeker) Seek(int64, int) (int64, error) { return int64(s.Len()), nil }

func TestSelfCheck(t *testing.T) {
	parsed, err := schemas.ParseManifest("m", []byte(manifest("m", "1", "")))
	require.NoError(t, err)
	schema := parsed.SampleSchema()
	right := [][]any{
		{float32(1.5), "red", 3.0, "red"},
		{nil, "green", 0.0, "green"},
		{float32(1e6), "mauve", 2e6 * (1 + 0.9e-4), "mauve"},
		{float32(0), "red", 0.9e-4, nil},
	}
	with := func(row int, values ...any) [][]any {
		rows := append([][]any{}, right...)
		rows[row] = values
		return rows
	}
	for name, tc := range map[string]struct {
		file string
		want string
	}{
		"right":        {sampleFile(t, schema, right), ""},
		"wrong number": {sampleFile(t, schema, with(1, float32(1), "red", 2.01, "red")), `self-check: output "y" of row 1 of s.arrow is 2, and was 2.01 where the model was made`},
		"wrong text":   {sampleFile(t, schema, with(2, float32(1), "red", 2.0, "green")), `output "seen" of row 2 of s.arrow is red, and was green`},
		"not a number": {sampleFile(t, schema, with(0, float32(1), "red", math.NaN(), "red")), "is 2, and was NaN"},
		"failed row":   {sampleFile(t, schema, with(0, float32(-1), "red", 2.0, "red")), `output "y" of row 0 of s.arrow is inference_failed: negative, and was 2`},
		"required":     {sampleFile(t, schema, with(3, float32(1), nil, 2.0, "red")), `feature "color" is null in row 3, and it is not optional`},
		"no rows":      {sampleFile(t, schema, nil), "read sample s.arrow: it has no rows"},
		"no file":      {"text", "not an Arrow IPC file"},
		"few columns":  {sampleFile(t, arrow.NewSchema(schema.Fields()[:2], nil), nil), `it has 0 columns "y": it needs one of each feature and output`},
		"wrong type": {
			sampleFile(t, arrow.NewSchema(append(schema.Fields()[:3], arrow.Field{Name: "seen", Type: arrow.PrimitiveTypes.Float64}), nil),
				[][]any{{float32(1.5), "red", 3.0, 1.5}}),
			`column "seen": row 0 is 1.5, which utf8 cannot hold`,
		},
		"as pandas writes it": {pandasFile(t), ""},
		"as pandas writes it, wrong": {
			strings.Replace(pandasFile(t), "\x00\x00\x00\x00\x00\x00\x08\x40", "\x00\x00\x00\x00\x00\x00\x08\x41", 1), // 3 in the column y
			`output "y" of row 0 of s.arrow is 3, and was 196608`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer alloc.AssertSize(t, 0)
			root := t.TempDir()
			writeVersion(t, root, "m", "1", map[string]string{
				schemas.ManifestFile: manifest("m", "1", "sample: {file: s.arrow, sha256: "+digest(tc.file)+"}\n"),
				"model.onnx":         artifact, "s.arrow": tc.file,
			})
			m, err := open(t, root).Load(context.Background(), "m", "1")
			require.NoError(t, err)
			rt := &doubler{factor: 2}
			inst, err := inference.NewInstance(context.Background(), rt, m, alloc)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				require.ErrorContains(t, err, "model m/1")
				require.Equal(t, 1, rt.closed)
				return
			}
			require.NoError(t, err)
			require.NotNil(t, inst)
			require.Equal(t, append([]int64{4}, append(rowChecks(256), 256, 1)...), rt.batches, "self-check, checks of rows, then warm-up")
			checked := len(rt.batches)

			_, err = inference.NewInstance(context.Background(), rt, m, alloc)
			require.NoError(t, err)
			require.Equal(t, []int64{256, 1}, rt.batches[checked:], "a Model is checked once")

			rows, err := m.Example(6, alloc)
			require.NoError(t, err)
			defer rows.Release()
			require.Equal(t, rows.Column(0).ValueStr(0), rows.Column(0).ValueStr(4), "the sample goes round")
			require.Equal(t, "mauve", rows.Column(1).ValueStr(2))
		})
	}
}

// rowChecks are the batches by which a Model is checked to answer a row the same in all of them:
// the rows together, eight alone, one of them again, and the eight in another order.
func rowChecks(together int64) []int64 { return []int64{together, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8} }

// wideChecks are those of rows of both signs, which follow where there is no sample.
var wideChecks = []int64{8, 1, 1, 1, 1, 1, 1, 1, 1, 8}

func TestNewInstanceWithoutSample(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	root := t.TempDir()
	writeVersion(t, root, "m", "1", map[string]string{
		schemas.ManifestFile: manifest("m", "1", "batch: {preferred_batch_size: 64}\n"), "model.onnx": artifact,
	})
	m, err := open(t, root).Load(context.Background(), "m", "1")
	require.NoError(t, err)
	rt := &doubler{factor: 2}
	_, err = inference.NewInstance(context.Background(), rt, m, alloc)
	require.NoError(t, err)
	require.Equal(t, slices.Concat(rowChecks(64), wideChecks, []int64{64, 1}), rt.batches)

	rt.fail = errors.New("out of order")
	_, err = inference.NewInstance(context.Background(), rt, m, alloc)
	require.EqualError(t, err, "model m/1: warm up with 64 rows: out of order")
	require.Equal(t, 1, rt.closed)
}

func TestExampleKeepsToTheManifest(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	m := &inference.Model{Manifest: &schemas.Manifest{Features: []schemas.Feature{
		{Name: "flag", Type: schemas.TypeBool},
		{Name: "small", Type: schemas.TypeInt32, Min: new(3.0), Max: new(5.0)},
		{Name: "large", Type: schemas.TypeInt64, Min: new(100.0)},
		{Name: "cold", Type: schemas.TypeFloat32, Max: new(-10.0)},
		{Name: "share", Type: schemas.TypeFloat64},
		{Name: "text", Type: schemas.TypeString, Default: "none"},
		{Name: "color", Type: schemas.TypeCategory, Categories: []string{"red", "green"}},
	}}}
	rows, err := m.Example(200, alloc)
	require.NoError(t, err)
	defer rows.Release()
	again, err := m.Example(200, alloc)
	require.NoError(t, err)
	defer again.Release()
	require.True(t, array.RecordEqual(rows, again), "the same every time")
	require.True(t, rows.Schema().Equal(arrow.NewSchema(m.Manifest.FeatureFields(), nil)))
	distinct := make([]map[string]bool, rows.NumCols())
	for c, col := range rows.Columns() {
		distinct[c] = map[string]bool{}
		for row := range 200 {
			distinct[c][col.ValueStr(row)] = true
		}
	}
	require.Equal(t, map[string]bool{"true": true, "false": true}, distinct[0])
	require.Equal(t, map[string]bool{"3": true, "4": true, "5": true}, distinct[1])
	require.Equal(t, map[string]bool{"100": true, "101": true}, distinct[2])
	require.Greater(t, len(distinct[3]), 100)
	require.Greater(t, len(distinct[4]), 100)
	require.Equal(t, map[string]bool{"none": true}, distinct[5])
	require.Equal(t, map[string]bool{"red": true, "green": true}, distinct[6])
	for row := range 200 {
		cold := rows.Column(3).(*array.Float32).Value(row)
		require.True(t, cold >= -11 && cold <= -10, cold)
	}
}

func TestRunRowsMeasuresOnce(t *testing.T) {
	m := &inference.Model{Manifest: &schemas.Manifest{}}
	calls := 0
	_, err := m.RunRows(func() (int, error) { calls++; return 0, errors.New("not now") })
	require.EqualError(t, err, "not now")
	for range 2 {
		rows, err := m.RunRows(func() (int, error) { calls++; return 77, nil })
		require.NoError(t, err)
		require.Equal(t, 77, rows)
	}
	require.Equal(t, 2, calls)
	m.Manifest.Batch.PreferredRows = 5
	rows, err := m.RunRows(nil)
	require.NoError(t, err)
	require.Equal(t, 5, rows)
}
