//go:build cgo

package onnx_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
	"github.com/millrace/millrace/schemas"
)

type row = map[string]any

func TestConversions(t *testing.T) {
	m := loadModel(t, "codes", codesManifest)
	inst, alloc := newInstance(t, m)
	got, failed := predict(t, m, inst, alloc, []row{
		{"carrier": "UA", "urgent": true, "weight": 7},
		{"carrier": "ZZ", "urgent": false, "weight": -7},
		{"carrier": nil, "urgent": false, "weight": -1},
		{"carrier": "AA", "urgent": true, "weight": 0},
		{"carrier": "YY", "urgent": true, "weight": 0},
	})
	require.Empty(t, failed)
	require.Equal(t, []row{
		{"carrier_code": 1.0, "urgent_code": 1.0, "weight_code": 7.0, "total": 9.0},
		{"carrier_code": -1.0, "urgent_code": 0.0, "weight_code": -7.0, "total": -8.0},
		{"carrier_code": -1.0, "urgent_code": 0.0, "weight_code": -1.0, "total": -2.0},
		{"carrier_code": 0.0, "urgent_code": 1.0, "weight_code": 0.0, "total": 1.0},
		{"carrier_code": -1.0, "urgent_code": 1.0, "weight_code": 0.0, "total": 0.0},
	}, got)
}

// The linear model is 0.5a - 1.25b + 2c + 0.75, of floats.
func TestNumbersAreCastAndNullIsNaN(t *testing.T) {
	m := loadModel(t, "linear", linearManifest)
	inst, alloc := newInstance(t, m)
	got, failed := predict(t, m, inst, alloc, []row{
		{"a": 2, "b": 4, "c": 10},
		{"a": 2, "b": nil, "c": 10},
		{"a": 0, "b": 0, "c": 0},
	})
	require.Equal(t, []row{{"y": 16.75}, {"y": nil}, {"y": 0.75}}, got)
	require.Equal(t, []schemas.RowError{
		{Row: 1, RequestError: schemas.Errorf(schemas.ErrorClassInvalidPrediction, `output "y" is NaN`)},
	}, failed)
}

func TestStringsFromCategoriesAndNull(t *testing.T) {
	manifest := strings.Replace(multiInputManifest, "carrier, type: string", "carrier, type: category, categories: [AA, UA, WN]", 1)
	m := loadModel(t, "multi_input", manifest)
	inst, alloc := newInstance(t, m)
	got, failed := predict(t, m, inst, alloc, []row{
		{"price": 1, "count": 1, "carrier": "UA", "urgent": true},
		{"price": 1, "count": 1, "carrier": "ZZ", "urgent": true},
		{"price": 1, "count": 1, "carrier": nil, "urgent": true},
	})
	require.Empty(t, failed)
	require.Equal(t, []row{
		{"total": 3.0, "carrier_out": "UA", "relaxed": false, "count_out": 1.0},
		{"total": 0.0, "carrier_out": "ZZ", "relaxed": false, "count_out": 1.0},
		{"total": 0.0, "carrier_out": "", "relaxed": false, "count_out": 1.0},
	}, got)
}

func TestSlicedBatch(t *testing.T) {
	m := loadModel(t, "codes", codesManifest)
	inst, alloc := newInstance(t, m)
	in := batch(t, m, alloc, []row{
		{"carrier": "AA", "urgent": true, "weight": 1},
		{"carrier": nil, "urgent": true, "weight": -1},
		{"carrier": "WN", "urgent": false, "weight": 3},
		{"carrier": "ZZ", "urgent": true, "weight": 4},
	})
	defer in.Release()
	part := in.NewSlice(1, 3)
	defer part.Release()
	out, failed, err := inst.Predict(context.Background(), part)
	require.NoError(t, err)
	defer out.Release()
	require.Empty(t, failed)
	require.Equal(t, []row{
		{"carrier_code": -1.0, "urgent_code": 1.0, "weight_code": -1.0, "total": -1.0},
		{"carrier_code": 2.0, "urgent_code": 0.0, "weight_code": 3.0, "total": 5.0},
	}, jsonRows(t, out))
}

