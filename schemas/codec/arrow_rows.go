package codec

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
)

// append appends a run of rows of the record batch that were checked. They may still have
// too many categories that are new.
func (d *ArrowRequests) append(rec *schemas.Record, first, from, to int) *schemas.RequestError {
	n := to - from
	if n == 0 {
		return nil
	}
	for i := range d.columns {
		c := &d.columns[i]
		before := c.dict.addedBytes()
		c.append(d.rows, from, to, d.mem)
		if d.expanded += c.dict.addedBytes() - before; d.expanded > maxExpanded {
			return tooExpanded()
		}
	}
	d.appendIDs(first, from, to)
	if times := view[int64](d.times[8*d.rows:], n); d.eventTime == "" {
		constant(times, schemas.ClampMicros(rec.Timestamp))
	} else {
		copy(times, d.micros[from:to])
	}
	constant(view[int32](d.topicIdx[4*d.rows:], n), d.topic(rec.TopicID))
	constant(view[int32](d.partitions[4*d.rows:], n), rec.Partition)
	constant(view[int64](d.offsets[8*d.rows:], n), rec.Offset)
	numbers := view[int32](d.rowNumbers[4*d.rows:], n)
	for i := range numbers {
		numbers[i] = int32(first + from + i)
	}
	d.rows += n
	return nil
}

func constant[T number](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}

// topic returns the dictionary index of a topic id; there is hardly ever more than one.
func (d *ArrowRequests) topic(id uuid.UUID) int32 {
	if i := slices.Index(d.topicIDs, id); i >= 0 {
		return int32(i)
	}
	d.topicIDs = append(d.topicIDs, id)
	return d.topics.index([]byte(id.String()))
}

// startIDs finds the request id in the header, and what ids start with otherwise.
func (d *ArrowRequests) startIDs(rec *schemas.Record) *schemas.RequestError {
	d.header = nil
	if h, ok := rec.Header(schemas.HeaderRequestID); ok && len(h) > 0 {
		if !utf8.Valid(h) {
			return malformed("header %s is not valid UTF-8", schemas.HeaderRequestID)
		}
		if len(h) > MaxRequestIDBytes {
			return idTooLong("header "+schemas.HeaderRequestID, len(h))
		}
		d.header = h
		d.prefix = append(d.prefix[:0], h...)
		return nil
	}
	d.prefix = rec.Coordinates().AppendID(d.prefix[:0])
	return nil
}

func idTooLong(from string, n int) *schemas.RequestError {
	return schemas.Errorf(schemas.ErrorClassWrongType, "the request id in %s has %d bytes; at most %d are allowed", from, n, MaxRequestIDBytes)
}

// checkIDs checks the column of request ids.
func (d *ArrowRequests) checkIDs(rows int, refuse func(row int, fault *schemas.RequestError)) *schemas.RequestError {
	s := &d.id
	if !s.present || isInteger(s.typ) && s.Dictionary == nil {
		return nil
	}
	for row := range rows {
		if s.IsNull(row) {
			continue
		}
		if s.Dictionary != nil {
			if n, ok := s.int(row); !ok || n < 0 || n >= int64(s.Dictionary.Len()) {
				return malformed("row %d of column %q has entry %d of a dictionary of %d", row, fieldRequestID, n, s.Dictionary.Len())
			}
		}
		text := s.text(row)
		switch {
		case !utf8.Valid(text):
			refuse(row, malformed("%q is not valid UTF-8", fieldRequestID))
		case d.header == nil && len(text) > MaxRequestIDBytes:
			refuse(row, idTooLong("column "+fieldRequestID, len(text)))
		case d.header == nil:
			d.expanded += len(text)
		}
	}
	return nil
}

// appendIDs appends the request ids of a run of rows: the header's, else the column's,
// else the request coordinates.
func (d *ArrowRequests) appendIDs(first, from, to int) {
	ends := view[int32](d.idOffsets[4*(d.rows+1):], to-from)
	if d.header != nil || !d.id.present {
		d.appendNumberedIDs(ends, first+from)
		return
	}
	s := &d.id
	var scratch [MaxRequestIDBytes]byte
	for i := range ends {
		row := from + i
		id := scratch[:0]
		switch {
		case s.IsNull(row):
		case s.Dictionary == nil && isInteger(s.typ):
			id = s.decimal(id, row)
		default:
			id = s.text(row)
		}
		if len(id) == 0 {
			d.appendNumberedIDs(ends[i:i+1], first+row)
			continue
		}
		d.ids = d.mem.grow(d.ids, d.idLength, d.idLength+len(id))
		d.idLength += copy(d.ids[d.idLength:], id)
		ends[i] = int32(d.idLength)
	}
}

