package dataset

import (
	"context"
	"fmt"
	"os"

	"github.com/apache/arrow/go/v15/arrow"
)

// parquetSource reads Parquet. The reader is our own: the arrow module's takes the memory
// that a header claims, recurses and loops on broken files, and lacks BYTE_STREAM_SPLIT.
// Pages are read one at a time, so that a row group of a whole file costs no more than a
// small one.
type parquetSource struct {
	table
	file   *os.File
	size   int64
	footer *pqFooter
}

func openParquet(t table, file *os.File, size int64) (Source, error) {
	footer, err := readFooter(file, size)
	if err != nil {
		return nil, err
	}
	rows := int64(0)
	for _, g := range footer.groups {
		rows |= g.rows
	}
	if rows == 0 {
		return nil, errNoRows
	}
	t.options.Types = nil // withTypes applies them
	s := &parquetSource{table: t, file: file, size: size, footer: footer}
	return s, s.setSchema(footer.fields)
}

func (s *parquetSource) Columnar() bool { return true }

func (s *parquetSource) Close() error { return s.file.Close() }

func (s *parquetSource) Scan(ctx context.Context, columns []int, f func(arrow.Record) error) error {
	if err := s.check(columns); err != nil {
		return err
	}
	scan := &pqScan{source: s, builders: newBuilders(s.schema, columns, s.options.BatchRows), group: -1}
	for _, i := range columns {
		scan.columns = append(scan.columns, &pqColumn{pqLeaf: s.footer.leaves[i], file: s.file, memory: &scan.memory})
	}
	defer scan.close()
	if err := s.scan(ctx, scan.next, f); err != nil {
		return err
	}
	for i, c := range scan.columns {
		s.setTypeErrors(columns[i], c.errors)
	}
	return nil
}

// pqScan is one scan.
type pqScan struct {
	source   *parquetSource
	builders *builders
	columns  []*pqColumn
	memory   budget
	group    int
	left     int64 // rows of the row group
}

// next returns the next batch, nil at the end. A batch has rows of one row group.
func (s *pqScan) next() (arrow.Record, error) {
	for s.left == 0 {
		if s.group++; s.group == len(s.source.footer.groups) {
			return nil, nil
		}
		g := &s.source.footer.groups[s.group]
		s.left = g.rows
		for i, c := range s.columns {
			if err := c.start(&g.chunks[c.leaf], g.rows, s.source.size); err != nil {
				return nil, s.in(i, err)
			}
		}
	}
	most := int(min(s.left, int64(s.builders.rows)))
	s.builders.reset(most)
	rows := 0
	for rows < most && !s.builders.full() {
		n := most - rows
		if s.builders.texts {
			n = min(n, stepRows)
		}
		for i, c := range s.columns {
			if err := c.append(&s.builders.columns[i], n); err != nil {
				return nil, s.in(i, err)
			}
		}
		rows += n
	}
	s.left -= int64(rows)
	return s.builders.record(rows), nil
}

func (s *pqScan) in(column int, err error) error {
	return fmt.Errorf("column %q, row group %d: %w", s.builders.schema.Field(column).Name, s.group, err)
}

func (s *pqScan) close() {
	for _, c := range s.columns {
		if c.zstd != nil {
			c.zstd.Close()
		}
	}
}
