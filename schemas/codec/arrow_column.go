package codec

import (
	"math"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/bitutil"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
)

// arrowColumn gathers the values of one column of the batch.
type arrowColumn struct {
	field
	width  int    // bytes of a value; 0 for booleans and texts
	values []byte // a slab: values, bits, or for texts their offsets
	data   []byte // a slab: texts
	length int    // bytes of the texts in data
	valid  []byte // a slab: bitmap; only of optional features
	nulls  int
	mark   columnMark

	source    arrowSource
	entries   []int32 // what the entries of the source's dictionary are to this column; see the states
	version   int     // of the dictionary that entries are about
	entriesOf *arrowipc.Dictionary
}

// What an entry of a dictionary is to a column, unless it is the index of a category.
const (
	entryUnseen   int32 = -1 - iota
	entryInvalid        // not UTF-8
	entryRejected       // not one of the categories
	entryGood           // a text, or a category that has no index yet
)

// acceptable tells whether values of that type may be what the feature wants: each still
// has to fit. It names what is wanted otherwise.
func acceptable(t schemas.FeatureType, f *arrowipc.Field) (want string, ok bool) {
	switch {
	case f.Type == nil:
	case f.Type.ID() == arrow.NULL:
		ok = f.Index == nil
	case t == schemas.TypeString || t == schemas.TypeCategory:
		ok = f.Type.ID() == arrow.STRING || f.Type.ID() == arrow.LARGE_STRING
	case f.Index != nil:
	case t == schemas.TypeBool:
		ok = f.Type.ID() == arrow.BOOL
	default:
		ok = isInteger(f.Type.ID()) || isFloat(f.Type.ID())
	}
	switch t {
	case schemas.TypeString, schemas.TypeCategory:
		want = "utf8, large_utf8 or a dictionary of these"
	case schemas.TypeBool:
		want = "bool"
	default:
		want = "an integer or a floating-point type"
	}
	return want, ok
}

func isInteger(t arrow.Type) bool { return t >= arrow.UINT8 && t <= arrow.INT64 }
func isFloat(t arrow.Type) bool   { return t == arrow.FLOAT32 || t == arrow.FLOAT64 }

// bulkNumbers tells whether the source's numbers can all be taken as they are.
func (c *arrowColumn) bulkNumbers() bool {
	s := &c.source
	switch c.feature.Type {
	case schemas.TypeFloat32:
		if s.typ == arrow.FLOAT32 && !c.bounded {
			return finite(s.Values[:4*s.Rows])
		}
		low, high := max(c.min, -math.MaxFloat32), min(c.max, math.MaxFloat32)
		return within(s, float32(low), float32(high))
	case schemas.TypeFloat64:
		return within(s, max(c.min, -math.MaxFloat64), min(c.max, math.MaxFloat64))
	default: // int32 takes int32 and less, int64 all but uint64
		wide := s.typ == arrow.INT64 || s.typ == arrow.UINT32
		return isInteger(s.typ) && !c.bounded && s.typ != arrow.UINT64 && (!wide || c.feature.Type == schemas.TypeInt64)
	}
}

// state says what a value is to its feature.
type state uint8

const (
	valueGood state = iota
	valueAbsent
	valueUnfit // the type cannot hold it
	valueOutside
)

// number returns what a value becomes: x for floating-point features, n for the others.
func (c *arrowColumn) number(i int) (x float64, n int64, st state) {
	s := &c.source
	if s.IsNull(i) {
		return 0, 0, valueAbsent
	}
	whole := isInteger(s.typ)
	inInt64 := true
	if whole {
		n, inInt64 = s.int(i)
		if x = float64(n); !inInt64 {
			x = float64(uint64(n))
		}
	} else if x = s.float(i); math.IsNaN(x) {
		return 0, 0, valueAbsent
	}
	switch c.feature.Type {
	case schemas.TypeFloat32:
		f := float32(x)
		if whole && inInt64 {
			f = float32(n) // rounded once
		} else if whole {
			f = float32(uint64(n))
		}
		x = float64(f)
		fallthrough
	case schemas.TypeFloat64:
		if math.IsInf(x, 0) {
			return 0, 0, valueUnfit
		}
	default:
		if !whole {
			if x != math.Trunc(x) || math.Abs(x) >= 1<<53 {
				return 0, 0, valueUnfit
			}
			n = int64(x)
		}
		if !inInt64 || (c.feature.Type == schemas.TypeInt32 && int64(int32(n)) != n) {
			return 0, 0, valueUnfit
		}
		if c.bounded && (n < c.low || n > c.high) {
			return 0, n, valueOutside
		}
		return 0, n, valueGood
	}
	if c.bounded && (x < c.min || x > c.max) {
		return x, n, valueOutside
	}
	return x, n, valueGood
}

