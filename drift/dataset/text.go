package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"golang.org/x/text/encoding"
)

// cellForm is what a format says of a value.
type cellForm uint8

const (
	cellMissing cellForm = iota
	cellWord             // CSV: anything
	cellQuoted           // CSV: anything, in quotes
	cellNumber           // the others are JSON's
	cellBool
	cellText
	cellNested
)

// cell is a value as its text; it is valid until the next row.
type cell struct {
	v    []byte
	form cellForm
}

// rows gives the rows of a text format, nil at the end.
type rows interface {
	row() ([]cell, error)
}

// textSource reads CSV and JSON.
type textSource struct {
	base
	file       *os.File
	size       int64
	compressed compressionKind
	names      []string
	na         *words // nil: none
	style      numberStyle
	styled     bool              // numbers are not written as computers do
	naGiven    bool              // the words are the caller's
	encoding   encoding.Encoding // nil: UTF-8
	how        []columnHow       // of the schema's columns
}

// columnHow says how the values of a column are read, beside their type.
type columnHow struct {
	exact bool // text that spells numbers
	given bool // the type is the caller's: numbers may have units
}

func openText(ctx context.Context, t base, file *os.File, size int64, compressed compressionKind) (Source, error) {
	s := &textSource{base: t, file: file, size: size, compressed: compressed}
	if t.options.Format == FormatCSV {
		if s.naGiven = s.options.NA != nil; !s.naGiven {
			s.options.NA = DefaultNA
		}
		s.na = newWords(s.options.NA)
		s.style = numberStyle{s.options.Decimal, s.options.Thousands}
		s.styled = !s.style.plain()
		if err := s.style.check(); err != nil {
			return nil, err
		}
		if d := s.options.Delimiter; d == '"' || d == '\n' || d == '\r' || d == 0 {
			return nil, fmt.Errorf("the delimiter %q cannot separate values", d)
		}
	}
	if s.options.Encoding != "" {
		var err error
		if s.encoding, err = encodingOf(s.options.Encoding); err != nil {
			return nil, err
		}
	}
	return s, s.infer(ctx)
}

// exact is Exact.
func (s *textSource) exact() Source {
	e := *s
	var columns []bool
	e.base, columns = s.exactBase()
	e.how = slices.Clone(s.how)
	for i, is := range columns {
		e.how[i].exact = is
	}
	return &e
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context //nolint:containedctx // io.Reader has none
	io.ReadCloser
}

// Read implements io.Reader.
func (r untilDone) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.ReadCloser.Read(p)
}

// open returns the rows from the first one on. Texts are checked where that was not done yet.
func (s *textSource) open(ctx context.Context, check bool) (rows, io.Closer, error) {
	r, err := decompressed(s.file, s.size, s.compressed)
	if err != nil {
		return nil, nil, err
	}
	rows, err := s.rows(untilDone{ctx, r}, check)
	if err != nil {
		_ = r.Close() // the other error is the cause
	}
	return rows, r, err
}

func (s *textSource) rows(r io.Reader, check bool) (rows, error) {
	decoded, name, err := decode(r, s.encoding)
	if err != nil {
		return nil, err
	}
	b := block{r: decoded, line: 1}
	if check {
		b.check = s.checker(name)
	}
	if s.options.Format == FormatJSONLines {
		return newJSONRows(b, s.names)
	}
	c, err := newCSVReader(b, s.options.Delimiter, s.options.guessed)
	if err != nil {
		return nil, err
	}
	if s.names == nil || !s.options.NoHeader {
		names, err := csvHeader(c, &s.options)
		if err != nil {
			return nil, err
		}
		if s.names == nil {
			s.names = names
		}
	}
	return &csvRows{csvReader: c, names: s.names}, nil
}

// inference is what was seen of a column.
type inference struct {
	forms  forms
	nested bool
	text   bool // JSON: some are strings

	plain int // numbers before the first text
	look  *look

	na     int    // words that are read as missing
	naWord string // the first of them
}

// add looks at a value; of texts little more can be learnt.
func (i *inference) add(c cell, s *textSource) {
	if i.forms&formOther != 0 && c.form != cellNested && i.look == nil {
		return
	}
	switch c.form {
	case cellMissing:
	case cellWord, cellQuoted:
		i.addWord(c, s)
	case cellNumber:
		if n, ok := parseNumber(c.v); ok {
			i.forms |= n.form(c.v)
		} else {
			i.forms |= formFloat
		}
	case cellBool:
		i.forms |= formBool
	case cellText:
		i.text = true
		i.forms |= timeForm(c.v)
	case cellNested:
		i.nested = true
	}
}

