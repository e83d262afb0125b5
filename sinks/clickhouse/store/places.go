package store

import (
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
)

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

// add counts a row, of that scored_at.
func (e *extent) add(c schemas.Coordinates, micros int64) {
	if e.rows == 0 {
		e.from, e.to = micros, micros
	}
	e.rows++
	e.from, e.to = min(e.from, micros), max(e.to, micros)
	// Rows come in runs of a partition.
	if e.last >= len(e.spans) || e.spans[e.last].partition != c.Partition || e.spans[e.last].topic != c.TopicID {
		e.last = slices.IndexFunc(e.spans, func(s span) bool { return s.partition == c.Partition && s.topic == c.TopicID })
		if e.last < 0 {
			e.last = len(e.spans)
			e.spans = append(e.spans, span{topic: c.TopicID, partition: c.Partition, min: c.Offset, max: c.Offset})
		}
	}
	s := &e.spans[e.last]
	s.min, s.max = min(s.min, c.Offset), max(s.max, c.Offset)
}

// merge adds the rows of another extent.
func (e *extent) merge(o *extent) {
	if o.rows == 0 {
		return
	}
	rows := e.rows + o.rows
	for _, s := range o.spans {
		c := schemas.Coordinates{TopicID: s.topic, Partition: s.partition, Offset: s.min}
		e.add(c, o.from)
		c.Offset = s.max
		e.add(c, o.to)
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
			within = c.time + " >= " + schemas.MicrosSQL(e.from) + " AND " + c.time + " <= " + schemas.MicrosSQL(e.to) + " AND " + within
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
