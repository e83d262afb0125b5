package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v15/arrow"
)

// Source is a table that can be scanned, as often as wanted.
type Source interface {
	// Name is what errors and reports call the table, such as its path.
	Name() string

	// Schema is the table's, types inferred where the format has none. Types are one of
	// int64, uint64, float64, float32, boolean, utf8, date and timestamp (the variables of
	// this package); readers widen or decode everything else (dictionaries, decimals, small
	// integers) to one of them. A column of nothing but nulls is float64. What has no such
	// form is in the schema with a nested type, and a scan of it is refused by its name.
	Schema() *arrow.Schema

	// Columnar says that scanning some of the columns costs only these: of Parquet, a
	// reader takes one column after the other; of the other formats, all at once.
	Columnar() bool

	// Scan calls f with the record batches of the chosen columns (indices of Schema, in
	// that order), in the table's order. f owns no reference: it retains what it keeps.
	// An error of f ends the scan and is returned as it is. Scans of one Source may run at
	// the same time.
	Scan(ctx context.Context, columns []int, f func(arrow.Record) error) error

	// TypeErrors returns, for each column of Schema, how many values were not of the
	// column's type in the last scan of it that came to its end; they are nulls of the
	// batches. It is 0 for columns that were not scanned yet.
	TypeErrors() []int64

	// Notes are sentences on what the reader made of the table: what it left out, passed over, or took
	// for missing. They do not name the table.
	Notes() []string

	Close() error
}

// Zoned tells what the times of a column of a Source's schema say of their zone. Times without one
// are read as UTC.
func Zoned(f arrow.Field) ZoneForm {
	form, _ := f.Metadata.GetValue(zoneKey)
	switch {
	case f.Type.ID() == arrow.DATE32:
		return ZoneNone
	case f.Type.ID() != arrow.TIMESTAMP:
		return ZoneUnknown
	default:
		return ZoneForm(form)
	}
}

// ZoneForm is what times of a column say of their zone.
type ZoneForm string

// What they say.
const (
	ZoneUnknown ZoneForm = ""     // some of them one, or nobody knows
	ZoneNone    ZoneForm = "none" // all of them none
	ZoneAll     ZoneForm = "all"  // each of them one
)

// zonedMetadata is of times that all have a zone, or have none.
func zonedMetadata(zone bool) arrow.Metadata {
	form := ZoneNone
	if zone {
		form = ZoneAll
	}
	return arrow.NewMetadata([]string{zoneKey}, []string{string(form)})
}

// Columns returns the indices of columns by their names.
func Columns(s Source, names ...string) ([]int, error) {
	out := make([]int, len(names))
	for i, name := range names {
		found := s.Schema().FieldIndices(name)
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: there is no column %q; there are %s", s.Name(), name, list(s.Schema()))
		}
		out[i] = found[0]
	}
	return out, nil
}

// list names the columns, at most twenty.
func list(s *arrow.Schema) string {
	var names []string
	for i, f := range s.Fields() {
		if i == 20 {
			names = append(names, fmt.Sprintf("%d more", s.NumFields()-i))
			break
		}
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// base is what all sources have.
type base struct {
	name    string
	options Options
	schema  *arrow.Schema

	typed bool // the format has types
	notes []string

	mutex      *sync.Mutex
	typeErrors []int64
}

func newBase(name string, o Options) base {
	if o.BatchRows <= 0 {
		o.BatchRows = defaultBatchRows
	}
	return base{name: name, options: o, mutex: new(sync.Mutex)}
}

func (t *base) Name() string          { return t.name }
func (t *base) Schema() *arrow.Schema { return t.schema }

func (t *base) TypeErrors() []int64 {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return append([]int64(nil), t.typeErrors...)
}

func (t *base) Notes() []string { return t.notes }

func (t *base) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func (t *base) setTypeErrors(column int, n int64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.typeErrors[column] = n
}

// setSchema sets the columns, of the types of Options where these say so. It refuses a
// table in which a name does not tell one column.
func (t *base) setSchema(fields []arrow.Field) error {
	fields = slices.Clone(fields)
	seen := make(map[string]int, len(fields))
	for i, f := range fields {
		if j, twice := seen[f.Name]; twice {
			return fmt.Errorf("columns %d and %d are both called %q: rename one of them", j+1, i+1, f.Name)
		}
		seen[f.Name] = i
	}
	if len(fields) == 0 {
		return errors.New("it has no columns")
	}
	if len(fields) > maxColumns {
		return fmt.Errorf("it has %d columns, at most %d are read", len(fields), maxColumns)
	}
	for name, typ := range t.options.Types {
		i, ok := seen[name]
		if !ok {
			return fmt.Errorf("a type is given for column %q, which is not there; there are %s", name, list(arrow.NewSchema(fields, nil)))
		}
		if kindOf(typ) == kindNone {
			return fmt.Errorf("column %q cannot be read as %s", name, typ)
		}
		if t.typed && kindOf(fields[i].Type) == kindNone {
			continue // a scan refuses it
		}
		zone := metadataOf(fields[i], zoneKey)
		fields[i].Type, fields[i].Metadata = typ, arrow.Metadata{} // what is given is not to be doubted
		if typ == Timestamp && zone != "" {
			tag(&fields[i], zoneKey, zone)
		}
		if typ == Text {
			tag(&fields[i], declaredKey, "given")
		}
	}
	t.schema, t.typeErrors = arrow.NewSchema(fields, nil), make([]int64, len(fields))
	return nil
}

// check refuses columns that cannot be scanned.
func (t *base) check(columns []int) error {
	for _, c := range columns {
		if c < 0 || c >= t.schema.NumFields() {
			return fmt.Errorf("%s: there is no column %d of %d", t.name, c, t.schema.NumFields())
		}
		if f := t.schema.Field(c); kindOf(f.Type) == kindNone {
			return fmt.Errorf("%s: column %q holds values of type %s, which cannot be compared: leave it out", t.name, f.Name, TypeName(f))
		}
	}
	return nil
}

// scan calls f with what next returns, until that is nil.
func (t *base) scan(ctx context.Context, next func() (arrow.Record, error), f func(arrow.Record) error) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		record, err := t.guard(next)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if record == nil {
			return nil
		}
		err = f(record)
		record.Release()
		if err != nil {
			return err
		}
	}
}

// guard returns a panic of a decoder as an error: nobody vouches for what is in a file.
func (t *base) guard(next func() (arrow.Record, error)) (r arrow.Record, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("it is broken: %v", p)
		}
	}()
	return next()
}
