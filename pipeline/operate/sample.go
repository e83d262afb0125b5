package operate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/inference"
)

// sampler keeps rows at equal distances.
type sampler struct {
	schema *arrow.Schema
	alloc  memory.Allocator
	every  int
	parts  [][]arrow.Array // by column
}

func newSampler(schema *arrow.Schema, rows int, alloc memory.Allocator) *sampler {
	return &sampler{schema: schema, alloc: alloc, every: max(1, (rows+sampleRows-1)/sampleRows), parts: make([][]arrow.Array, schema.NumFields())}
}

func (s *sampler) add(in, out arrow.Record, first int) {
	columns := append(slices.Clone(in.Columns()), out.Columns()...)
	for row := (s.every - first%s.every) % s.every; row < int(in.NumRows()); row += s.every {
		for c := range s.parts {
			s.parts[c] = append(s.parts[c], array.NewSlice(columns[c], int64(row), int64(row)+1))
		}
	}
}

// file writes the rows; categories are plain text in a sample.
func (s *sampler) file() ([]byte, error) {
	columns := make([]arrow.Array, len(s.parts))
	for c, parts := range s.parts {
		for i, p := range parts {
			plain, err := inference.Cast(context.Background(), p, s.schema.Field(c).Type, s.alloc)
			if err != nil {
				return nil, err
			}
			parts[i] = plain
		}
		var err error
		if columns[c], err = array.Concatenate(parts, s.alloc); err != nil {
			return nil, err
		}
	}
	var file seekBuffer
	w, err := ipc.NewFileWriter(&file, ipc.WithSchema(s.schema), ipc.WithAllocator(s.alloc))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(w.Write(array.NewRecord(s.schema, columns, -1)), w.Close()); err != nil {
		return nil, fmt.Errorf("write the sample: %w", err)
	}
	return file.Bytes(), nil
}

// seekBuffer is a file that its writer only asks for its position.
type seekBuffer struct{ bytes.Buffer }

// Seek implements io.Seeker for the position at the end.
func (s *seekBuffer) Seek(int64, int) (int64, error) { return int64(s.Len()), nil }
