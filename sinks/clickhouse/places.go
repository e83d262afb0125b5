package clickhouse

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/millrace/millrace/schemas"
)

// place names one row for ever: by the record that it came from and the row in it.
type place struct {
	topic     uuid.UUID
	offset    int64
	partition int32
	row       int32
}

func placeOf(r *schemas.Record) place {
	return place{topic: r.TopicID, partition: r.Partition, offset: r.Offset}
}

// span is a range of offsets of one partition that rows were counted in.
type span struct {
	topic     uuid.UUID
	partition int32
	min, max  int64 // offsets, both inclusive
}

// extent is where a number of rows lie: what a query needs to find them, and little else.
type extent struct {
	rows     int
	spans    []span
	last     int   // the span that the last row fell into
	from, to int64 // least and greatest scored_at, microseconds since 1970; 0 in other tables
}

// add counts a row.
func (e *extent) add(topic uuid.UUID, partition int32, offset, micros int64) {
	if e.rows == 0 {
		e.from, e.to = micros, micros
	}
	e.rows++
	e.from, e.to = min(e.from, micros), max(e.to, micros)
	// Rows come in runs of a partition.
	if e.last >= len(e.spans) || e.spans[e.last].partition != partition || e.spans[e.last].topic != topic {
		e.last = slices.IndexFunc(e.spans, func(s span) bool { return s.partition == partition && s.topic == topic })
		if e.last < 0 {
			e.last = len(e.spans)
			e.spans = append(e.spans, span{topic: topic, partition: partition, min: offset, max: offset})
		}
	}
	s := &e.spans[e.last]
	s.min, s.max = min(s.min, offset), max(s.max, offset)
}

// merge adds the rows of another extent.
func (e *extent) merge(o *extent) {
	if o.rows == 0 {
		return
	}
	rows := e.rows + o.rows
	for _, s := range o.spans {
		e.add(s.topic, s.partition, s.min, o.from)
		e.add(s.topic, s.partition, s.max, o.to)
	}
	e.rows = rows
}

// placeColumns are the columns of a table that name its rows. row is "" where a record is
// one row. time is a column whose values in the rows are known before they are looked for,
// "" if there is none: a condition on it leaves out granules by its index.
//
// When a row was stored is not known to whoever looks for it after a crash, and so no
// partition is left out then. It need not be: rows are stored in the order of offsets, so
// that the index of offsets leaves out the granules of other days.
type placeColumns struct{ topicID, partition, offset, row, time string }

// observationPlaces are the place columns of observations tables.
var observationPlaces = placeColumns{
	schemas.ColumnTopicID, schemas.ColumnPartition, schemas.ColumnOffset, schemas.ColumnRow, schemas.ColumnScoredAt,
}

// maxSpans bounds the length of a query; ClickHouse takes 256 KiB by default.
const maxSpans = 1000

// conditions returns conditions of which exactly one holds for each row of the extent, and
// which hold for few others: one for every maxSpans spans.
func (c placeColumns) conditions(e *extent) []string {
	var all []string
	for spans := range slices.Chunk(e.spans, maxSpans) {
		within := c.within(spans)
		if c.time != "" {
			within = c.time + " >= " + microsSQL(e.from) + " AND " + c.time + " <= " + microsSQL(e.to) + " AND " + within
		}
		all = append(all, within)
	}
	return all
}

func (c placeColumns) within(spans []span) string {
	var b strings.Builder
	b.WriteString("(")
	for i, s := range spans {
		if i > 0 {
			b.WriteString(" OR ")
		}
		b.WriteString("(" + c.topicID + " = '" + s.topic.String() + "' AND " +
			c.partition + " = " + strconv.Itoa(int(s.partition)) + " AND " +
			c.offset + " BETWEEN " + strconv.FormatInt(s.min, 10) + " AND " + strconv.FormatInt(s.max, 10) + ")")
	}
	b.WriteString(")")
	return b.String()
}

// microsSQL is a time as a DateTime64 constant.
func microsSQL(micros int64) string {
	return "fromUnixTimestamp64Micro(" + strconv.FormatInt(micros, 10) + ", 'UTC')"
}

