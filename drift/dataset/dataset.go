package dataset

import (
	"context"

	"github.com/apache/arrow/go/v15/arrow"
)

// Source is a table that can be scanned, as often as wanted.
type Source interface {
	// Name is what errors and reports call the table, such as its path.
	Name() string

	// Schema is the table's, types inferred where the format has none. Types are one of
	// int64, uint64, float64, float32, boolean, utf8, date and timestamp; readers widen or
	// decode everything else (dictionaries, decimals, small integers) to one of them, and
	// refuse what has no such form, by column.
	Schema() *arrow.Schema

	// Columnar says that scanning some of the columns costs only these: of Parquet, a
	// reader takes one column after the other; of the other formats, all at once.
	Columnar() bool

	// Scan calls f with the record batches of the chosen columns (indices of Schema, in
	// that order), in the table's order. f owns no reference: it retains what it keeps.
	// An error of f ends the scan and is returned as it is. Scans of one Source may run at
	// the same time.
	Scan(ctx context.Context, columns []int, f func(arrow.Record) error) error

	Close() error
}
