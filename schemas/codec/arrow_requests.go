package codec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
)

// maxExpanded bounds what one Kafka record may become: its buffers when they are
// decompressed, and its rows in the batch, which dictionaries and absent columns make larger
// than they were.
const maxExpanded = 32 << 20

// maxRefused bounds how many rows of one Kafka record are refused one by one: each becomes
// a dead letter. A record with more is refused as a whole.
const maxRefused = 4096

// ArrowRequests decodes Kafka records that are Arrow IPC streams, one request a row. It
// implements Requests.
//
// Columns are matched with features by name, in any order; others are ignored. A type is
// accepted if it can hold what the feature's type holds: integers and floating-point numbers
// for each other as far as the value fits, utf8, large_utf8 and dictionaries of these for
// texts. Null, and NaN in a column of numbers, is what null is in JSON; an infinity fits no
// feature. A request id in the column request_id is a text or an integer. One in the
// record's header is that of row 0, and with "/<row>" behind it that of the others.
type ArrowRequests struct {
	schema *arrow.Schema
	mem    *recycler
	reader *arrowipc.Reader
	plans  []arrowPlan // latest last
	letter letterWriter

	columns   []arrowColumn // of the features
	eventTime string        // name of the field; "" without one
	format    schemas.TimeFormat
	zone      zone
	rowBytes  int // what a row takes in the batch, without its texts and its id

	rows       int
	ids        []byte // slabs, as those of arrowColumn
	idOffsets  []byte
	idLength   int
	times      []byte
	topicIdx   []byte
	partitions []byte
	offsets    []byte
	rowNumbers []byte
	topics     *dictionary
	topicIDs   []uuid.UUID // of topics' entries

	// Of the record that is being decoded.
	id       arrowSource
	time     arrowSource
	unit     arrow.TimeUnit // of time, where it is a timestamp
	naive    bool           // it is a timestamp without a zone, and zone says which
	micros   []int64        // event times of the record batch
	header   []byte         // request id of the header
	prefix   []byte         // start of the ids of rows after the first
	expanded int
	refused  []schemas.RowError
	faulty   bool                    // some row of the record batch has a fault
	faults   []*schemas.RequestError // of its rows; only where faulty
	refuse   func(row int, fault *schemas.RequestError)
}

// arrowPlan says where the columns of a stream's schema are.
type arrowPlan struct {
	schema  *arrowipc.Schema
	columns []int // of each feature, -1 where it is absent
	id      int
	time    int
}

// NewArrowRequests plans a decoder. Release it when done.
func NewArrowRequests(m *schemas.Manifest, alloc memory.Allocator) (*ArrowRequests, error) {
	mem := &recycler{alloc: alloc}
	d := &ArrowRequests{
		schema: m.RequestSchema(), mem: mem, reader: arrowipc.NewReader(maxExpanded),
		columns: make([]arrowColumn, 0, len(m.Features)), eventTime: m.EventTime.Field, format: m.EventTime.Format,
		topics: newDictionary(alloc, nil),
	}
	loc, err := m.EventTime.Location()
	if err != nil {
		d.Release()
		return nil, fmt.Errorf("model %s version %s: event_time.zone: %w", m.Name, m.Version, err)
	}
	d.zone.loc = loc
	for i := range m.Features {
		f, err := planFeature(&m.Features[i], alloc)
		if err != nil {
			d.Release()
			return nil, fmt.Errorf("model %s version %s: feature %q: %w", m.Name, m.Version, m.Features[i].Name, err)
		}
		f.builder.Release()
		f.builder = nil
		c := arrowColumn{field: f}
		switch f.feature.Type {
		case schemas.TypeBool:
			d.rowBytes++
		case schemas.TypeInt64, schemas.TypeFloat64:
			c.width = 8
		default:
			c.width = 4 // of texts, their offsets
		}
		d.rowBytes += c.width
		d.columns = append(d.columns, c)
	}
	d.rowBytes += 4 + 8 + 4 + 4 + 8 + 4
	d.letter.reads = map[string]bool{fieldRequestID: true}
	for i := range d.columns {
		d.letter.reads[d.columns[i].name] = true
	}
	if d.eventTime != "" {
		d.letter.reads[d.eventTime] = true
	}
	d.refuse = func(row int, fault *schemas.RequestError) {
		if !d.faulty {
			clear(d.faults)
			d.faulty = true
		}
		if d.faults[row] == nil {
			d.faults[row] = fault
		}
	}
	return d, nil
}

