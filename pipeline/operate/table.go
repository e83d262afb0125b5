package operate

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/drift/dataset"
	"github.com/millrace/millrace/drift/reference"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// maxTableCells bounds rows times columns of a table that is held whole: 1 GiB of numbers.
const maxTableCells = 1 << 27

// maxTableWords bounds the distinct words of a column that are told apart.
const maxTableWords = 1 << 16

// table is the data that a reference is made of, whole in memory. Its batches hold nothing that
// an allocator counts.
type table struct {
	name    string
	schema  *arrow.Schema
	batches []arrow.Record
	rows    int
	nested  []string // columns that were left out
	notes   []string // of the reader
}

// readTable reads the columns of a source, but those to leave out and those of nested values, which
// no feature can be.
func readTable(ctx context.Context, src dataset.Source, ignore []string) (*table, error) {
	if _, err := dataset.Columns(src, ignore...); err != nil {
		return nil, fmt.Errorf("--ignore: %w", err)
	}
	t := &table{name: src.Name(), notes: src.Notes()}
	var fields []arrow.Field
	var columns []int
	for i, f := range src.Schema().Fields() {
		switch {
		case slices.Contains(ignore, f.Name):
		case arrow.IsNested(f.Type.ID()):
			t.nested = append(t.nested, f.Name)
		default:
			fields, columns = append(fields, f), append(columns, i)
		}
	}
	t.schema = arrow.NewSchema(fields, nil)
	err := src.Scan(ctx, columns, func(batch arrow.Record) error {
		t.rows += int(batch.NumRows())
		if t.rows*len(columns) > maxTableCells {
			return fmt.Errorf("%s: more than %d values in %d columns: give a sample of the rows (of stored ones, a shorter time), or leave out columns by --ignore", t.name, maxTableCells, len(columns))
		}
		for i, col := range batch.Columns() {
			if text, ok := col.(*array.String); ok && !utf8.Valid(text.ValueBytes()) {
				return fmt.Errorf("%s: column %q holds text that is not UTF-8: convert the file, or leave the column out by --ignore", t.name, fields[i].Name)
			}
		}
		batch.Retain()
		t.batches = append(t.batches, batch)
		return nil
	})
	return t, err
}

// spell makes text of a column; word returns what writes a value that is not null.
func (t *table) spell(column int, word func(arrow.Array) func(row int) string) {
	fields := slices.Clone(t.schema.Fields())
	fields[column].Type = arrow.BinaryTypes.String
	t.schema = arrow.NewSchema(fields, nil)
	for n, batch := range t.batches {
		col := batch.Column(column)
		b := array.NewStringBuilder(memory.NewGoAllocator())
		write := word(col)
		for row := range col.Len() {
			if col.IsNull(row) {
				b.AppendNull()
			} else {
				b.Append(write(row))
			}
		}
		columns := slices.Clone(batch.Columns())
		columns[column] = b.NewArray()
		t.batches[n] = array.NewRecord(t.schema, columns, batch.NumRows())
	}
}

// integerWord returns what writes a whole number, all of its digits.
func integerWord(col arrow.Array) func(row int) string {
	switch col := col.(type) {
	case *array.Int64:
		return func(i int) string { return strconv.FormatInt(col.Value(i), 10) }
	case *array.Uint64:
		return func(i int) string { return strconv.FormatUint(col.Value(i), 10) }
	default:
		return wordAt(col)
	}
}

func (t *table) names() []string {
	out := make([]string, t.schema.NumFields())
	for i, f := range t.schema.Fields() {
		out[i] = f.Name
	}
	return out
}

func (t *table) index(column string) (int, error) {
	if found := t.schema.FieldIndices(column); len(found) > 0 {
		return found[0], nil
	}
	if slices.Contains(t.nested, column) {
		return 0, fmt.Errorf("%s: column %q holds lists or structures: write the values that are meant into columns of their own", t.name, column)
	}
	return 0, fmt.Errorf("%s has no column %q; it has %s", t.name, column, strings.Join(quoted(t.names()), ", "))
}