// The graph takes an index from -3 to 2.
func TestRowsThatFailAreAlone(t *testing.T) {
	for _, preferred := range []string{"0", "1", "4", "100"} {
		t.Run("preferred "+preferred, func(t *testing.T) {
			m := loadModel(t, "gather", gatherManifest+"\nbatch: {preferred_batch_size: "+preferred+"}")
			inst, alloc := newInstance(t, m)
			var rows, want []row
			var wantFailed []int
			for i := range 50 {
				index := i % 3
				answer := any(float64(10 * (index + 1)))
				if i == 0 || i == 7 || i == 8 || i == 49 {
					index, answer = 99, nil
					wantFailed = append(wantFailed, i)
				}
				rows = append(rows, row{"index": index})
				want = append(want, row{"price": answer})
			}
			for range 2 {
				got, failed := predict(t, m, inst, alloc, rows)
				require.Equal(t, want, got)
				require.Len(t, failed, len(wantFailed))
				for i, f := range failed {
					require.Equal(t, wantFailed[i], f.Row)
					require.Equal(t, schemas.ErrorClassInferenceFailed, f.Class)
					require.Contains(t, f.Reason, "model gather/1 failed on this row: ")
					require.Contains(t, f.Reason, "idx=99")
					require.NotContains(t, f.Reason, "\n")
				}
				// The next batch knows nothing of it.
				got, failed = predict(t, m, inst, alloc, []row{{"index": 0}})
				require.Empty(t, failed)
				require.Equal(t, []row{{"price": 10.0}}, got)
			}
		})
	}
}

// ONNX Runtime dies of the lowest whole number divided by -1, and so would each worker that gets the
// request again. Where a graph divides, that number is refused; where it does not, it is answered.
func TestLowestWholeNumbersAreNotDivided(t *testing.T) {
	m := loadModel(t, "divide", `
features:
  - {name: a, type: int64, min: 1, max: 9}
  - {name: b, type: int64, min: 1, max: 9}
  - {name: c, type: int32, min: 1, max: 9}
  - {name: d, type: int32, min: 1, max: 9}
outputs:
  - {name: q, type: int64}
  - {name: r, type: int32}
`)
	inst, alloc := newInstance(t, m)
	const least, least32 = math.MinInt64, math.MinInt32
	got, failed := predict(t, m, inst, alloc, []row{
		{"a": 8, "b": 2, "c": 9, "d": -3},
		{"a": least, "b": -1, "c": 1, "d": 1},
		{"a": least + 1, "b": -1, "c": least32 + 1, "d": -1},
		{"a": 1, "b": 1, "c": least32, "d": -1},
		{"a": 1, "b": least, "c": 1, "d": 1},
		{"a": 1, "b": 1, "c": 6, "d": 2},
	})
	require.Len(t, failed, 3)
	for i, at := range []int{1, 3, 4} {
		require.Equal(t, at, failed[i].Row)
		require.Equal(t, schemas.ErrorClassOutOfRange, failed[i].Class)
	}
	require.Contains(t, failed[0].Reason, `"a" is -9223372036854775808 to the graph, which does not fit its input "a"`)
	require.Contains(t, failed[1].Reason, `"c" is -2147483648 to the graph`)
	require.EqualValues(t, 4, got[0]["q"])
	require.EqualValues(t, -3, got[0]["r"])
	require.EqualValues(t, 3, got[5]["r"])
	require.Nil(t, got[1]["q"])
}

