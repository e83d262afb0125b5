package inference

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/schemas"
)

// apartRows is how many rows are scored alone, to be compared with their answers in company.
const apartRows = 8

// Rounded is an Instance whose answers to one row may differ by more than those of float32 do, since
// other batches are computed in other orders.
type Rounded interface {
	// Rounding returns by how much, as a share of an output's greatest answer.
	Rounding() float64
}

// adviceAlone says what can be done about a model whose answers depend on the batch.
const adviceAlone = "export it so that each row is scored by itself (usual causes: a softmax, mean or normalisation over the first axis, " +
	"dynamic quantisation; torch: model.eval()), or let each row be scored alone by batch: {max_batch_size: 1} (millrace init --max-batch-size 1)"

// answers are what an instance gave for some rows.
type answers struct {
	values [][]any // by output, by row; nil where the row failed
	failed map[int]error
}

// checkRows scores the example's rows, which are at least two. It fails where none is answered:
// neither could any request be. And it scores a few of them alone, the same again, and in another
// order, and fails where an answer differs beyond tolerance: a request is answered in whatever
// batch it arrives.
func (m *Model) checkRows(ctx context.Context, inst Instance, rows arrow.Record, alloc memory.Allocator) error {
	all := int(rows.NumRows())
	together, err := m.ask(ctx, inst, rows, 0, all)
	if err != nil {
		return err
	}
	if len(together.failed) == all {
		advice := "the rows are made up by the manifest: give the features min and max, categories or defaults that the graph can score, or a sample"
		if m.Manifest.Sample != nil {
			advice = "the rows are those of " + m.Manifest.Sample.File
		}
		return fmt.Errorf("model %s: it answers none of %d rows, the first with %w; %s", m.Ref(), all, together.failed[0], advice)
	}
	apart, err := m.askApart(ctx, inst, rows)
	if err != nil {
		return err
	}
	again, err := m.ask(ctx, inst, rows, 0, 1)
	if err != nil {
		return err
	}
	if c, ok := m.differ(&apart, &again, 1, tolerance, func(row int) int { return row }); ok {
		return fmt.Errorf("model %s: output %q of one row is %s at first and %s the next time: the graph answers by chance; export it without "+
			"dropout and random numbers (torch: model.eval())", m.Ref(), c.output, c.apart, c.other)
	}
	if err := m.compare(ctx, inst, rows, &apart, &together, alloc); err != nil || m.Manifest.Sample != nil {
		return err
	}
	wide := m.wideRows(alloc)
	defer wide.Release()
	if together, err = m.ask(ctx, inst, wide, 0, apartRows); err != nil || len(together.failed) == apartRows {
		return err
	}
	if apart, err = m.askApart(ctx, inst, wide); err != nil {
		return err
	}
	return m.compare(ctx, inst, wide, &apart, &together, alloc)
}

// wideRows makes up rows whose numbers, where the manifest gives them no bounds, are of both signs
// and several sizes: those of Example are from 0 to 1, whole ones 0 or 1, and tell little of a
// graph that takes the greatest value of a batch, or asks for the sign of its sum.
func (m *Model) wideRows(alloc memory.Allocator) arrow.Record {
	b := m.newFeatureBuilder(alloc)
	defer b.Release()
	for c := range m.Manifest.Features {
		f := m.Manifest.Features[c]
		rnd := rand.New(rand.NewPCG(3, uint64(c))) //nolint:gosec // the same rows every time
		for row := range apartRows {
			least, most := -100/float64(row+1), 0.0
			if row%2 == 0 {
				least, most = 0, -least
			}
			if f.Min == nil && f.Max == nil {
				f.Min, f.Max = &least, &most
				appendValue(b.Field(c), madeUp(&f, rnd))
				f.Min, f.Max = nil, nil
			} else {
				appendValue(b.Field(c), madeUp(&f, rnd))
			}
		}
	}
	return b.NewRecord()
}

// askApart scores the first rows, one by one.
func (m *Model) askApart(ctx context.Context, inst Instance, rows arrow.Record) (apart answers, err error) {
	for i := range min(apartRows, int(rows.NumRows())) {
		one, err := m.ask(ctx, inst, rows, i, 1)
		if err != nil {
			return apart, err
		}
		apart.add(&one, i)
	}
	return apart, nil
}