// fault says what is wrong with a value.
func (c *arrowColumn) fault(i int, st state) *schemas.RequestError {
	switch st {
	case valueAbsent:
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "%q is null or NaN and has no default", c.name)
	case valueOutside:
		return schemas.Errorf(schemas.ErrorClassOutOfRange, "%q is %s, outside %g to %g", c.name, c.source.decimal(nil, i), c.min, c.max)
	default:
		return schemas.Errorf(schemas.ErrorClassWrongType, "%q is %s, which does not fit %s", c.name, c.source.decimal(nil, i), c.feature.Type)
	}
}

// check looks at the values of a column of the record batch: refuse is called for rows
// that cannot be used, and an error is of the record.
func (c *arrowColumn) check(refuse func(row int, fault *schemas.RequestError)) *schemas.RequestError {
	s := &c.source
	if !s.present {
		return nil
	}
	switch c.feature.Type {
	case schemas.TypeString, schemas.TypeCategory:
		return c.checkTexts(refuse)
	case schemas.TypeBool:
		if s.bulk = s.Valid == nil; s.bulk || c.hasDef {
			return nil
		}
		for i := range s.Rows {
			if s.IsNull(i) {
				refuse(i, c.fault(i, valueAbsent))
			}
		}
		return nil
	default:
	}
	if s.bulk = s.Valid == nil && c.bulkNumbers(); s.bulk {
		return nil
	}
	for i := range s.Rows {
		if _, _, st := c.number(i); st > valueAbsent || (st == valueAbsent && !c.hasDef) {
			refuse(i, c.fault(i, st))
		}
	}
	return nil
}

// checkTexts checks UTF-8, categories and the indices into a dictionary.
func (c *arrowColumn) checkTexts(refuse func(row int, fault *schemas.RequestError)) *schemas.RequestError {
	s := &c.source
	s.longest = len(c.def.text)
	if s.Dictionary != nil {
		return c.checkEntries(refuse)
	}
	rejects := c.feature.Unknown == schemas.PolicyReject
	valid := s.typ == arrow.NULL || c.validTexts()
	s.bulk = valid && s.Valid == nil
	for i := range s.Rows {
		if s.IsNull(i) {
			if !c.hasDef {
				refuse(i, c.fault(i, valueAbsent))
			}
			continue
		}
		text := s.text(i)
		s.longest = max(s.longest, len(text))
		switch {
		case !valid && !utf8.Valid(text):
			refuse(i, malformed("%q is not valid UTF-8", c.name))
		case rejects && !c.dict.known(text):
			refuse(i, c.unknown(text))
		}
	}
	return nil
}

func (c *arrowColumn) unknown(text []byte) *schemas.RequestError {
	return schemas.Errorf(schemas.ErrorClassUnknownCategory, "%q is %q, which is not one of its categories", c.name, clip(text))
}

// validTexts tells whether all texts of the source together are valid UTF-8, and none
// starts within a character.
func (c *arrowColumn) validTexts() bool {
	s := &c.source
	first, last := s.offset(0), s.offset(s.Rows)
	data := s.Data[first:last]
	if ascii(data) {
		return true
	}
	if !utf8.Valid(data) {
		return false
	}
	for i := range s.Rows {
		if o := s.offset(i); o < last && !utf8.RuneStart(s.Data[o]) {
			return false
		}
	}
	return true
}

// checkEntries checks the rows of a source that has a dictionary, each entry once.
func (c *arrowColumn) checkEntries(refuse func(row int, fault *schemas.RequestError)) *schemas.RequestError {
	s := &c.source
	c.startEntries(s.Dictionary)
	s.bulk = s.Valid == nil
	for i := range s.Rows {
		if s.IsNull(i) {
			if !c.hasDef {
				refuse(i, c.fault(i, valueAbsent))
			}
			continue
		}
		n, ok := s.int(i)
		if !ok || n < 0 || n >= int64(len(c.entries)) {
			return malformed("row %d of column %q has entry %d of a dictionary of %d", i, c.name, n, len(c.entries))
		}
		e := c.entries[n]
		if e == entryUnseen {
			e = c.entry(s.Dictionary.Value(int(n)))
			c.entries[n] = e
		}
		s.longest = max(s.longest, len(s.Dictionary.Value(int(n))))
		switch e {
		case entryInvalid:
			refuse(i, malformed("%q is not valid UTF-8", c.name))
		case entryRejected:
			refuse(i, c.unknown(s.Dictionary.Value(int(n))))
		}
	}
	return nil
}

// startEntries forgets the entries of another dictionary. A dictionary that only grew
// keeps those that were seen.
func (c *arrowColumn) startEntries(d *arrowipc.Dictionary) {
	if c.entriesOf != d || c.version != d.Version {
		c.entries, c.entriesOf, c.version = c.entries[:0], d, d.Version
	}
	n := len(c.entries)
	c.entries = slices.Grow(c.entries, d.Len()-n)[:d.Len()]
	for i := n; i < len(c.entries); i++ {
		c.entries[i] = entryUnseen
	}
}