func (i *inference) addWord(c cell, s *textSource) {
	if s.na.has(c.v) {
		if c.form == cellWord && len(c.v) > 0 {
			if i.na++; i.na == 1 {
				i.naWord = string(c.v)
			}
		}
		return // in quotes it is text in a column of texts, and missing in one of numbers
	}
	if i.look != nil {
		if !i.look.full() {
			i.look.add(c.v)
		}
		return
	}
	var form forms
	if s.styled {
		form = s.wordForm(c.v)
	} else {
		form = wordForm(c.v)
	}
	i.forms |= form
	switch {
	case form&formNumbers != 0:
		i.plain++
	case form == formOther:
		i.look = new(look)
		i.look.add(c.v)
	}
}

// wordForm is wordForm in the style of the file's numbers.
func (s *textSource) wordForm(v []byte) forms {
	var buf [64]byte
	if plain, ok := s.style.rewrite(buf[:0], v); ok {
		return wordForm(plain)
	}
	if _, ok := parseNumber(trim(v)); ok { // in another style: its point may separate thousands
		return formOther
	}
	return otherForm(v)
}

// infer reads all of the file for the names and types of its columns.
func (s *textSource) infer(ctx context.Context) error {
	if s.options.Format == FormatCSV && s.options.NoHeader { // the names come from the first row
		_, closer, err := s.open(ctx, true)
		if err != nil {
			return err
		}
		if err := closer.Close(); err != nil {
			return err
		}
	}
	rows, closer, err := s.open(ctx, true)
	if err != nil {
		return err
	}
	defer closer.Close()
	columns := make([]inference, len(s.names))
	any := false
	for {
		cells, err := rows.row()
		if err != nil {
			return s.withHint(ctx, err)
		}
		if cells == nil {
			break
		}
		any = true
		for len(columns) < len(cells) {
			columns = append(columns, inference{})
		}
		for i, c := range cells {
			columns[i].add(c, s)
		}
	}
	switch r := rows.(type) {
	case *csvRows:
		s.options.Delimiter = r.delimiter // as the file itself may say
		s.options.guessed = s.options.guessed && !r.said
		if n := r.behind; n > 0 {
			s.note("%s read with the text behind the closing quote, from line %d on: within a value, quotes are doubled (\"\"), and \\\" is none", plural(n, "value"), r.behindAt)
		}
		if n := r.blanks; n > 0 && len(s.names) == 1 {
			s.note("%s passed over, since a row of one column that has no value looks like no row: \"\" is read as a missing value", plural(n, "blank line"))
		}
	case *jsonRows:
		s.names = r.names
	case *jsonColumns:
		s.names = r.names
	}
	if !any {
		return errNoRows
	}
	fields := make([]arrow.Field, len(s.names))
	for i, name := range s.names {
		fields[i] = s.field(i, name, &columns[i])
	}
	if s.options.guessed && s.options.Format == FormatCSV && len(fields) == 1 {
		if err := s.otherDelimiter(ctx); err != nil {
			return err
		}
	}
	s.how = make([]columnHow, len(fields))
	for i, f := range fields {
		_, s.how[i].given = s.options.Types[f.Name]
	}
	return s.setSchema(fields)
}

// field makes the field of a column.
func (s *textSource) field(i int, name string, c *inference) arrow.Field {
	k := c.forms.kind()
	f := arrow.Field{Name: name, Type: kindTypes[k], Nullable: true}
	if times := c.forms & formTimes; times == formZoned || times != 0 && times&formZoned == 0 {
		f.Metadata = zonedMetadata(times == formZoned)
	}
	if c.nested {
		f.Type, f.Metadata = arrow.StructOf(), arrow.NewMetadata([]string{typeKey}, []string{"object or array"})
		return f
	}
	if how := c.forms.exact(); how != "" {
		tag(&f, roundedKey, how)
	}
	_, given := s.options.Types[name]
	if s.options.Format == FormatJSONLines {
		if k == kindText && c.text {
			tag(&f, declaredKey, "string")
		}
		return f
	}
	if !s.options.NoHeader && i == 0 && len(s.names) > 1 && !given && isUnnamed(name) {
		tag(&f, indexKey, "first")
	}
	if given || k != kindText && c.forms != 0 {
		return f
	}
	if l := c.look; l != nil {
		if phrase := l.phrase(name, c.plain); phrase != "" {
			tag(&f, numericKey, phrase)
			if l.zeros != "" && l.other == "" && l.best() == 0 {
				tag(&f, declaredKey, "zeros")
			}
		}
	}
	if c.na > 0 && !s.naGiven {
		s.note("column %q: %s read as missing, such as %q, which text may mean: --na= keeps such words", name, plural(c.na, "value"), c.naWord)
	}
	return f
}