// compare fails where rows that were scored apart have other answers together, or in another order.
func (m *Model) compare(ctx context.Context, inst Instance, rows arrow.Record, apart, together *answers, alloc memory.Allocator) error {
	all := int(rows.NumRows())
	n := min(apartRows, all)
	mixed, err := reversed(rows, n, alloc)
	if err != nil {
		return err
	}
	defer mixed.Release()
	turned, err := m.ask(ctx, inst, mixed, 0, n)
	if err != nil {
		return err
	}
	rounding := tolerance
	if r, ok := inst.(Rounded); ok {
		rounding = max(rounding, r.Rounding())
	}
	c, depends := m.differ(apart, together, n, rounding, func(row int) int { return row })
	if !depends {
		all = n
		c, depends = m.differ(apart, &turned, n, rounding, func(row int) int { return n - 1 - row })
	}
	if depends {
		return fmt.Errorf("model %s: its answers depend on the other rows of the batch: output %q of a row is %s alone and %s in a batch of %d; %s",
			m.Ref(), c.output, c.apart, c.other, all, adviceAlone)
	}
	return nil
}

// ask scores n rows from a row on.
func (m *Model) ask(ctx context.Context, inst Instance, rows arrow.Record, from, n int) (answers, error) {
	in := rows.NewSlice(int64(from), int64(from+n))
	defer in.Release()
	out, failed, err := inst.Predict(ctx, in)
	if err != nil {
		return answers{}, fmt.Errorf("model %s: score %d rows to try it: %w", m.Ref(), n, err)
	}
	defer out.Release()
	a := answers{values: make([][]any, len(m.Manifest.Outputs)), failed: map[int]error{}}
	for c := range a.values {
		for row := range n {
			v := valueAt(out.Column(c), row)
			if s, ok := v.(string); ok {
				v = string([]byte(s)) // it points into out
			}
			a.values[c] = append(a.values[c], v)
		}
	}
	for _, f := range failed {
		a.failed[f.Row] = f.RequestError
	}
	return a, nil
}

// add appends the answer to one row.
func (a *answers) add(one *answers, row int) {
	if a.values == nil {
		a.values, a.failed = make([][]any, len(one.values)), map[int]error{}
	}
	for c := range one.values {
		a.values[c] = append(a.values[c], one.values[c][0])
	}
	if err := one.failed[0]; err != nil {
		a.failed[row] = err
	}
}

// contrast is an answer that depends on the batch.
type contrast struct{ output, apart, other string }

// differ compares the first n answers of apart with those of other, which has each in row at(row).
// Scores may differ by rounding, a share of the greatest of them.
// Labels differ where scores are equal but for rounding: where there are scores, labels differ only
// if most of them do.
func (m *Model) differ(apart, other *answers, n int, rounding float64, at func(row int) int) (c contrast, ok bool) {
	scores := false
	for _, o := range m.Manifest.Outputs {
		scores = scores || o.Type == schemas.TypeFloat32 || o.Type == schemas.TypeFloat64
	}
	for row := range n {
		a, b := apart.failed[row], other.failed[at(row)]
		if (a == nil) != (b == nil) {
			c := contrast{output: m.Manifest.Outputs[0].Name, apart: "good", other: "good"}
			if a != nil {
				c.apart = a.Error()
			} else {
				c.other = b.Error()
			}
			return c, true
		}
	}
	for k, o := range m.Manifest.Outputs {
		size, labels := 0.0, 0
		for row := range n {
			x, isFloat := floatOf(apart.values[k][row])
			if isFloat {
				size = max(size, math.Abs(x))
			}
		}
		for row := range n {
			a, b := apart.values[k][row], other.values[k][at(row)]
			x, isFloat := floatOf(a)
			y, _ := floatOf(b)
			if !isFloat && a != b {
				labels++
			}
			if isFloat && math.Abs(x-y) > rounding*(0.01+size) || labels > 0 && (!scores || 2*labels > n) {
				return contrast{o.Name, fmt.Sprint(a), fmt.Sprint(b)}, true
			}
		}
	}
	return c, false
}

func floatOf(v any) (x float64, ok bool) {
	switch v := v.(type) {
	case float32:
		return float64(v), true
	case float64:
		return v, true
	default:
		return 0, false
	}
}

// reversed returns the first n rows in reverse order. The caller releases them.
func reversed(rows arrow.Record, n int, alloc memory.Allocator) (arrow.Record, error) {
	columns := make([]arrow.Array, rows.NumCols())
	for c, col := range rows.Columns() {
		parts := make([]arrow.Array, n)
		for i := range n {
			parts[i] = array.NewSlice(col, int64(n-1-i), int64(n-i))
			defer parts[i].Release()
		}
		var err error
		if columns[c], err = array.Concatenate(parts, alloc); err != nil {
			return nil, err
		}
		defer columns[c].Release()
	}
	return array.NewRecord(rows.Schema(), columns, int64(n)), nil
}