// appendNumberedIDs appends the prefix with the number of each row behind it, from row on;
// row 0 has none.
func (d *ArrowRequests) appendNumberedIDs(ends []int32, row int) {
	const most = 1 + 10 // a slash and an int32
	d.ids = d.mem.grow(d.ids, d.idLength, d.idLength+len(ends)*(len(d.prefix)+most))
	ids, at := d.ids, d.idLength
	if row == 0 {
		at += copy(ids[at:], d.prefix)
		ends[0] = int32(at)
		ends, row = ends[1:], 1
	}
	size := 0 // of the id before, if the next one is as long
	for i := range ends {
		if size == 0 {
			from := at
			at += copy(ids[at:], d.prefix)
			ids[at] = '/'
			at = len(strconv.AppendInt(ids[:at+1], int64(row+i), 10))
			size = at - from
		} else {
			at += copy(ids[at:at+size], ids[at-size:])
			digit := at - 1
			for ids[digit] == '9' {
				ids[digit] = '0'
				digit--
			}
			ids[digit]++
		}
		if ends[i] = int32(at); isPowerOfTen(row + i + 1) {
			size = 0
		}
	}
	d.idLength = at
}

// digits returns how many decimal digits a number has.
func digits(n int) int {
	count := 1
	for ; n >= 10; n /= 10 {
		count++
	}
	return count
}

func isPowerOfTen(n int) bool {
	switch n {
	case 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000:
		return true
	default:
		return false
	}
}

// checkTimes finds the event times of the record batch.
func (d *ArrowRequests) checkTimes(rows int, refuse func(row int, fault *schemas.RequestError)) *schemas.RequestError {
	if d.eventTime == "" {
		return nil
	}
	s := &d.time
	if s.Dictionary != nil {
		for row := range rows {
			if n, ok := s.int(row); !s.IsNull(row) && (!ok || n < 0 || n >= int64(s.Dictionary.Len())) {
				return malformed("row %d of column %q has entry %d of a dictionary of %d", row, d.eventTime, n, s.Dictionary.Len())
			}
		}
	}
	d.micros = slices.Grow(d.micros[:0], rows)[:rows]
	for row := range rows {
		us, fault := d.micro(row)
		if fault == nil && (us < schemas.MinMicros || us > schemas.MaxMicros) {
			fault = d.outOfTime(row)
		}
		if fault != nil {
			refuse(row, fault)
		}
		d.micros[row] = us
	}
	return nil
}

// micro returns an event time in microseconds since 1970, any number where it is far
// outside of what is allowed.
func (d *ArrowRequests) micro(row int) (int64, *schemas.RequestError) {
	s := &d.time
	const beyond = math.MaxInt64
	switch {
	case s.IsNull(row) || (isFloat(s.typ) && math.IsNaN(s.float(row))):
		return 0, schemas.Errorf(schemas.ErrorClassMissingFeature, "%q is null and has no default", d.eventTime)
	case s.typ == arrow.TIMESTAMP:
		us := micros(int64(binary.LittleEndian.Uint64(s.Values[8*row:])), d.unit)
		if d.naive && us >= schemas.MinMicros && us <= schemas.MaxMicros {
			us = d.zone.utc(us)
		}
		return us, nil
	case d.format == schemas.TimeRFC3339:
		text := s.text(row)
		us, ok := d.zone.parse(text)
		if !ok {
			return 0, schemas.Errorf(schemas.ErrorClassWrongType, "%q is %q; it must be a time in RFC 3339, like 2001-02-03T04:05:06Z", d.eventTime, clip(text))
		}
		return us, nil
	}
	var x float64
	n, ok := int64(0), true
	if isFloat(s.typ) {
		if x = s.float(row); d.format != schemas.TimeUnix {
			n, ok = int64(x), x == math.Trunc(x) && math.Abs(x) < 1<<53
		}
	} else {
		n, ok = s.int(row)
		x = float64(n)
	}
	switch {
	case !ok:
		return 0, schemas.Errorf(schemas.ErrorClassWrongType, "%q is %s; it must be a whole number (%s)", d.eventTime, s.decimal(nil, row), d.format)
	case d.format == schemas.TimeUnix && math.Abs(x) > 1e11:
		return beyond, nil
	case d.format == schemas.TimeUnix:
		return int64(math.Round(x * 1e6)), nil
	case d.format == schemas.TimeUnixMS:
		return micros(n, arrow.Millisecond), nil
	default:
		return n, nil
	}
}