// entry says what a text is to this column.
func (c *arrowColumn) entry(text []byte) int32 {
	if !utf8.Valid(text) {
		return entryInvalid
	}
	if c.feature.Unknown == schemas.PolicyReject && !c.dict.known(text) {
		return entryRejected
	}
	return entryGood
}

// textBytes returns the bytes of the text that a row becomes.
func (c *arrowColumn) textBytes(i int) int {
	if !c.source.present || c.source.IsNull(i) {
		return len(c.def.text)
	}
	return len(c.source.text(i))
}

// append appends rows of the source, which check has passed, at a row of the batch. There
// is room for them, but for texts.
func (c *arrowColumn) append(at, from, to int, mem *recycler) {
	n := to - from
	if c.valid != nil {
		bitutil.SetBitsTo(c.valid, int64(at), int64(n), true)
	}
	switch c.feature.Type {
	case schemas.TypeBool:
		c.appendBooleans(at, from, to)
	case schemas.TypeFloat32:
		appendNumbers(c, view[float32](c.values[4*at:], n), at, from)
	case schemas.TypeFloat64:
		appendNumbers(c, view[float64](c.values[8*at:], n), at, from)
	case schemas.TypeInt32:
		appendNumbers(c, view[int32](c.values[4*at:], n), at, from)
	case schemas.TypeInt64:
		appendNumbers(c, view[int64](c.values[8*at:], n), at, from)
	case schemas.TypeCategory:
		c.appendCategories(view[int32](c.values[4*at:], n), at, from)
	default:
		c.appendTexts(view[int32](c.values[4*at:], n+1), at, from, mem)
	}
}

func (c *arrowColumn) null(row int) {
	bitutil.ClearBit(c.valid, row)
	c.nulls++
}

// absent makes a row null, or tells that it takes the default.
func (c *arrowColumn) absent(row int) (null bool) {
	if c.def.null {
		c.null(row)
	}
	return c.def.null
}

func appendNumbers[D number](c *arrowColumn, dst []D, at, from int) {
	s := &c.source
	if s.present && s.bulk {
		convert(dst, s, from)
		return
	}
	floating := c.feature.Type == schemas.TypeFloat32 || c.feature.Type == schemas.TypeFloat64
	def := D(c.def.int)
	if floating {
		def = D(c.def.num)
	}
	for i := range dst {
		dst[i] = def
		if !s.present {
			c.absent(at + i)
			continue
		}
		switch x, n, st := c.number(from + i); {
		case st == valueAbsent:
			c.absent(at + i)
		case floating:
			dst[i] = D(x)
		default:
			dst[i] = D(n)
		}
	}
}

func (c *arrowColumn) appendBooleans(at, from, to int) {
	s := &c.source
	if s.present && s.bulk {
		bitutil.CopyBitmap(s.Values, from, to-from, c.values, at)
		return
	}
	for i := range to - from {
		value := c.def.int != 0
		if s.present && !s.IsNull(from+i) {
			value = bitutil.BitIsSet(s.Values, from+i)
		}
		bitutil.SetBitTo(c.values, at+i, value)
	}
}

func (c *arrowColumn) appendCategories(dst []int32, at, from int) {
	s := &c.source
	for i := range dst {
		row := from + i
		if !s.present || s.IsNull(row) {
			if dst[i] = 0; !c.absent(at + i) {
				dst[i] = c.dict.index(c.def.text)
			}
			continue
		}
		if s.Dictionary == nil {
			dst[i] = c.dict.index(s.text(row))
			continue
		}
		n, _ := s.int(row)
		e := c.entries[n]
		if e == entryGood {
			e = c.dict.index(s.Dictionary.Value(int(n)))
			c.entries[n] = e
		}
		dst[i] = e
	}
}

// appendTexts appends to the offsets, of which dst holds the last one that is set and
// those that follow.
func (c *arrowColumn) appendTexts(dst []int32, at, from int, mem *recycler) {
	s := &c.source
	rows := len(dst) - 1
	if s.present && s.bulk && s.Dictionary == nil {
		first, last := s.offset(from), s.offset(from+rows)
		c.room(int(last-first), mem)
		copy(c.data[c.length:], s.Data[first:last])
		shift := int32(c.length) - int32(first)
		c.length += int(last - first)
		if s.wide {
			for i := range rows {
				dst[i+1] = int32(s.offset(from+i+1)) + shift
			}
			return
		}
		fill(dst[1:], view[int32](s.Offsets, from+rows+1)[from+1:])
		for i := range dst[1:] {
			dst[i+1] += shift
		}
		return
	}
	for i := range rows {
		text := c.def.text
		if s.present && !s.IsNull(from+i) {
			text = s.text(from + i)
		} else {
			c.absent(at + i)
		}
		c.room(len(text), mem)
		copy(c.data[c.length:], text)
		c.length += len(text)
		dst[i+1] = int32(c.length)
	}
}

// room makes room for more bytes of texts.
func (c *arrowColumn) room(n int, mem *recycler) {
	c.data = mem.grow(c.data, c.length, c.length+n)
}
