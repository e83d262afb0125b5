package observe

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/bitutil"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
)

// Scored is a request batch with what became of it. All slices have one entry a row.
type Scored struct {
	Batch       arrow.Record // Manifest.RequestSchema
	Predictions arrow.Record // Manifest.OutputFields; NULL in failed rows
	Failed      []schemas.RowError
	Variant     string
	LatencyUS   []int64
	QueueUS     []int64 // schemas.UnknownQueue is stored as NULL
}

// Encoder writes scored batches as observation records: Arrow IPC streams of
// at most schemas.MaxObservationBytes, each complete in itself. It is not safe for
// concurrent use: every lane has its own.
type Encoder struct {
	message   []byte // the schema, and the dictionaries that never change: version, outcomes, classes
	variant   []byte // the dictionary of variants
	named     string // the variant in it
	schema    *arrowipc.Schema
	ids       map[string]int64 // of dictionaries, by column
	classIdx  map[schemas.ErrorClass]uint32
	columns   []column // of the batch and of the predictions
	system    []string // the columns behind them, in order
	queued    []byte   // bitmap of the rows whose queue_us is known; empty where all are
	own       bool     // streams have dictionaries of what their rows use and no more
	batch     arrowipc.Batch
	parts     []Part
	maxStream int
}

// Part is one observation record in what Append returned.
type Part struct {
	From, To int // bytes
	Rows     int
}

// column is a column of the batch that is being written.
type column struct {
	width   int    // bytes of a value; 0 for booleans and texts
	at      int    // where the array starts in its buffers
	valid   []byte // nil where there are no nulls
	values  []byte // not of texts
	offsets []int32
	data    []byte

	entries *array.String // of a dictionary
	id      int64
	places  []int32 // of the entries in the stream's own dictionary, -1 where unused
	used    []int32 // entries of the stream's own dictionary
	indices []byte  // into it
}

// NewEncoder plans an encoder of records of at most so many bytes.
func NewEncoder(m *schemas.Manifest, maxBytes int) (*Encoder, error) {
	first := m.RequestSchema().NumFields() + len(m.Outputs) // of what became of the rows
	schema, err := arrowipc.NewSchema(m.ObservationSchema())
	if err != nil {
		return nil, fmt.Errorf("model %s version %s: %w", m.Name, m.Version, err)
	}
	e := &Encoder{
		schema: schema, maxStream: maxBytes, ids: map[string]int64{},
		classIdx: map[schemas.ErrorClass]uint32{}, columns: make([]column, first),
	}
	for i, f := range schema.Fields {
		if f.Index != nil {
			e.ids[f.Name] = f.Dictionary
		}
		if i >= first {
			e.system = append(e.system, f.Name)
		}
	}
	e.message = e.appendNames(slices.Clone(schema.Message()), e.ids[schemas.ColumnVersion], m.Version)
	e.message = e.appendNames(e.message, e.ids[schemas.ColumnOutcome], outcomes[:]...)
	names := []string{""}
	for i, c := range schemas.ErrorClasses() {
		names = append(names, string(c))
		e.classIdx[c] = uint32(i + 1)
	}
	e.message = e.appendNames(e.message, e.ids[schemas.ColumnErrorClass], names...)
	e.variant = e.appendNames(nil, e.ids[schemas.ColumnVariant], "")
	return e, nil
}

// outcomes are the dictionary of schemas.ColumnOutcome.
var outcomes = [...]string{schemas.OutcomeOK, schemas.OutcomeFailed}

const failed = 1 // of outcomes

// appendNames appends a dictionary of names.
func (e *Encoder) appendNames(dst []byte, id int64, names ...string) []byte {
	offsets, data := []int32{0}, []byte(nil)
	for _, n := range names {
		data = append(data, n...)
		offsets = append(offsets, int32(len(data)))
	}
	return e.appendDictionary(dst, id, offsets, data)
}

// appendDictionary appends a dictionary of the texts that the offsets, one more than
// texts, are of.
func (e *Encoder) appendDictionary(dst []byte, id int64, offsets []int32, data []byte) []byte {
	b := &e.batch
	b.BeginDictionary(dst, id, len(offsets)-1)
	b.Node(0)
	b.Buffer(nil)
	b.Offsets(offsets)
	b.Buffer(data)
	return b.End()
}

