package observe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
)

// ErrMalformed is what every fault of an observation record's bytes wraps.
var ErrMalformed = errors.New("malformed observation record")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// ofStream is what the reader of Arrow IPC says of a record, without the word that ErrMalformed
// says already.
func ofStream(err error) string {
	return strings.TrimPrefix(err.Error(), arrowipc.ErrMalformed.Error()+": ")
}

const (
	// maxBytes bounds what the buffers of a record may hold once decompressed. A record is 512
	// KiB, so more than this is no data of ours.
	maxBytes = 256 << 20
	// What a reader remembers: a schema for each version of each model.
	maxSchemas     = 1024
	maxSchemaBytes = 64 << 20
)

// Schema is what the schema message of an observation record says, once for all records
// that bear the same message.
type Schema struct {
	*arrow.Schema
	Model   string
	Version string

	ipc                                       *arrowipc.Schema
	at                                        map[string]int // columns by name
	topicID, partition, offset, row, scoredAt int            // indexes of the columns of coordinates
	plain                                     []bool         // columns in which any bytes are values, and which are not of coordinates
}

// Message returns the schema message. Its bytes are the schema's.
func (s *Schema) Message() []byte { return s.ipc.Message() }

// Reader takes observation records apart. It trusts no byte, and looks at every one that ClickHouse
// follows without looking: a value out of place would end the server with a segmentation fault. It
// is not safe for concurrent use.
type Reader struct {
	ipc     *arrowipc.Reader
	schemas map[*arrowipc.Schema]*Schema
	topics  []uuid.UUID // entries of the topic ids
	known   int         // version of the dictionary that they are of
	batch   Batch       // that Batches is at
}

// NewReader returns a Reader.
func NewReader() *Reader {
	return &Reader{ipc: arrowipc.NewStrictReader(maxBytes, maxSchemas, maxSchemaBytes), schemas: map[*arrowipc.Schema]*Schema{}}
}

// Read checks an observation record, and calls visit with the coordinates and scored_at, in
// microseconds since 1970, of each row, in order. It returns the record's schema, and its
// messages without the schema's and without the mark of the end: a slice of its value. It may
// have called visit for some rows where it returns an error, which wraps ErrMalformed.
func (r *Reader) Read(rec *schemas.Record, visit func(c schemas.Coordinates, scoredAt int64)) (s *Schema, messages []byte, err error) {
	ipc, err := r.ipc.Reset(rec.Value)
	if err != nil {
		return nil, nil, malformed("%s", ofStream(err))
	}
	if s = r.schemas[ipc]; s == nil {
		if s, err = newSchema(ipc); err != nil {
			r.ipc.Forget()
			return nil, nil, err
		}
		if len(r.schemas) >= maxSchemas {
			maps.DeleteFunc(r.schemas, func(s *arrowipc.Schema, _ *Schema) bool { return !r.ipc.Knows(s) })
		}
		r.schemas[ipc] = s
	}
	n, err := r.rows(s, visit)
	if err != nil {
		return nil, nil, err
	}
	// A stream cut between two messages looks whole; only the header tells.
	if v, ok := rec.Header(schemas.HeaderRows); ok {
		if want, err := strconv.Atoi(string(v)); err != nil || want != n {
			return nil, nil, malformed("%d rows, and header %s says %.20q", n, schemas.HeaderRows, v)
		}
	}
	return s, r.ipc.Messages(), nil
}

// Rows calls visit again as Read did, with the messages that it returned. It is safe for concurrent
// use, and takes memory at each call.
func (s *Schema) Rows(messages []byte, visit func(c schemas.Coordinates, scoredAt int64)) error {
	r := NewReader()
	r.ipc.Resume(s.ipc, messages)
	_, err := r.rows(s, visit)
	return err
}