// summary is what a column of a table holds.
type summary struct {
	typ       arrow.DataType
	missing   int
	low, high float64 // of numbers; NaN where there are none
	infinite  int     // rows, of which low and high know nothing
	whole     bool    // all numbers are whole
	words     []string
	rows      []int // of the words
	beyond    bool  // more than maxTableWords words

	spelled string // of text, how most of it writes numbers
}

func (t *table) summarize(column int) summary {
	s := summary{typ: t.schema.Field(column).Type, spelled: dataset.NumericText(t.schema.Field(column)), low: math.NaN(), high: math.NaN(), whole: true}
	at := map[string]int{}
	word := func(w string) {
		i, ok := at[w]
		if !ok {
			if s.beyond = len(s.words) >= maxTableWords; s.beyond {
				return
			}
			i = len(s.words)
			w = strings.Clone(w)
			at[w], s.words, s.rows = i, append(s.words, w), append(s.rows, 0)
		}
		s.rows[i]++
	}
	for _, batch := range t.batches {
		col := batch.Column(column)
		number := numberAt(col)
		text, _ := col.(*array.String)
		for row := range col.Len() {
			switch {
			case col.IsNull(row):
				s.missing++
			case text != nil:
				word(text.Value(row))
			case number != nil:
				x := number(row)
				if math.IsNaN(x) {
					s.missing++
					continue
				}
				if math.IsInf(x, 0) {
					s.infinite++
					s.whole = false
					continue
				}
				if !(x >= s.low) {
					s.low = x
				}
				if !(x <= s.high) {
					s.high = x
				}
				s.whole = s.whole && x == math.Trunc(x) && math.Abs(x) < 1<<53
			}
		}
	}
	return s
}

// numberAt returns what gives a number of a row that is not null; nil for a column of text.
func numberAt(col arrow.Array) func(row int) float64 {
	switch col := col.(type) {
	case *array.Float64:
		return func(i int) float64 { return col.Value(i) }
	case *array.Float32:
		return func(i int) float64 { return float64(col.Value(i)) }
	case *array.Int32:
		return func(i int) float64 { return float64(col.Value(i)) }
	case *array.Int64:
		return func(i int) float64 { return float64(col.Value(i)) }
	case *array.Uint64:
		return func(i int) float64 { return float64(col.Value(i)) }
	case *array.Boolean:
		return func(i int) float64 {
			if col.Value(i) {
				return 1
			}
			return 0
		}
	case *array.Timestamp:
		return func(i int) float64 { return float64(col.Value(i)) }
	case *array.Date32:
		return func(i int) float64 { return float64(col.Value(i)) }
	default:
		return nil
	}
}

// gather makes a column of a reference of the parts of a column of features or outputs. Columns of
// bools and text are words, of which the categories come first; numbers are words where they
// are to be categories.
func gather(name string, parts []arrow.Array, categories []string, categorical bool) reference.Column {
	c := reference.Column{Name: name, Words: slices.Clone(categories), Listed: len(categories)}
	at := make(map[string]int32, len(categories))
	for i, w := range categories {
		at[w] = int32(i)
	}
	code := func(w string) int32 {
		i, ok := at[w]
		if !ok {
			i = int32(len(c.Words))
			w = strings.Clone(w)
			at[w], c.Words = i, append(c.Words, w)
		}
		return i
	}
	rows := 0
	for _, p := range parts {
		rows += p.Len()
	}
	numbers := true
	for _, p := range parts {
		switch p.(type) {
		case *array.Boolean, *array.String, *array.Dictionary:
			numbers = false
		}
	}
	if numbers && !categorical {
		c.Numbers = make([]float64, 0, rows)
	} else {
		c.Codes = make([]int32, 0, rows)
	}
	for _, p := range parts {
		value, number := wordAt(p), numberAt(p)
		for i := range p.Len() {
			switch {
			case c.Numbers != nil && p.IsNull(i):
				c.Numbers = append(c.Numbers, math.NaN())
			case c.Numbers != nil:
				c.Numbers = append(c.Numbers, number(i))
			case p.IsNull(i) || numbers && math.IsNaN(number(i)):
				c.Codes = append(c.Codes, -1)
			default:
				c.Codes = append(c.Codes, code(value(i)))
			}
		}
	}
	return c
}