func TestLoadsWhereMadeUpRowsFail(t *testing.T) {
	m := loadModel(t, "gather", strings.Replace(gatherManifest, "max: 2", "max: 99", 1))
	inst, alloc := newInstance(t, m)
	got, failed := predict(t, m, inst, alloc, []row{{"index": 2}})
	require.Empty(t, failed)
	require.Equal(t, []row{{"price": 30.0}}, got)
}

func TestOutputsThatAreNotFinite(t *testing.T) {
	m := loadModel(t, "ratio", ratioManifest+"\nbatch: {preferred_batch_size: 2}")
	inst, alloc := newInstance(t, m)
	got, failed := predict(t, m, inst, alloc, []row{
		{"a": 1, "b": 2},
		{"a": 1, "b": 0},
		{"a": -1, "b": 1},
		{"a": 0, "b": 0},
		{"a": 1, "b": 4},
	})
	require.Equal(t, []row{
		{"ratio": 0.5, "ln": 0.0}, {"ratio": nil, "ln": nil}, {"ratio": nil, "ln": nil}, {"ratio": nil, "ln": nil}, {"ratio": 0.25, "ln": 0.0},
	}, got)
	var reasons []string
	for i, f := range failed {
		require.Equal(t, i+1, f.Row, "ascending, each row once")
		require.Equal(t, schemas.ErrorClassInvalidPrediction, f.Class)
		reasons = append(reasons, f.Reason)
	}
	require.Equal(t, []string{`output "ratio" is +Inf`, `output "ln" is NaN`, `output "ratio" is NaN`}, reasons)
}

func TestNullSlotsHoldNothingOfEarlierBatches(t *testing.T) {
	m := loadModel(t, "gather", gatherManifest)
	inst, alloc := newInstance(t, m)
	predict(t, m, inst, alloc, []row{{"index": 2}, {"index": 2}})
	in := batch(t, m, alloc, []row{{"index": 1}, {"index": 99}})
	defer in.Release()
	out, _, err := inst.Predict(context.Background(), in)
	require.NoError(t, err)
	defer out.Release()
	require.Equal(t, []float64{20, 0}, out.Column(0).(*array.Float64).Float64Values())
}

func TestFixedBatchIsPadded(t *testing.T) {
	m := loadModel(t, "fixed_batch", floats(3)+"\noutputs:\n  - {name: y, type: float32}\nbatch: {preferred_batch_size: 1000}")
	inst, alloc := newInstance(t, m)
	for _, n := range []int{0, 1, 3, 4, 5, 11} {
		var rows, want []row
		for i := range n {
			rows = append(rows, row{"f0": 2 * i, "f1": 0, "f2": 0})
			want = append(want, row{"y": float64(i) + 0.75})
		}
		got, failed := predict(t, m, inst, alloc, rows)
		require.Empty(t, failed)
		require.ElementsMatch(t, want, got)
	}
}

func TestPredictRefusesOtherBatches(t *testing.T) {
	m := loadModel(t, "codes", codesManifest)
	inst, alloc := newInstance(t, m)
	good := batch(t, m, alloc, []row{{"carrier": "AA", "urgent": true, "weight": 1}})
	defer good.Release()
	try := func(schema *arrow.Schema, columns ...arrow.Array) error {
		in := array.NewRecord(schema, columns, 1)
		defer in.Release()
		out, failed, err := inst.Predict(context.Background(), in)
		require.Error(t, err)
		require.Nil(t, out)
		require.Nil(t, failed)
		return err
	}
	fields := good.Schema().Fields()
	require.ErrorContains(t, try(arrow.NewSchema(fields[:2], nil), good.Columns()[:2]...), "score with model codes/1: the batch has 2 columns for 3 features")
	require.ErrorContains(t, try(arrow.NewSchema([]arrow.Field{fields[0], fields[2], fields[1]}, nil), good.Column(0), good.Column(2), good.Column(1)),
		`column 1 of the batch is "weight" of type int32, want "urgent" of type bool`)

	other := *m.Manifest
	other.Features = append([]schemas.Feature{}, m.Manifest.Features...)
	other.Features[0].Categories = []string{"UA", "AA", "WN"}
	wrong := batch(t, &inference.Model{Manifest: &other}, alloc, []row{{"carrier": "AA", "urgent": true, "weight": 1}})
	defer wrong.Release()
	require.ErrorContains(t, try(wrong.Schema(), wrong.Columns()...), `the dictionary of feature "carrier" does not start with its categories`)

	null := batch(t, m, alloc, []row{{"carrier": "AA", "urgent": nil, "weight": 1}})
	defer null.Release()
	require.ErrorContains(t, try(null.Schema(), null.Columns()...), `feature "urgent" is null in 1 rows, and it is not optional`)

	require.NoError(t, inst.Close())
	require.ErrorContains(t, try(good.Schema(), good.Columns()...), "the instance is closed")
}