// Release implements Requests.
func (d *ArrowRequests) Release() {
	d.rows = 0
	for _, slab := range d.slabs() {
		d.mem.Free(*slab)
		*slab = nil
	}
	for i := range d.columns {
		if dict := d.columns[i].dict; dict != nil {
			dict.release()
		}
	}
	d.topics.release()
	d.mem.close()
}

// slabs lists what the batch that is being gathered owns.
func (d *ArrowRequests) slabs() []*[]byte {
	all := []*[]byte{&d.ids, &d.idOffsets, &d.times, &d.topicIdx, &d.partitions, &d.offsets, &d.rowNumbers}
	for i := range d.columns {
		c := &d.columns[i]
		all = append(all, &c.values, &c.data, &c.valid)
	}
	return all
}

// Rows implements Requests.
func (d *ArrowRequests) Rows() int { return d.rows }

// Reserve implements Requests.
func (d *ArrowRequests) Reserve(rows int) {
	have, want := d.rows, d.rows+rows
	fixed := func(slab *[]byte, width int) { *slab = d.mem.grow(*slab, width*have, width*want) }
	for i := range d.columns {
		c := &d.columns[i]
		if c.feature.Optional {
			c.valid = d.mem.grow(c.valid, (have+7)/8, (want+7)/8)
		}
		switch c.feature.Type {
		case schemas.TypeBool:
			c.values = d.mem.grow(c.values, (have+7)/8, (want+7)/8)
		case schemas.TypeString:
			c.values = d.reserveOffsets(c.values, want)
		default:
			fixed(&c.values, c.width)
		}
	}
	d.idOffsets = d.reserveOffsets(d.idOffsets, want)
	fixed(&d.times, 8)
	fixed(&d.topicIdx, 4)
	fixed(&d.partitions, 4)
	fixed(&d.offsets, 8)
	fixed(&d.rowNumbers, 4)
}

// reserveOffsets makes room for one offset more than rows; the first is 0.
func (d *ArrowRequests) reserveOffsets(slab []byte, rows int) []byte {
	slab = d.mem.grow(slab, 4*(d.rows+1)*min(1, len(slab)), 4*(rows+1))
	if d.rows == 0 {
		binary.LittleEndian.PutUint32(slab, 0)
	}
	return slab
}

// streamFault makes a RequestError of what the reader says.
func streamFault(err error) *schemas.RequestError {
	if errors.Is(err, arrowipc.ErrTooLarge) {
		return schemas.Errorf(schemas.ErrorClassTooLarge, "%v", err)
	}
	return malformed("%v", err)
}

// Append implements Requests.
func (d *ArrowRequests) Append(_ context.Context, rec *schemas.Record) (Decoded, error) {
	mark := d.mark()
	d.refused, d.expanded = d.refused[:0], 0
	rows, fault := d.decode(rec)
	if fault != nil {
		d.reset(mark)
		rows, d.refused, d.expanded = 0, d.refused[:0], 0
	}
	return Decoded{Rows: rows - len(d.refused), Fault: fault, Refused: d.refused, Bytes: d.expanded}, nil
}

// decode appends the rows of a record, and returns how many it has, refused ones included.
func (d *ArrowRequests) decode(rec *schemas.Record) (rows int, fault *schemas.RequestError) {
	if len(rec.Value) == 0 {
		return 0, malformed("the value is empty; an Arrow IPC stream is expected")
	}
	schema, err := d.reader.Reset(rec.Value)
	if err != nil {
		return 0, streamFault(err)
	}
	p, fault := d.plan(schema)
	if fault != nil {
		d.reader.Forget()
		return 0, fault
	}
	if fault := d.startIDs(rec); fault != nil {
		return 0, fault
	}
	for {
		n, ok, err := d.reader.Next()
		if err != nil {
			return 0, streamFault(err)
		}
		if !ok {
			break
		}
		if fault := d.batch(p, rec, rows, n); fault != nil {
			return 0, fault
		}
		rows += n
	}
	if rows == 0 {
		return 0, malformed("the Arrow IPC stream has no rows")
	}
	return rows, nil
}

// arrowMark is where a batch stood before a record.
type arrowMark struct {
	rows, ids int
}

// columnMark is where a column stood before a record.
type columnMark struct {
	length, nulls, added int
}

func (d *ArrowRequests) mark() arrowMark {
	for i := range d.columns {
		c := &d.columns[i]
		c.mark = columnMark{length: c.length, nulls: c.nulls}
		if c.dict != nil {
			c.mark.added = len(c.dict.added)
		}
	}
	return arrowMark{d.rows, d.idLength}
}