// newSchema accepts what schemas.Manifest.ObservationSchema makes and nothing else.
func newSchema(ipc *arrowipc.Schema) (*Schema, error) {
	at := map[string]int{}
	s := &Schema{ipc: ipc, at: at}
	var fields []arrow.Field
	for i, f := range ipc.Fields {
		field := arrow.Field{Name: f.Name, Type: f.Type, Nullable: f.Nullable}
		if f.Index != nil && f.Type != nil {
			field.Type = &arrow.DictionaryType{IndexType: f.Index, ValueType: f.Type, Ordered: f.Ordered}
		}
		if f.Children > 0 || !slices.ContainsFunc(columnTypes, func(t arrow.DataType) bool { return field.Type != nil && arrow.TypeEqual(t, field.Type) }) {
			return nil, malformed("column %.120q is of type %s, which observations do not have", f.Name, f.Kind)
		}
		if _, twice := at[f.Name]; twice {
			return nil, malformed("column %.120q stands twice", f.Name)
		}
		at[f.Name] = i
		fields = append(fields, field)
		s.plain = append(s.plain, f.Index == nil && f.Stored.OffsetBytes() == 0)
	}
	s.Schema = arrow.NewSchema(fields, &ipc.Metadata)
	var err error
	if s.Model, s.Version, err = schemas.SchemaModel(s.Schema); err != nil {
		return nil, malformed("%v", err)
	}
	for _, c := range []struct {
		name string
		at   *int
		typ  arrow.DataType
	}{
		{schemas.ColumnTopicID, &s.topicID, schemas.DictionaryType},
		{schemas.ColumnPartition, &s.partition, arrow.PrimitiveTypes.Int32},
		{schemas.ColumnOffset, &s.offset, arrow.PrimitiveTypes.Int64},
		{schemas.ColumnRow, &s.row, arrow.PrimitiveTypes.Int32},
		{schemas.ColumnScoredAt, &s.scoredAt, schemas.TimestampType},
	} {
		i, ok := at[c.name]
		if !ok || fields[i].Nullable || !arrow.TypeEqual(fields[i].Type, c.typ) {
			return nil, malformed("the schema has no column %s of type %s, not nullable", c.name, c.typ)
		}
		*c.at = i
		s.plain[i] = false
	}
	for _, name := range schemas.SystemColumns() {
		if _, ok := at[name]; !ok {
			return nil, malformed("the schema has no column %s", name)
		}
	}
	if _, ok := at[schemas.ColumnStoredAt]; ok {
		return nil, malformed("column %s is the server's", schemas.ColumnStoredAt)
	}
	return s, nil
}

// columnTypes are those that an observation may have.
var columnTypes = []arrow.DataType{
	arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float32,
	arrow.PrimitiveTypes.Float64, arrow.BinaryTypes.String, schemas.DictionaryType, schemas.TimestampType,
}

// rows reads the record batches that follow, and returns how many rows they have.
func (r *Reader) rows(s *Schema, visit func(c schemas.Coordinates, scoredAt int64)) (n int, err error) {
	r.known = -1
	for {
		rows, ok, err := r.ipc.Next()
		if err != nil {
			return n, malformed("%s", ofStream(err))
		}
		if !ok {
			return n, nil
		}
		n += rows
		var ids, partitions, offsets, places, times arrowipc.Column
		for i := range s.ipc.Fields { // all of them: each is checked as it is read
			var c arrowipc.Column
			if s.plain[i] {
				err = r.ipc.Check(i)
			} else if c, err = r.ipc.Column(i); err == nil {
				err = checkIndices(&c)
			}
			if err != nil {
				return n, malformed("column %q: %s", s.ipc.Fields[i].Name, ofStream(err))
			}
			switch i {
			case s.topicID:
				ids = c
			case s.partition:
				partitions = c
			case s.offset:
				offsets = c
			case s.row:
				places = c
			case s.scoredAt:
				times = c
			}
		}
		if err := r.readTopics(ids.Dictionary); err != nil {
			return n, err
		}
		for i := range rows {
			visit(schemas.Coordinates{
				TopicID:   r.topics[binary.LittleEndian.Uint32(ids.Values[4*i:])],
				Partition: int32(binary.LittleEndian.Uint32(partitions.Values[4*i:])),
				Offset:    int64(binary.LittleEndian.Uint64(offsets.Values[8*i:])),
				Row:       int32(binary.LittleEndian.Uint32(places.Values[4*i:])),
			}, int64(binary.LittleEndian.Uint64(times.Values[8*i:])))
		}
	}
}

// checkIndices checks that the indices of a column in a dictionary are entries of it.
func checkIndices(c *arrowipc.Column) error {
	if c.Dictionary == nil {
		return nil
	}
	size := uint32(c.Dictionary.Len())
	for row := range c.Rows {
		if at := binary.LittleEndian.Uint32(c.Values[4*row:]); at >= size && !c.IsNull(row) {
			return fmt.Errorf("row %d has entry %d of a dictionary of %d", row, int32(at), size)
		}
	}
	return nil
}

// readTopics reads the topic ids in a dictionary, unless it has.
func (r *Reader) readTopics(d *arrowipc.Dictionary) error {
	if d.Version == r.known && d.Len() == len(r.topics) {
		return nil
	}
	r.known, r.topics = d.Version, r.topics[:0]
	for i := range d.Len() {
		id, err := uuid.ParseBytes(d.Value(i))
		if err != nil || len(d.Value(i)) != 36 {
			return malformed("topic id %.80q is no UUID", d.Value(i))
		}
		r.topics = append(r.topics, id)
	}
	return nil
}
