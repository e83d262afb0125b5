package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/millrace/millrace/schemas"
)

// budget is what the columns of an Arrow record take, in bytes per row and in their order. What
// the features take is one entry, and so is what is no column's: schema, message headers, padding.
type budget []spent

type spent struct {
	name  string
	bytes float64
}

// budgetOf reads an Arrow IPC stream.
func budgetOf(stream []byte, features map[string]bool) (budget, error) {
	r, err := ipc.NewReader(bytes.NewReader(stream))
	if err != nil {
		return nil, fmt.Errorf("read an Arrow record: %w", err)
	}
	defer r.Release()
	var b budget
	rows, columns := int64(0), 0
	add := func(name string, n int) {
		columns += n
		for i := range b {
			if b[i].name == name {
				b[i].bytes += float64(n)
				return
			}
		}
		b = append(b, spent{name, float64(n)})
	}
	for r.Next() {
		batch := r.Record()
		rows += batch.NumRows()
		for i, column := range batch.Columns() {
			name := batch.ColumnName(i)
			if features[name] {
				name = "features"
			}
			add(name, sizeOf(column.Data()))
		}
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("read an Arrow record: %w", err)
	}
	if rows == 0 {
		return nil, nil
	}
	add("frame", len(stream)-columns)
	for i := range b {
		b[i].bytes /= float64(rows)
	}
	return b, nil
}

// sizeOf sums the buffers of a column, and of its dictionary, which travels with each stream.
func sizeOf(d arrow.ArrayData) (n int) {
	for _, buf := range d.Buffers() {
		if buf != nil {
			n += buf.Len()
		}
	}
	for _, child := range d.Children() {
		n += sizeOf(child)
	}
	if d.DataType().ID() == arrow.DICTIONARY {
		n += sizeOf(d.Dictionary())
	}
	return n
}

// budgets are those of a request, a result and an observation.
type budgets struct{ request, result, observation budget }

// budgetsOf reads what a run has produced, and a request of its kind.
func budgetsOf(m *schemas.Manifest, s *sample) (*budgets, error) {
	features := map[string]bool{}
	for i := range m.Features {
		features[m.Features[i].Name] = true
	}
	request, err := arrowRequest(m, newRandom(), rowsPerArrow)
	if err != nil {
		return nil, err
	}
	var b budgets
	for stream, to := range map[*[]byte]*budget{&request: &b.request, &s.Results[0]: &b.result, &s.Observation: &b.observation} {
		if *to, err = budgetOf(*stream, features); err != nil {
			return nil, err
		}
	}
	return &b, nil
}

// String lists what takes a tenth of a byte and more.
func (b budget) String() string {
	var all []string
	for _, s := range b {
		if s.bytes >= 0.1 {
			all = append(all, fmt.Sprintf("%s %.1f", s.name, s.bytes))
		}
	}
	return strings.Join(all, ", ")
}

func (b budget) sum() (sum float64) {
	for _, s := range b {
		sum += s.bytes
	}
	return sum
}
