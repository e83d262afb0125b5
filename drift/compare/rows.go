package compare

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
)

// maxScratch bounds the values of all columns that are worked on at the same time.
const maxScratch = 1 << 22

// codes number the texts of a column, alike on both sides.
type codes map[string]float64

// scanRows reads columns of one table together: numbers as they are, texts by their codes,
// missing values as NaN. f keeps none of the slices.
func (e *engine) scanRows(ctx context.Context, k int, plans []*plan, texts []codes, f func(first int64, columns [][]float64) error) error {
	t := &e.tables[k]
	at := make([]int, len(plans))
	sides := make([]*side, len(plans))
	// The values of all columns are wanted at the same time: of many columns, fewer rows.
	rowsOf := min(blockRows, max(16, maxScratch/max(1, len(plans))))
	bits := make([]uint64, rowsOf)
	for i, p := range plans {
		of := p.reference
		if k == 1 {
			of = p.current
		}
		at[i], sides[i] = of.index, &side{plan: p, of: of, class: of.class}
		sides[i].scratch = scratch{make([]float64, rowsOf), bits}
	}
	first := int64(0)
	columns := make([][]float64, len(plans))
	err := t.source.Scan(ctx, at, func(batch arrow.Record) error {
		rows := int(batch.NumRows())
		if first+int64(rows) > t.rows {
			return t.changed()
		}
		for from := 0; from < rows; from += rowsOf {
			to := min(from+rowsOf, rows)
			for i, s := range sides {
				var err error
				s.bits = s.bits[:to-from]
				if s.plan.numeric {
					columns[i], err = s.decode(batch.Column(i), from, to)
				} else {
					columns[i], err = s.encode(batch.Column(i), from, to, texts[i])
				}
				if err != nil {
					return fmt.Errorf("%s: column %q: %w", t.source.Name(), s.plan.name, err)
				}
			}
			if err := f(first+int64(from), columns); err != nil {
				return err
			}
		}
		first += int64(rows)
		return nil
	})
	if err == nil && first != t.rows {
		return t.changed()
	}
	return err
}

// encode returns the codes of texts, new ones for those that have none yet.
func (s *side) encode(a arrow.Array, from, to int, texts codes) ([]float64, error) {
	text, err := s.writer(a)
	if err != nil {
		return nil, err
	}
	values := s.values[:to-from]
	for i := range values {
		if isMissing(a, from+i) {
			values[i] = math.NaN()
			continue
		}
		name := text(from + i)
		code, ok := texts[name]
		if !ok {
			code = float64(len(texts))
			texts[strings.Clone(name)] = code
		}
		values[i] = code
	}
	return values, nil
}