func TestPredictEndsWithItsContext(t *testing.T) {
	m := loadModel(t, "gather", gatherManifest+"\nbatch: {preferred_batch_size: 2}")
	inst, alloc := newInstance(t, m)
	in := batch(t, m, alloc, []row{{"index": 1}, {"index": 1}, {"index": 1}})
	defer in.Release()
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the lane stops")
	cancel(cause)
	_, _, err := inst.Predict(ctx, in)
	require.ErrorIs(t, err, cause)
	_, failed, err := inst.Predict(&endsAfter{Context: context.Background(), calls: 1}, in)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, failed)
	_, err = onnx.Runtime{}.NewInstance(ctx, loadModel(t, "gather", gatherManifest), alloc)
	require.ErrorIs(t, err, cause)
}

// endsAfter is a context that ends when it was asked some times.
type endsAfter struct {
	context.Context
	calls int
}

func (c *endsAfter) Err() error {
	if c.calls--; c.calls < 0 {
		return context.Canceled
	}
	return nil
}

func TestAllocationsDoNotGrowWithRows(t *testing.T) {
	for graph, manifest := range map[string]string{
		"mlp":   floats(20) + mlpOutputs,
		"gbdt":  floats(20) + gbdtOutputs,
		"codes": codesManifest,

		"exporters/io_f16": floats(3) + "\noutputs:\n  - {name: y, type: float32}",
	} {
		t.Run(graph, func(t *testing.T) {
			m := loadModel(t, graph, manifest+"\nbatch: {preferred_batch_size: 64}")
			inst, err := inference.NewInstance(context.Background(), onnx.Runtime{}, m, memory.DefaultAllocator)
			require.NoError(t, err)
			defer inst.Close()
			allocs := func(rows int) float64 {
				in, err := m.Example(rows, memory.DefaultAllocator)
				require.NoError(t, err)
				defer in.Release()
				return testing.AllocsPerRun(20, func() {
					out, _, err := inst.Predict(context.Background(), in)
					if err != nil {
						panic(err)
					}
					out.Release()
				})
			}
			few, many := allocs(64), allocs(64*128)
			require.LessOrEqual(t, many, few, "a batch of one run makes %v, one of 128 runs makes %v", few, many)
			require.Less(t, few, 50.0)
		})
	}
}

func TestInstancesAreIndependent(t *testing.T) {
	m := loadModel(t, "gbdt", floats(20)+gbdtOutputs)
	alloc := memory.DefaultAllocator
	in, err := m.Example(500, alloc)
	require.NoError(t, err)
	defer in.Release()
	var group sync.WaitGroup
	results := make([]arrow.Record, 4)
	errs := make([]error, len(results))
	for lane := range results {
		group.Go(func() { // ends when it has scored
			inst, err := inference.NewInstance(context.Background(), onnx.Runtime{}, m, alloc)
			if err != nil {
				errs[lane] = err
				return
			}
			defer inst.Close()
			results[lane], _, errs[lane] = inst.Predict(context.Background(), in)
		})
	}
	group.Wait()
	for lane := range results {
		require.NoError(t, errs[lane])
		require.True(t, array.RecordApproxEqual(results[0], results[lane]))
		defer results[lane].Release()
	}
}

