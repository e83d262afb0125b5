package codec

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/schemas"
)

// Codec names an encoding of requests. Results come back in the same one.
type Codec string

// The codecs.
const (
	JSON     Codec = "json"     // one flat object a record
	Avro     Codec = "avro"     // one Avro record a Kafka record, framed with its Schema Registry id
	Protobuf Codec = "protobuf" // one message a Kafka record, framed with its Schema Registry id
	Arrow    Codec = "arrow"    // one Arrow IPC stream a Kafka record: many requests
)

// Codecs lists every codec, in the order of the documentation.
func Codecs() []Codec { return []Codec{JSON, Avro, Protobuf, Arrow} }

// Requests decodes the requests of one model into the columns of Manifest.RequestSchema.
// It is not safe for concurrent use: every lane has its own.
type Requests interface {
	// Append decodes a Kafka record into rows of the batch. It keeps nothing of rec. An
	// error is of what it needs to decode at all, such as a Schema Registry that is away: then
	// nothing was appended, and trying again may help.
	Append(ctx context.Context, rec *schemas.Record) (Decoded, error)
	// AppendRequest appends the request in one row of rec to dst, in the same encoding, as
	// the dead letter of that row carries it: it decodes to the same row. rec was accepted by
	// Append. Where the request takes more than most bytes, nothing is appended and ok is false.
	AppendRequest(dst []byte, rec *schemas.Record, row, most int) (out []byte, ok bool)
	// Rows returns how many rows wait for NewBatch.
	Rows() int
	// Reserve makes room for that many more rows.
	Reserve(rows int)
	// NewBatch returns the rows that were appended and starts an empty batch. The caller
	// releases it.
	NewBatch() arrow.Record
	// Release frees the columns. Nothing can be called afterwards.
	Release()
}

// Decoded says what became of a Kafka record.
type Decoded struct {
	Rows    int                   // appended to the batch, in the record's order
	Fault   *schemas.RequestError // of the record as a whole; then Rows is 0 and Refused empty
	Refused []schemas.RowError    // rows of the record that were not appended, ascending; valid until the next Append
	Bytes   int                   // that the rows take in the batch; only where that may be far more than the record has
}

// Results encodes what became of Kafka records, one result for each. It is not safe for
// concurrent use: every lane has its own.
type Results interface {
	// Bind sets the batch (Manifest.RequestSchema) and its predictions
	// (Manifest.OutputFields) that Append reads. They are borrowed until the next Bind.
	Bind(batch, predictions arrow.Record)
	// Append appends the result of one Kafka record to dst, and nothing where a record is one
	// request and it failed.
	Append(dst []byte, a *Answer) ([]byte, error)
}

// Answer says which rows answer a Kafka record, and how long they took.
type Answer struct {
	Record    *schemas.Record
	From      int                // first row of the batch
	Rows      int                // of the batch; 1 where a record is one request
	Refused   []schemas.RowError // rows of the record that are not in the batch, ascending
	Failed    []schemas.RowError // rows of the batch that have no prediction, of From to From+Rows, ascending
	LatencyUS int64              // from the record's fetch to the start of encoding
	QueueUS   int64              // from its append to Kafka to the fetch, or schemas.UnknownQueue
}

// ErrUnknownSchema says that the Schema Registry has no schema of that id, or not all that
// it refers to, or that it refers to too many others.
var ErrUnknownSchema = errors.New("unknown schema")

// Registry is a Confluent-compatible Schema Registry. Any error but ErrUnknownSchema may be
// gone at the next try. It must be safe for concurrent use.
type Registry interface {
	// Schema returns the schema of an id.
	Schema(ctx context.Context, id int) (Schema, error)
	// Register registers a schema under a subject, unless it is there, and returns its id.
	Register(ctx context.Context, subject string, s Schema) (id int, err error)
}

// Schema is a schema as a Schema Registry keeps it.
type Schema struct {
	Type       Codec  // Avro or Protobuf
	Text       string // Avro's JSON, or a .proto file
	References []Reference
}

// Reference is a schema that another one imports by a name.
type Reference struct {
	Name   string
	Schema Schema
}

// Options are what the codecs of a topic need.
type Options struct {
	Registry Registry // for Avro and Protobuf
	Subject  string   // of the results' schema, by convention "<topic>-value"
}

// New plans both directions of a codec for a model. Release requests when done.
func New(ctx context.Context, c Codec, m *schemas.Manifest, o Options, alloc memory.Allocator) (Requests, Results, error) {
	switch c {
	case JSON:
		d, err := NewDecoder(m, alloc)
		if err != nil {
			return nil, nil, err
		}
		return jsonRequests{d}, NewResultEncoder(m), nil
	case Avro, Protobuf:
		return newFramed(ctx, c, m, o, alloc)
	case Arrow:
		d, err := NewArrowRequests(m, alloc)
		if err != nil {
			return nil, nil, err
		}
		r, err := NewArrowResults(m)
		if err != nil {
			d.Release()
			return nil, nil, err
		}
		return d, r, nil
	default:
		return nil, nil, fmt.Errorf("codec %q is not one of %v", c, Codecs())
	}
}

// Valid tells whether there is such a codec.
func (c Codec) Valid() bool { return slices.Contains(Codecs(), c) }

// jsonRequests is a Decoder as Requests.
type jsonRequests struct{ *Decoder }

// Append implements Requests.
func (d jsonRequests) Append(_ context.Context, rec *schemas.Record) (Decoded, error) {
	fault := d.Decoder.Append(rec)
	return decodedOne(fault), nil
}

// decodedOne says what became of a record that is one request.
func decodedOne(fault *schemas.RequestError) Decoded {
	if fault != nil {
		return Decoded{Fault: fault}
	}
	return Decoded{Rows: 1}
}

// AppendRequest implements Requests.
func (jsonRequests) AppendRequest(dst []byte, rec *schemas.Record, _, most int) ([]byte, bool) {
	return appendWhole(dst, rec, most)
}

// appendWhole appends a record that is one request.
func appendWhole(dst []byte, rec *schemas.Record, most int) ([]byte, bool) {
	if len(rec.Value) > most {
		return dst, false
	}
	return append(dst, rec.Value...), true
}