// reset takes back what was appended since.
func (d *ArrowRequests) reset(m arrowMark) {
	for i := range d.columns {
		c := &d.columns[i]
		c.length, c.nulls = c.mark.length, c.mark.nulls
		if c.dict != nil {
			c.dict.truncate(c.mark.added)
		}
		if len(c.data) > 2*c.length+1<<20 { // grown for this record only
			large := c.data
			c.data = d.mem.grow(nil, 0, c.length)
			copy(c.data, large[:c.length])
			d.mem.Free(large)
		}
	}
	d.rows, d.idLength = m.rows, m.ids
}

// plan finds the columns of a schema, once for each that the reader remembers, or says why
// no record with it can be used.
func (d *ArrowRequests) plan(s *arrowipc.Schema) (*arrowPlan, *schemas.RequestError) {
	i := slices.IndexFunc(d.plans, func(p arrowPlan) bool { return p.schema == s })
	if i >= 0 {
		return &d.plans[i], nil
	}
	p := arrowPlan{schema: s, columns: make([]int, len(d.columns)), id: -1, time: -1}
	if fault := d.match(&p); fault != nil {
		return nil, fault
	}
	d.plans = append(slices.DeleteFunc(d.plans, func(p arrowPlan) bool { return !d.reader.Knows(p.schema) }), p)
	return &d.plans[len(d.plans)-1], nil
}

// match fills in a plan, or says why its schema cannot be used.
func (d *ArrowRequests) match(p *arrowPlan) *schemas.RequestError {
	byName := make(map[string]int, len(p.schema.Fields))
	for i, f := range p.schema.Fields {
		if _, twice := byName[f.Name]; twice {
			return schemas.Errorf(schemas.ErrorClassDuplicateKey, "column %q stands twice", clip([]byte(f.Name)))
		}
		byName[f.Name] = i
	}
	find := func(name string) int {
		if i, ok := byName[name]; ok {
			return i
		}
		return -1
	}
	for i := range d.columns {
		c := &d.columns[i]
		at := find(c.name)
		p.columns[i] = at
		if at >= 0 && p.schema.Fields[at].Kind == arrow.Null.String() {
			p.columns[i], at = -1, -1 // nothing but nulls
		}
		if at < 0 {
			if !c.hasDef {
				return schemas.Errorf(schemas.ErrorClassMissingFeature, "the stream has no column %q, which has no default", c.name)
			}
			continue
		}
		f := &p.schema.Fields[at]
		if want, ok := acceptable(c.feature.Type, f); !ok {
			return schemas.Errorf(schemas.ErrorClassWrongType, "column %q is %s; for a feature of type %s it must be %s", c.name, f.Kind, c.feature.Type, want)
		}
	}
	if p.id = find(fieldRequestID); p.id >= 0 {
		f := &p.schema.Fields[p.id]
		if want, ok := acceptable(schemas.TypeString, f); !ok && (f.Type == nil || f.Index != nil || !isInteger(f.Type.ID())) {
			return schemas.Errorf(schemas.ErrorClassWrongType, "column %q is %s; it must be an integer, %s", fieldRequestID, f.Kind, want)
		}
	}
	if d.eventTime == "" {
		return nil
	}
	if p.time = find(d.eventTime); p.time < 0 || p.schema.Fields[p.time].Kind == arrow.Null.String() {
		return schemas.Errorf(schemas.ErrorClassMissingFeature, "the stream has no column %q, the event time", d.eventTime)
	}
	f := &p.schema.Fields[p.time]
	ok := f.Type != nil && f.Index == nil && f.Type.ID() == arrow.TIMESTAMP
	want := "a number (" + string(d.format) + ")"
	if d.format == schemas.TimeRFC3339 {
		want = "a text in RFC 3339"
		_, text := acceptable(schemas.TypeString, f)
		ok = ok || text
	} else if f.Type != nil && f.Index == nil {
		ok = ok || isInteger(f.Type.ID()) || isFloat(f.Type.ID())
	}
	if !ok {
		return schemas.Errorf(schemas.ErrorClassWrongType, "column %q is %s; it must be timestamp or %s", d.eventTime, f.Kind, want)
	}
	return nil
}