// Append appends the scored batch to dst as observation records. The parts say where they
// are in the slice that it returns; they are valid until the next Append. A row of its own
// that takes more than a stream may is written all the same.
func (e *Encoder) Append(dst []byte, s *Scored, scoredAt time.Time) ([]byte, []Part) {
	e.parts = e.parts[:0]
	if s.Variant != e.named {
		e.variant, e.named = e.appendNames(e.variant[:0], e.ids[schemas.ColumnVariant], s.Variant), s.Variant
	}
	e.bindQueue(s.QueueUS)
	dictionaries := e.bind(s)
	e.own = dictionaries > e.maxStream/4
	rows := int(s.Batch.NumRows())
	for from := 0; from < rows; {
		to := e.fit(from, rows, dictionaries)
		if e.own && len(e.parts) > 0 { // what fit does not count is like in the part before
			to = min(to, from+2*e.parts[len(e.parts)-1].Rows)
		}
		start := len(dst)
		for {
			dst = e.write(dst[:start], s, from, to, scoredAt.UnixMicro())
			size := len(dst) - start
			if size <= e.maxStream || to == from+1 {
				break
			}
			to = from + max(1, (to-from)*e.maxStream/size*9/10) // its own dictionaries took too much
		}
		e.parts = append(e.parts, Part{From: start, To: len(dst), Rows: to - from})
		from = to
	}
	return dst, e.parts
}

// bind takes the columns of a batch and returns the size of its dictionaries, which streams
// repeat: unknown categories of all rows are in them.
func (e *Encoder) bind(s *Scored) (dictionaries int) {
	n := int(s.Batch.NumCols())
	for i := range e.columns {
		from, at := s.Batch, i
		if i >= n {
			from, at = s.Predictions, i-n
		}
		a := from.Column(at)
		c, data := &e.columns[i], a.Data()
		*c = column{at: data.Offset(), places: c.places, used: c.used, indices: c.indices}
		if a.NullN() > 0 {
			c.valid = a.NullBitmapBytes()
		}
		switch a := a.(type) {
		case *array.Dictionary:
			c.width, c.entries, c.id = 4, a.Dictionary().(*array.String), e.ids[from.ColumnName(at)]
			dictionaries += arrowipc.DictionaryBytes(c.entries.Len(), len(c.entries.ValueBytes()))
		case *array.String:
			if a.Len() > 0 {
				c.offsets = a.ValueOffsets()
			}
			if data.Buffers()[2] != nil {
				c.data = data.Buffers()[2].Bytes()
			}
			continue
		default:
			if t, ok := a.DataType().(arrow.FixedWidthDataType); ok && a.DataType().ID() != arrow.BOOL {
				c.width = t.Bytes()
			}
		}
		if data.Buffers()[1] != nil {
			c.values = data.Buffers()[1].Bytes()
		}
	}
	return dictionaries
}

// bindQueue notes in which rows queue_us is known.
func (e *Encoder) bindQueue(us []int64) {
	e.queued = e.queued[:0]
	if !slices.Contains(us, schemas.UnknownQueue) {
		return
	}
	e.queued = arrowipc.AppendZeros(e.queued, (len(us)+7)/8)
	for row, v := range us {
		bitutil.SetBitTo(e.queued, row, v != schemas.UnknownQueue)
	}
}