// isUnnamed tells the name that pandas gives to a first column without one, also where it was written
// and read several times.
func isUnnamed(name string) bool {
	rest, ok := strings.CutPrefix(name, "Unnamed: 0")
	return ok && strings.Trim(rest, ".0123456789") == ""
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return strconv.Itoa(n) + " " + what + "s are"
}

var errNoRows = errors.New("it has no rows")

func (s *textSource) Columnar() bool { return false }

func (s *textSource) Close() error { return s.file.Close() }

func (s *textSource) Scan(ctx context.Context, columns []int, f func(arrow.Record) error) error {
	if err := s.check(columns); err != nil {
		return err
	}
	rows, closer, err := s.open(ctx, false)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	defer closer.Close()
	scan := &textScan{source: s, rows: rows, columns: columns, builders: newBuilders(s.schema, columns, s.options.BatchRows), errors: make([]int64, len(columns))}
	if err := s.scan(ctx, scan.next, f); err != nil {
		return err
	}
	for i, c := range columns {
		s.setTypeErrors(c, scan.errors[i])
	}
	return nil
}

type textScan struct {
	source   *textSource
	rows     rows
	columns  []int
	builders *builders
	errors   []int64
	size     int // rows of the last batch, as a guess of the next
	plain    []byte
}

func (s *textScan) next() (arrow.Record, error) {
	s.builders.reset(max(s.size, stepRows/4))
	n := 0
	for n < s.builders.rows && !s.builders.full() {
		cells, err := s.rows.row()
		if err != nil {
			return nil, err
		}
		if cells == nil {
			break
		}
		for i, c := range s.columns {
			b := &s.builders.columns[i]
			ok, err := s.put(b, cells[c], s.source.how[c])
			if err != nil {
				return nil, fmt.Errorf("column %q: %w", s.source.names[c], err)
			}
			if !ok {
				b.appendNull()
				s.errors[i]++
			}
		}
		n++
	}
	if s.size = n; n == 0 {
		return nil, nil
	}
	return s.builders.record(n), nil
}

// put appends a value; false is a type error, at which nothing was appended.
func (s *textScan) put(b *builder, c cell, how columnHow) (bool, error) {
	switch c.form {
	case cellMissing:
		b.appendNull()
		return true, nil
	case cellWord, cellQuoted:
		if s.source.na.has(c.v) && (c.form == cellWord || len(c.v) == 0 || b.kind != kindText || how.exact) {
			b.appendNull()
			return true, nil
		}
		if (how.given || s.source.styled) && (how.exact || b.kind.numeric()) {
			return s.putStyled(b, c.v, how)
		}
	case cellNested:
		if b.kind != kindText {
			return false, nil
		}
	default:
	}
	if how.exact {
		return s.parse(b, c.v, how)
	}
	return b.parse(c.v)
}

func (s *textScan) parse(b *builder, v []byte, how columnHow) (ok bool, err error) {
	if !how.exact {
		return b.parse(v)
	}
	if s.plain, ok = AppendNumber(s.plain[:0], v); !ok {
		x, ok := parseFloatWord(trim(v))
		switch {
		case !ok:
			return false, nil
		case x != x:
			b.appendNull()
			return true, nil
		}
		s.plain = strconv.AppendFloat(s.plain[:0], x, 'g', -1, 64)
	}
	return true, b.appendText(s.plain)
}

// putStyled appends a number that may be written in the style of the file, or with a unit.
func (s *textScan) putStyled(b *builder, v []byte, how columnHow) (bool, error) {
	style := s.source.style
	var buf [64]byte
	if plain, ok := style.rewrite(buf[:0], v); ok {
		return s.parse(b, plain, how)
	}
	if bare, ok := withoutUnit(v); ok && how.given {
		if plain, ok := style.rewrite(buf[:0], bare); ok {
			return s.parse(b, plain, how)
		}
	}
	if _, ok := parseNumber(trim(v)); ok { // in another style
		return false, nil
	}
	return s.parse(b, v, how)
}