// wordAt returns what writes a value as ClickHouse's toString does.
func wordAt(col arrow.Array) func(row int) string {
	switch col := col.(type) {
	case *array.String:
		return col.Value
	case *array.Dictionary:
		words := col.Dictionary().(*array.String)
		return func(i int) string { return words.Value(col.GetValueIndex(i)) }
	case *array.Boolean:
		return func(i int) string { return strconv.FormatBool(col.Value(i)) }
	default:
		number := numberAt(col)
		return func(i int) string { return strconv.FormatFloat(number(i), 'f', -1, 64) }
	}
}

// parts returns the chunks of a column.
func (t *table) parts(column int) []arrow.Array {
	out := make([]arrow.Array, len(t.batches))
	for i, b := range t.batches {
		out[i] = b.Column(column)
	}
	return out
}

// cast returns the chunks of a column in the type of an output.
func (t *table) cast(ctx context.Context, column int, to arrow.DataType) ([]arrow.Array, error) {
	var out []arrow.Array
	row := 0
	for _, part := range t.parts(column) {
		typed, err := inference.Cast(ctx, part, to, memory.NewGoAllocator())
		if err != nil {
			return nil, fmt.Errorf("%s: column %q, rows from %d: %w", t.name, t.schema.Field(column).Name, row, err)
		}
		out, row = append(out, typed), row+part.Len()
	}
	return out, nil
}

// eventTimes are the event times of a column, and how a request would write them.
type eventTimes struct {
	micros []int64 // since 1970, a row each
	format schemas.TimeFormat
	zoned  bool // each says its zone, or counts from 1970
}

// times reads the event times of a column. Those that say no zone are of the zone loc; nil: of UTC.
func (t *table) times(column string, loc *time.Location) (*eventTimes, error) {
	i, err := t.index(column)
	if err != nil {
		return nil, fmt.Errorf("--time: %w", err)
	}
	bad := func(format string, args ...any) (*eventTimes, error) {
		return nil, fmt.Errorf("%s: column %q is no time: "+format, append([]any{t.name, column}, args...)...)
	}
	s := t.summarize(i)
	if s.missing > 0 {
		return bad("%d rows have none", s.missing)
	}
	form := dataset.Zoned(t.schema.Field(i))
	out := &eventTimes{micros: make([]int64, 0, t.rows), format: schemas.TimeRFC3339, zoned: form == dataset.ZoneAll}
	unit := 1.0
	switch s.typ.ID() {
	case arrow.TIMESTAMP:
	case arrow.DATE32:
		unit = 24 * 3600 * 1e6
	case arrow.INT64, arrow.UINT64, arrow.FLOAT64:
		out.zoned = true
		switch most := max(math.Abs(s.low), math.Abs(s.high)); {
		case most < 1e11: // the year 5138
			out.format, unit = schemas.TimeUnix, 1e6
		case most < 1e14:
			out.format, unit = schemas.TimeUnixMS, 1e3
		case most < 1e17:
			out.format = schemas.TimeUnixUS
		default:
			return bad("%v is beyond microseconds since 1970: requests send seconds, milliseconds or microseconds, so divide it", s.high)
		}
		if out.format != schemas.TimeUnix && !s.whole {
			return bad("it holds fractions of a %s: round them", out.format)
		}
	case arrow.STRING:
		out.zoned = true // until one is not
	default:
		return bad("it holds %s", s.typ)
	}
	for _, part := range t.parts(i) {
		if text, ok := part.(*array.String); ok {
			for row := range text.Len() {
				at, zoned, ok := codec.ParseTime([]byte(text.Value(row)), loc)
				if !ok {
					return bad("%q is not written as 2001-01-31T06:07:08Z", text.Value(row))
				}
				out.micros, out.zoned = append(out.micros, at), out.zoned && zoned
			}
			continue
		}
		number := numberAt(part)
		for row := range part.Len() {
			at := int64(math.Round(number(row) * unit))
			if loc != nil && form == dataset.ZoneNone {
				at = codec.LocalTime(at, loc)
			}
			out.micros = append(out.micros, at)
		}
	}
	for _, at := range out.micros {
		if at < schemas.MinMicros || at > schemas.MaxMicros {
			return bad("%s is not between the years 1900 and 2299", time.UnixMicro(at).UTC().Format(time.RFC3339))
		}
	}
	return out, nil
}
