package codec

import (
	"slices"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
)

// letterWriter writes single rows of records as streams of their own. It keeps its place in
// a record, since the rows of one that are wanted come one after the other.
type letterWriter struct {
	reads   map[string]bool // names of the columns that the decoder reads
	reader  *arrowipc.Reader
	value   []byte              // of the record that is being read
	at      schemas.Coordinates // of the same
	plan    *letterPlan
	plans   []*letterPlan // latest last
	first   int           // row in the record that the record batch starts with
	rows    int           // of the record batch
	columns []arrowipc.Column
	batch   arrowipc.Batch
}

// letterPlan says what of a schema a row's own stream has: the columns that make the row.
// Others, which are ignored, could make each row of a small record as large as the record
// is decompressed.
type letterPlan struct {
	schema  *arrowipc.Schema
	columns []int // in the schema
	out     *arrowipc.Schema
}

// AppendRequest implements Requests. The stream has those of the record's columns that are
// not ignored. A dictionary holds the row's own entry only.
func (d *ArrowRequests) AppendRequest(dst []byte, rec *schemas.Record, row, most int) ([]byte, bool) {
	w := &d.letter
	if !w.find(rec, row) || w.texts(row-w.first, most) > most {
		return dst, false
	}
	out := w.append(dst, row-w.first)
	if len(out)-len(dst) > most {
		return dst, false
	}
	return out, true
}

// find goes to the record batch that has the row.
func (w *letterWriter) find(rec *schemas.Record, row int) bool {
	same := w.at == rec.Coordinates() && len(w.value) == len(rec.Value) && len(w.value) > 0 && &w.value[0] == &rec.Value[0]
	if !same || row < w.first {
		if w.reader == nil {
			w.reader = arrowipc.NewReader(maxExpanded)
		}
		w.value, w.at, w.first, w.rows = nil, rec.Coordinates(), 0, 0
		schema, err := w.reader.Reset(rec.Value)
		if err != nil || !w.start(schema) {
			return false
		}
		w.value = rec.Value
	}
	for row >= w.first+w.rows {
		rows, ok, err := w.reader.Next()
		if err != nil || !ok {
			w.value = nil
			return false
		}
		w.first += w.rows
		w.rows = rows
		w.columns = slices.Grow(w.columns[:0], len(w.plan.columns))[:len(w.plan.columns)]
		if row >= w.first+rows {
			continue
		}
		for i, at := range w.plan.columns {
			if w.columns[i], err = w.reader.Column(at); err != nil {
				w.value = nil
				return false
			}
		}
	}
	return true
}

// start plans the streams of a schema, once.
func (w *letterWriter) start(schema *arrowipc.Schema) bool {
	i := slices.IndexFunc(w.plans, func(p *letterPlan) bool { return p.schema == schema })
	if i >= 0 {
		w.plan = w.plans[i]
		return true
	}
	p := &letterPlan{schema: schema}
	var fields []arrow.Field
	for i, f := range schema.Fields {
		t := f.Type
		if t == nil || !w.reads[f.Name] {
			continue
		}
		if f.Index != nil {
			t = &arrow.DictionaryType{IndexType: f.Index, ValueType: t}
		}
		p.columns = append(p.columns, i)
		fields = append(fields, arrow.Field{Name: f.Name, Type: t, Nullable: f.Nullable})
	}
	var err error
	if p.out, err = arrowipc.NewSchema(arrow.NewSchema(fields, nil)); err != nil {
		return false
	}
	w.plans = append(slices.DeleteFunc(w.plans, func(p *letterPlan) bool { return !w.reader.Knows(p.schema) }), p)
	w.plan = p
	return true
}

// texts returns the bytes of the texts of a row, or some number above most.
func (w *letterWriter) texts(row, most int) (n int) {
	for i, at := range w.plan.columns {
		if text, _ := w.text(&w.columns[i], &w.plan.schema.Fields[at], row); n <= most {
			n += len(text)
		}
	}
	return n
}

// append appends a row of the record batch as a stream.
func (w *letterWriter) append(dst []byte, row int) []byte {
	p, b := w.plan, &w.batch
	dst = append(dst, p.out.Message()...)
	for i, at := range p.columns {
		f, c := &p.schema.Fields[at], &w.columns[i]
		if f.Index == nil {
			continue
		}
		text, null := w.text(c, f, row)
		entries := 1
		if null {
			entries = 0
		}
		b.BeginDictionary(dst, p.out.Fields[i].Dictionary, entries)
		b.Node(0)
		b.Buffer(nil)
		w.put(text, f.Stored.OffsetBytes())
		dst = b.End()
	}
	b.Begin(dst, 1, p.out.Nodes, p.out.Buffers)
	for i, at := range p.columns {
		f, c := &p.schema.Fields[at], &w.columns[i]
		typ := f.Type
		if f.Index != nil {
			typ = f.Index
		}
		text, null := w.text(c, f, row)
		if typ.ID() == arrow.NULL {
			b.Node(1)
			continue
		}
		if null {
			b.Node(1)
			b.Zeros(1)
		} else {
			b.Node(0)
			b.Buffer(nil)
		}
		switch {
		case f.Index == nil && f.Stored.OffsetBytes() > 0:
			w.put(text, f.Stored.OffsetBytes())
		case typ.ID() == arrow.BOOL && !null:
			b.Bitmap(c.Values, row, 1)
		case typ.ID() == arrow.BOOL:
			b.Zeros(1)
		case null || f.Index != nil:
			b.Zeros(typ.(arrow.FixedWidthDataType).Bytes())
		default:
			size := typ.(arrow.FixedWidthDataType).Bytes()
			b.Buffer(c.Values[size*row : size*(row+1)])
		}
	}
	return arrowipc.AppendEnd(b.End())
}

// text returns the text in a row of a column that has texts, and whether the row is null.
func (w *letterWriter) text(c *arrowipc.Column, f *arrowipc.Field, row int) (text []byte, null bool) {
	if c.IsNull(row) {
		return nil, true
	}
	s := arrowSource{Column: *c, typ: f.Type.ID(), wide: f.Stored.OffsetBytes() == 8}
	switch {
	case f.Index != nil:
		s.typ = f.Index.ID()
		if n, ok := s.int(row); !ok || n < 0 || n >= int64(c.Dictionary.Len()) {
			return nil, true
		}
	case f.Stored.OffsetBytes() == 0:
		return nil, false
	}
	return s.text(row), false
}

// put appends the offsets, of so many bytes each, and the bytes of one text.
func (w *letterWriter) put(text []byte, size int) {
	dst := w.batch.Open()
	var offsets [16]byte
	offsets[size], offsets[size+1], offsets[size+2], offsets[size+3] = byte(len(text)), byte(len(text)>>8), byte(len(text)>>16), byte(len(text)>>24)
	w.batch.Close(append(dst, offsets[:2*size]...))
	w.batch.Buffer(text)
}