// micros converts a time, rounding down; far outside of what is allowed, to any number
// outside.
func micros(n int64, unit arrow.TimeUnit) int64 {
	scale := int64(1)
	switch unit {
	case arrow.Second:
		scale = 1_000_000
	case arrow.Millisecond:
		scale = 1000
	case arrow.Nanosecond:
		if us := n / 1000; us*1000 <= n {
			return us
		}
		return n/1000 - 1
	default:
	}
	if n > schemas.MaxMicros/scale+1 || n < schemas.MinMicros/scale-1 {
		return math.MaxInt64
	}
	return n * scale
}

func (d *ArrowRequests) outOfTime(row int) *schemas.RequestError {
	s := &d.time
	var text []byte
	switch {
	case s.typ == arrow.TIMESTAMP:
		n := int64(binary.LittleEndian.Uint64(s.Values[8*row:]))
		text = append(strconv.AppendInt(nil, n, 10), " "+d.unit.String()...)
	case d.format == schemas.TimeRFC3339:
		text = s.text(row)
	default:
		text = s.decimal(nil, row)
	}
	return schemas.Errorf(schemas.ErrorClassOutOfRange, "%q is %s, a time outside the years 1900 to 2299", d.eventTime, clip(text))
}

// NewBatch implements Requests.
func (d *ArrowRequests) NewBatch() arrow.Record {
	d.Reserve(0)
	columns := make([]arrow.Array, 0, d.schema.NumFields())
	for i := range d.columns {
		c := &d.columns[i]
		valid := d.take(&c.valid)
		if c.nulls == 0 && valid != nil {
			valid.Release()
			valid = nil
		}
		buffers := []*memory.Buffer{valid, d.take(&c.values)}
		if c.feature.Type == schemas.TypeString {
			buffers = append(buffers, d.take(&c.data))
		}
		columns = append(columns, d.array(d.schema.Field(i).Type, c.dict, c.nulls, buffers...))
		c.nulls, c.length = 0, 0
	}
	columns = append(columns,
		d.array(arrow.BinaryTypes.String, nil, 0, nil, d.take(&d.idOffsets), d.take(&d.ids)),
		d.array(schemas.TimestampType, nil, 0, nil, d.take(&d.times)),
		d.array(schemas.DictionaryType, d.topics, 0, nil, d.take(&d.topicIdx)),
		d.array(arrow.PrimitiveTypes.Int32, nil, 0, nil, d.take(&d.partitions)),
		d.array(arrow.PrimitiveTypes.Int64, nil, 0, nil, d.take(&d.offsets)),
		d.array(arrow.PrimitiveTypes.Int32, nil, 0, nil, d.take(&d.rowNumbers)))
	batch := array.NewRecord(d.schema, columns, int64(d.rows))
	for _, c := range columns {
		c.Release()
	}
	d.rows, d.idLength, d.topicIDs = 0, 0, d.topicIDs[:0]
	return batch
}

// take gives a slab out as a buffer, which gives it back to the recycler when it is
// released.
func (d *ArrowRequests) take(slab *[]byte) *memory.Buffer {
	if *slab == nil {
		return nil
	}
	b := memory.NewBufferWithAllocator(*slab, d.mem)
	*slab = nil
	return b
}

// array makes an array of the batch's rows, and gives up its own reference to the buffers.
func (d *ArrowRequests) array(t arrow.DataType, dict *dictionary, nulls int, buffers ...*memory.Buffer) arrow.Array {
	defer func() {
		for _, b := range buffers {
			if b != nil {
				b.Release()
			}
		}
	}()
	if dict == nil {
		data := array.NewData(t, d.rows, buffers, nil, nulls, 0)
		defer data.Release()
		return array.MakeFromData(data)
	}
	data := array.NewData(arrow.PrimitiveTypes.Int32, d.rows, buffers, nil, nulls, 0)
	defer data.Release()
	indices := array.NewInt32Data(data)
	defer indices.Release()
	return dict.arrayOf(indices)
}