func TestManifestAndGraphMustAgree(t *testing.T) {
	out := "\noutputs:\n  - {name: y, type: float32}"
	for name, tc := range map[string]struct{ graph, manifest, want string }{
		"too few features": {"linear", floats(2) + out, `graph input "x" is float [?, 3], and the manifest fills it with 2 features`},
		"string feature": {
			"linear", floats(2) + "\n  - {name: s, type: string}" + out,
			`graph input "x" is float [?, 3], and the manifest says feature "s" is string, which does not convert`,
		},
		"float to int64": {
			"gather", strings.Replace(gatherManifest, "type: int64, min: 0, max: 2", "type: float32", 1),
			`feature "index" is float32, which does not convert without loss: declare it as int64`,
		},
		"double to int64": {
			"gather", strings.Replace(gatherManifest, "type: int64, min: 0, max: 2", "type: float64", 1),
			`feature "index" is float64, which does not convert without loss: declare it as int64`,
		},
		"no such output":  {"linear", floats(3) + "\noutputs:\n  - {name: z, type: float32}", `output "z" reads tensor "z", and the graph has "y"`},
		"no such column":  {"linear", floats(3) + "\noutputs:\n  - {name: y, index: 1, type: float32}", `graph output "y" is float [?, 1], and the manifest's output "y" is at index 1`},
		"measured column": {"codes", strings.ReplaceAll(floats(3), "float32", "int64") + "\noutputs:\n  - {name: y, index: 4, type: int64}", `graph output "y" is int64 [?, 4], and the manifest's output "y" is at index 4`},
		"float to int":    {"linear", floats(3) + "\noutputs:\n  - {name: y, type: int64}", `graph output "y" is float [?, 1], and the manifest says output "y" is int64, which does not convert`},
		"no such input":   {"linear", floats(3) + "\ninputs:\n  - {name: X, features: [f0, f1, f2]}" + out, `the manifest fills input "X", and the graph has "x"`},
		"unfed input":     {"multi_input", floats(1) + "\noutputs:\n  - {name: total, type: float64}", `graph input "price" (double [?, 1]) is filled by no feature`},
		"unread feature": {
			"multi_input", strings.Replace(multiInputManifest, "outputs:", "  - {name: extra, type: bool}\noutputs:", 1),
			`the manifest's feature "extra" fills no input`,
		},
		"number as string": {
			"multi_input", strings.Replace(multiInputManifest, "carrier, type: string, optional: true", "carrier, type: int64", 1),
			`graph input "carrier" is string [?, 1], and the manifest says feature "carrier" is int64`,
		},
		"number as bool": {
			"multi_input", strings.Replace(multiInputManifest, "urgent, type: bool", "urgent, type: int64", 1),
			`graph input "urgent" is bool [?], and the manifest says feature "urgent" is int64`,
		},
		"cuda": {"linear", floats(3) + out + "\ndevice: cuda", "device cuda is not available"},
	} {
		t.Run(name, func(t *testing.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer alloc.AssertSize(t, 0)
			_, err := onnx.Runtime{}.NewInstance(context.Background(), loadModel(t, tc.graph, tc.manifest), alloc)
			require.ErrorContains(t, err, "load model "+tc.graph+"/1: ")
			require.ErrorContains(t, err, tc.want)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		m := loadModel(t, "linear", floats(2)+"\noutputs:\n  - {name: z, type: float32}")
		_, err := onnx.Runtime{}.NewInstance(context.Background(), m, memory.DefaultAllocator)
		require.ErrorContains(t, err, "with 2 features")
		require.ErrorContains(t, err, `reads tensor "z"`)
	})
}

func TestCUDAFallsBackWhereAllowed(t *testing.T) {
	m := loadModel(t, "linear", floats(3)+"\noutputs:\n  - {name: y, type: float32}\ndevice: cuda\ncpu_fallback: true")
	var log bytes.Buffer
	inst, err := onnx.Runtime{Log: zerolog.New(&log)}.NewInstance(context.Background(), m, memory.DefaultAllocator)
	require.NoError(t, err)
	defer inst.Close()
	require.Contains(t, log.String(), `"model":"linear/1"`)
	require.Contains(t, log.String(), "falling back to the CPU")
	got, failed := predict(t, m, inst, memory.DefaultAllocator, []row{{"f0": 1, "f1": 0, "f2": 0}})
	require.Empty(t, failed)
	require.InDelta(t, 1.25, got[0]["y"], 1e-6)
}

func TestEmptyBatch(t *testing.T) {
	m := loadModel(t, "multi_input", multiInputManifest)
	inst, alloc := newInstance(t, m)
	got, failed := predict(t, m, inst, alloc, nil)
	require.Empty(t, got)
	require.Empty(t, failed)
}

func TestLargestFloats(t *testing.T) {
	m := loadModel(t, "linear", linearManifest)
	inst, alloc := newInstance(t, m)
	_, failed := predict(t, m, inst, alloc, []row{{"a": 0, "b": math.MaxFloat64, "c": 0}})
	require.Len(t, failed, 1, "a float64 beyond float32 is infinite to the graph")
	require.Equal(t, `output "y" is -Inf`, failed[0].Reason)
}

// Where the runtime fails on everything, no row is to blame and the batch can be retried.
func TestNoRowIsToBlameWhereAllFail(t *testing.T) {
	for graph, manifest := range map[string]string{
		"gather":      gatherManifest + "\nbatch: {preferred_batch_size: 8192}",
		"multi_input": multiInputManifest + "\nbatch: {preferred_batch_size: 8192}", // all but two types
		"codes":       codesManifest,
		"fixed_batch": floats(3) + "\noutputs:\n  - {name: y, type: float32}",
	} {
		t.Run(graph, func(t *testing.T) {
			m := loadModel(t, graph, manifest)
			inst, alloc := newInstance(t, m)
			var lost error
			runs, after := 0, 0
			onnx.FailRuns(inst, func() error {
				if runs++; runs > after {
					return lost
				}
				return nil
			})
			for _, rows := range []int{1, 2, 8192} {
				in, err := m.Example(rows, alloc)
				require.NoError(t, err)
				defer in.Release()
				for _, after = range []int{0, 1} { // the second run may be of the same batch
					lost, runs = errors.New("device\nlost"), 0
					out, failed, err := inst.Predict(context.Background(), in)
					if err == nil { // one run was enough
						require.Equal(t, 1, runs)
						require.Empty(t, failed)
						out.Release()
						continue
					}
					require.ErrorContains(t, err, "score with model "+graph+"/1: the instance is unusable: a row that it scored before fails now: device lost")
					require.Nil(t, out)
					require.Nil(t, failed)
					require.LessOrEqual(t, runs, 16, "the batch was split down to all of its rows")
				}
				lost = nil
				out, failed, err := inst.Predict(context.Background(), in)
				require.NoError(t, err, "once it works again")
				require.Empty(t, failed)
				out.Release()
			}
		})
	}
}

// A graph that scores no row of the warm-up would score no request.
func TestWarmUpInWhichEveryRowFails(t *testing.T) {
	m := loadModel(t, "gather", strings.NewReplacer("min: 0", "min: 50", "max: 2", "max: 99").Replace(gatherManifest))
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	_, err := inference.NewInstance(context.Background(), onnx.Runtime{}, m, alloc)
	require.ErrorContains(t, err, "model gather/1: it answers none of 256 rows, the first with inference_failed: ")
	require.ErrorContains(t, err, "give the features min and max, categories or defaults that the graph can score, or a sample")
}