// fit returns the end of the rows from a row on that a stream has room for, at least one.
func (e *Encoder) fit(from, rows, dictionaries int) int {
	room := e.maxStream - len(e.message) - len(e.variant) - arrowipc.MetadataBytes(e.schema.Nodes, e.schema.Buffers) - arrowipc.EndBytes
	if !e.own {
		room -= dictionaries
	}
	if e.size(from, rows) <= room {
		return rows
	}
	low, high := from+1, rows // low fits, or is all there can be; high does not
	for high-low > 1 {
		if middle := (low + high) / 2; e.size(from, middle) <= room {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// size returns what rows take in the body of a record batch.
func (e *Encoder) size(from, to int) int {
	n := to - from
	total := 0
	for _, name := range e.system {
		if _, dictionary := e.ids[name]; dictionary {
			total += arrowipc.PaddedBytes(4 * n)
		} else {
			total += 8 * n
		}
	}
	if len(e.queued) > 0 {
		total += arrowipc.PaddedBytes((n + 7) / 8)
	}
	for i := range e.columns {
		c := &e.columns[i]
		if c.valid != nil {
			total += arrowipc.PaddedBytes((n + 7) / 8)
		}
		switch {
		case c.offsets != nil:
			total += arrowipc.PaddedBytes(4*(n+1)) + arrowipc.PaddedBytes(int(c.offsets[to]-c.offsets[from]))
		case c.width > 0:
			total += arrowipc.PaddedBytes(c.width * n)
		default:
			total += arrowipc.PaddedBytes((n + 7) / 8)
		}
	}
	return total
}

// write appends some rows as a stream.
func (e *Encoder) write(dst []byte, s *Scored, from, to int, scoredAt int64) []byte {
	dst = append(dst, e.message...)
	dst = append(dst, e.variant...)
	for i := range e.columns {
		switch c := &e.columns[i]; {
		case c.entries == nil:
		case e.own:
			dst = e.appendOwn(dst, c, from, to)
		case c.entries.Len() == 0:
			dst = e.appendNames(dst, c.id)
		default:
			dst = e.appendDictionary(dst, c.id, c.entries.ValueOffsets(), c.entries.ValueBytes())
		}
	}
	b, n := &e.batch, to-from
	b.Begin(dst, n, e.schema.Nodes, e.schema.Buffers)
	for i := range e.columns {
		e.put(&e.columns[i], from, n)
	}
	for _, name := range e.system {
		nulls := 0
		if name == schemas.ColumnQueue && len(e.queued) > 0 {
			nulls = n - bitutil.CountSetBits(e.queued, from, n)
		}
		e.begin(nulls, e.queued, from, n)
		e.putSystem(name, s, from, n, scoredAt)
	}
	return arrowipc.AppendEnd(b.End())
}

// putSystem writes the values of a column of what became of the rows.
func (e *Encoder) putSystem(name string, s *Scored, from, n int, scoredAt int64) {
	b := &e.batch
	switch name {
	case schemas.ColumnLatency:
		b.Buffer(arrow.Int64Traits.CastToBytes(s.LatencyUS[from : from+n]))
	case schemas.ColumnQueue:
		b.Buffer(arrow.Int64Traits.CastToBytes(s.QueueUS[from : from+n]))
	case schemas.ColumnScoredAt:
		b.Repeat(scoredAt, n)
	default: // in a dictionary, and of most rows its first entry
		dst := b.Open()
		at := len(dst)
		dst = arrowipc.AppendZeros(dst, 4*n)
		for _, f := range s.Failed {
			if f.Row < from || f.Row >= from+n {
				continue
			}
			switch name {
			case schemas.ColumnOutcome:
				binary.LittleEndian.PutUint32(dst[at+4*(f.Row-from):], failed)
			case schemas.ColumnErrorClass:
				binary.LittleEndian.PutUint32(dst[at+4*(f.Row-from):], e.classIdx[f.Class])
			}
		}
		b.Close(dst)
	}
}

// begin writes how many of a column's rows are null, and which, by a bitmap of those that are not.
func (e *Encoder) begin(nulls int, valid []byte, first, n int) {
	e.batch.Node(nulls)
	if nulls > 0 {
		e.batch.Bitmap(valid, first, n)
	} else {
		e.batch.Buffer(nil)
	}
}

// put writes a column of the batch or of the predictions.
func (e *Encoder) put(c *column, from, n int) {
	b := &e.batch
	first := c.at + from
	nulls := 0
	if c.valid != nil {
		nulls = n - bitutil.CountSetBits(c.valid, first, n)
	}
	e.begin(nulls, c.valid, first, n)
	switch {
	case c.offsets != nil:
		b.Offsets(c.offsets[from : from+n+1])
		b.Buffer(c.data[c.offsets[from]:c.offsets[from+n]])
	case c.entries != nil && e.own:
		b.Buffer(c.indices)
	case c.width > 0:
		b.Buffer(c.values[c.width*first : c.width*(first+n)])
	default:
		b.Bitmap(c.values, first, n)
	}
}

// appendOwn appends the dictionary of what some rows use, and keeps their indices into it.
func (e *Encoder) appendOwn(dst []byte, c *column, from, to int) []byte {
	if len(c.places) < c.entries.Len() {
		c.places = slices.Repeat([]int32{-1}, c.entries.Len())
	}
	c.used, c.indices = c.used[:0], c.indices[:0]
	for row := c.at + from; row < c.at+to; row++ {
		place := int32(0)
		if c.valid == nil || bitutil.BitIsSet(c.valid, row) {
			entry := int32(binary.LittleEndian.Uint32(c.values[4*row:]))
			if place = c.places[entry]; place < 0 {
				place = int32(len(c.used))
				c.places[entry] = place
				c.used = append(c.used, entry)
			}
		}
		c.indices = binary.LittleEndian.AppendUint32(c.indices, uint32(place))
	}
	offsets, data := []int32{0}, []byte(nil)
	for _, entry := range c.used {
		data = append(data, c.entries.Value(int(entry))...)
		offsets = append(offsets, int32(len(data)))
		c.places[entry] = -1
	}
	return e.appendDictionary(dst, c.id, offsets, data)
}
