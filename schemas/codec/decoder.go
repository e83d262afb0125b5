package codec

import (
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/schemas"
)

// Decoder turns JSON requests into the columns of Manifest.RequestSchema.
//
// Append decodes one request into one row, or says why it cannot be used and leaves the
// columns as they were. NewBatch gives out the rows and starts the next batch.
type Decoder struct {
	rowBuilder
	literals []string // of the fields' names, `"name":`; empty if JSON could write the name in another way
	order    []int    // the field that stood at each place of the object before
	scan     scanner
	value    value // that was read last
}

// NewDecoder plans a decoder. Release it when done.
func NewDecoder(m *schemas.Manifest, alloc memory.Allocator) (*Decoder, error) {
	b, err := newRowBuilder(m, alloc)
	if err != nil {
		return nil, err
	}
	d := &Decoder{rowBuilder: b}
	d.scan.missing = m.NonFinite == schemas.NonFiniteMissing
	for i := range d.fields {
		d.literals = append(d.literals, literalKey(d.fields[i].name))
		d.order = append(d.order, i)
	}
	return d, nil
}

func literalKey(name string) string {
	for _, c := range []byte(name) {
		if !plain[c] || c >= utf8.RuneSelf {
			return ""
		}
	}
	return `"` + name + `":`
}

// Append decodes the request of a Kafka record as one row. On an error nothing is
// appended. rec is not retained.
func (d *Decoder) Append(rec *schemas.Record) *schemas.RequestError {
	d.begin()
	d.scan.reset(rec.Value)
	empty, err := d.scan.open()
	if err != nil {
		return err
	}
	for more, at := !empty, 0; more; at++ {
		if err := d.member(at); err != nil {
			return err
		}
		if more, err = d.scan.next(); err != nil {
			return err
		}
	}
	return d.finish(rec, len(rec.Value))
}

// member reads one key and its value. at is its place in the object: producers keep to an
// order, so the field is most often the one that stood there before.
func (d *Decoder) member(at int) *schemas.RequestError {
	if at < len(d.order) {
		i := d.order[at]
		if d.scan.keyIs(d.literals[i]) {
			return d.fill(i)
		}
	}
	key, err := d.scan.key()
	if err != nil {
		return err
	}
	if i, ok := d.index[string(key)]; ok {
		if at < len(d.order) {
			d.order[at] = i
		}
		return d.fill(i)
	}
	return d.scan.unknown(key)
}

// fill reads the value of a field into its cell.
func (d *Decoder) fill(i int) *schemas.RequestError {
	f := &d.fields[i]
	c := &d.cells[i]
	if c.seen {
		return schemas.Errorf(schemas.ErrorClassDuplicateKey, "key %q stands twice", f.name)
	}
	v := &d.value
	if err := d.scan.value(f.name, v); err != nil {
		return err
	}
	if v.kind == kindNull {
		return d.setNull(i)
	}
	*c = cell{seen: true}
	switch f.role {
	case roleRequestID:
		if v.kind != kindString && v.kind != kindNumber {
			return wrongType(f.name, "a string or a number", v)
		}
		c.text = v.text
		return nil
	case roleEventTime:
		return d.parseTime(i, v)
	default:
		if f.bits > 0 {
			return f.parseFloat(c, v)
		}
		return f.parse(c, v)
	}
}

func wrongType(name, want string, v *value) *schemas.RequestError {
	if v.kind == kindString || v.kind == kindNumber {
		return schemas.Errorf(schemas.ErrorClassWrongType, "%q must be %s, got %s (%s)", name, want, v.kind, clip(v.text))
	}
	return schemas.Errorf(schemas.ErrorClassWrongType, "%q must be %s, got %s", name, want, v.kind)
}

// parse checks a value against the feature, which is no floating-point number, and puts it
// into the cell.
func (f *field) parse(c *cell, v *value) *schemas.RequestError {
	switch f.feature.Type {
	case schemas.TypeBool:
		if v.kind != kindBool {
			return wrongType(f.name, "a boolean", v)
		}
		if v.bool {
			c.int = 1
		}
	case schemas.TypeString:
		if v.kind != kindString {
			return wrongType(f.name, "a string", v)
		}
		c.text = v.text
	case schemas.TypeCategory:
		if v.kind != kindString {
			return wrongType(f.name, "a string", v)
		}
		if err := f.inCategories(v.text); err != nil {
			return err
		}
		c.text = v.text
	default:
		return f.parseInt(c, v)
	}
	return nil
}

func (f *field) parseFloat(c *cell, v *value) *schemas.RequestError {
	if v.kind != kindNumber {
		return wrongType(f.name, "a number", v)
	}
	x, ok := v.float(f.bits)
	if !ok {
		return f.unfit(v.text)
	}
	c.num = x
	return f.inRange(x, v.text)
}

func (f *field) parseInt(c *cell, v *value) *schemas.RequestError {
	if v.kind != kindNumber {
		return wrongType(f.name, "a whole number", v)
	}
	n, ok := v.whole()
	if !ok || f.feature.Type == schemas.TypeInt32 && int64(int32(n)) != n {
		return f.unfit(v.text)
	}
	c.int = n
	return f.wholeInRange(n, v.text)
}