// source reads a column of the record batch into s.
func (d *ArrowRequests) source(s *arrowSource, p *arrowPlan, i int) *schemas.RequestError {
	*s = arrowSource{}
	if i < 0 {
		return nil
	}
	var err error
	if s.Column, err = d.reader.Column(i); err != nil {
		return streamFault(err)
	}
	f := &p.schema.Fields[i]
	s.present, s.typ = true, f.Type.ID()
	if f.Index != nil {
		s.typ = f.Index.ID()
	}
	s.wide = s.typ == arrow.LARGE_STRING
	return nil
}

// batch appends the rows of a record batch that can be used. first is its first row in the
// record.
func (d *ArrowRequests) batch(p *arrowPlan, rec *schemas.Record, first, rows int) *schemas.RequestError {
	d.faulty = false
	if d.expanded += rows * (d.rowBytes + len(d.prefix) + digits(first+rows)); d.expanded > maxExpanded {
		return tooExpanded()
	}
	if last := first + rows - 1; d.header != nil && last > 0 {
		if n := len(d.header) + 1 + digits(last); n > MaxRequestIDBytes {
			return idTooLong("header "+schemas.HeaderRequestID+" with the row's number", n)
		}
	}
	d.faults = slices.Grow(d.faults[:0], rows)[:rows]
	refuse := d.refuse
	longest := 0
	for i := range d.columns {
		c := &d.columns[i]
		if fault := d.source(&c.source, p, p.columns[i]); fault != nil {
			return fault
		}
		c.source.longest = len(c.def.text)
		if fault := c.check(refuse); fault != nil {
			return fault
		}
		longest += c.source.longest
	}
	if fault := d.source(&d.id, p, p.id); fault != nil {
		return fault
	}
	if fault := d.source(&d.time, p, p.time); fault != nil {
		return fault
	}
	if fault := d.checkIDs(rows, refuse); fault != nil {
		return fault
	}
	if d.time.typ == arrow.TIMESTAMP {
		of := p.schema.Fields[p.time].Type.(*arrow.TimestampType)
		d.unit, d.naive = of.Unit, of.TimeZone == "" && d.zone.loc != nil
	}
	if fault := d.checkTimes(rows, refuse); fault != nil {
		return fault
	}
	if longest > schemas.MaxTextBytes {
		d.checkTextBytes(rows, refuse)
	}
	if fault := d.checkTexts(rows); fault != nil {
		return fault
	}
	d.Reserve(rows)
	if !d.faulty {
		return d.append(rec, first, 0, rows)
	}
	from := 0
	for row, fault := range d.faults {
		if fault == nil {
			continue
		}
		if fault := d.append(rec, first, from, row); fault != nil {
			return fault
		}
		from = row + 1
		if len(d.refused) == maxRefused {
			return schemas.Errorf(d.refused[0].Class, "more than %d rows of the record cannot be used; row %d: %s", maxRefused, d.refused[0].Row, d.refused[0].Reason)
		}
		d.refused = append(d.refused, schemas.RowError{Row: first + row, RequestError: fault})
	}
	return d.append(rec, first, from, rows)
}

// checkTextBytes refuses rows that would not fit an observation record.
func (d *ArrowRequests) checkTextBytes(rows int, refuse func(row int, fault *schemas.RequestError)) {
	for row := range rows {
		n := 0
		for i := range d.columns {
			if t := d.columns[i].feature.Type; t == schemas.TypeString || t == schemas.TypeCategory {
				n += d.columns[i].textBytes(row)
			}
		}
		if n > schemas.MaxTextBytes {
			refuse(row, schemas.Errorf(schemas.ErrorClassTooLarge, "the texts of the features have %d bytes together; at most %d are allowed", n, schemas.MaxTextBytes))
		}
	}
}

// checkTexts refuses a record whose texts would take too much room in the batch.
func (d *ArrowRequests) checkTexts(rows int) *schemas.RequestError {
	const most = math.MaxInt32 - 2*maxExpanded // int32 counts the texts of a column
	for i := range d.columns {
		c := &d.columns[i]
		if c.feature.Type != schemas.TypeString {
			continue
		}
		for row := 0; row < rows && d.expanded <= maxExpanded; row++ {
			d.expanded += c.textBytes(row)
		}
		if c.length > most {
			return schemas.Errorf(schemas.ErrorClassTooLarge, "the batch has no room for the texts of the record")
		}
	}
	if d.expanded > maxExpanded || d.idLength > most {
		return tooExpanded()
	}
	return nil
}

func tooExpanded() *schemas.RequestError {
	return schemas.Errorf(schemas.ErrorClassTooLarge, "the rows of the record take more than %d bytes when they are decoded", maxExpanded)
}