// places calls fn with the coordinates and scored_at of every row of an observation
// record's messages, in order. It checks the messages as it goes, and returns them without
// the end-of-stream.
func (l *layout) places(data []byte, fn func(p place, scoredAt int64)) ([]byte, error) {
	var topics []uuid.UUID
	id := l.fields[l.topicID].dict
	return l.walk(data, func(dict int64, b *batch) error {
		if dict != id {
			return nil
		}
		if !b.isDelta {
			topics = topics[:0]
		}
		names, err := b.strings()
		if err != nil {
			return err
		}
		for _, name := range names {
			topic, err := uuid.ParseBytes(name)
			if err != nil || len(name) != 36 {
				return malformed("topic id %.80q is no UUID", name)
			}
			topics = append(topics, topic)
		}
		return nil
	}, func(b *batch) error {
		if b.rows == 0 {
			return nil
		}
		var columns [5][]byte
		for i, field := range []int{l.topicID, l.partition, l.offset, l.row, l.scoredAt} {
			var err error
			if columns[i], err = b.buffer(l.fields[field].buffer + 1); err != nil {
				return fmt.Errorf("%w, column %q", err, l.fields[field].name)
			}
		}
		for i := range b.rows {
			topic := binary.LittleEndian.Uint32(columns[0][4*i:])
			if int64(topic) >= int64(len(topics)) {
				return malformed("row %d has topic %d of a dictionary of %d", i, int32(topic), len(topics))
			}
			fn(place{
				topic:     topics[topic],
				partition: int32(binary.LittleEndian.Uint32(columns[1][4*i:])),
				offset:    int64(binary.LittleEndian.Uint64(columns[2][8*i:])),
				row:       int32(binary.LittleEndian.Uint32(columns[3][4*i:])),
			}, int64(binary.LittleEndian.Uint64(columns[4][8*i:])))
		}
		return nil
	})
}

// buffer returns buffer i of a batch that has been checked: a slice of the record, or
// decompressed bytes.
func (b *batch) buffer(i int) ([]byte, error) {
	raw := b.stored(i)
	if b.codec == codecNone || len(raw) == 0 {
		return raw, nil
	}
	size := int64(binary.LittleEndian.Uint64(raw))
	raw = raw[8:]
	if size < 0 {
		return raw, nil
	}
	out := make([]byte, 0, size)
	var err error
	if b.codec == codecZSTD {
		if errZSTD != nil {
			return nil, errZSTD
		}
		out, err = zstdDecoder.DecodeAll(raw, out)
	} else {
		out = out[:size]
		r := lz4Readers.Get().(*lz4.Reader)
		r.Reset(bytes.NewReader(raw))
		_, err = io.ReadFull(r, out)
		lz4Readers.Put(r)
	}
	if err != nil || int64(len(out)) != size {
		return nil, malformed("buffer %d gives %d bytes uncompressed, want %d: %v", i, len(out), size, err)
	}
	return out, nil
}

// size returns how many bytes buffer i holds once decompressed.
func (b *batch) size(i int) int64 {
	raw := b.stored(i)
	if b.codec == codecNone || len(raw) == 0 {
		return int64(len(raw))
	}
	if size := int64(binary.LittleEndian.Uint64(raw)); size >= 0 {
		return size
	}
	return int64(len(raw)) - 8
}

// lz4Readers are reused: each holds a block of up to 4 MiB.
var lz4Readers = sync.Pool{New: func() any { return lz4.NewReader(nil) }}

// zstdDecoder decodes whole buffers; DecodeAll is safe for concurrent use.
var zstdDecoder, errZSTD = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUncompressed))

// strings returns the values of a dictionary that checkValues has seen.
func (b *batch) strings() ([][]byte, error) {
	if b.rows == 0 {
		return nil, nil
	}
	offsets, err := b.buffer(1)
	if err != nil {
		return nil, err
	}
	data, err := b.buffer(2)
	if err != nil {
		return nil, err
	}
	values := make([][]byte, b.rows)
	for i := range values {
		values[i] = data[binary.LittleEndian.Uint32(offsets[4*i:]):binary.LittleEndian.Uint32(offsets[4*i+4:])]
	}
	return values, nil
}
