package codec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/millrace/millrace/schemas"
)

// resultName returns the name of what a model answers, in the namespace millrace:
// flights_delay answers FlightsDelayResult.
func resultName(m *schemas.Manifest, what string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(m.Name, "_") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String() + what
}

// headerBytes is the length of Confluent's header: a zero byte and the schema's id.
const headerBytes = 5

// appendHeader begins a value that is framed with the id of its schema.
func appendHeader(dst []byte, id int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0), uint32(id))
}

// rowPlan reads requests of one schema into the cells of a row.
type rowPlan interface {
	// row fills the cells from a value without its header. texts bounds the bytes that the
	// row's texts have together.
	row(b *rowBuilder, in []byte) (texts int, fault *schemas.RequestError)
}

// unusable is the plan for a schema whose values can never be used.
type unusable struct{ fault *schemas.RequestError }

// row implements rowPlan.
func (u unusable) row(*rowBuilder, []byte) (int, *schemas.RequestError) { return 0, u.fault }

// framedRequests decodes requests that are framed with the id of their schema. Schemas never
// change, so each is fetched and planned once.
type framedRequests struct {
	rowBuilder
	codec    Codec
	registry Registry
	plan     func(ctx context.Context, b *rowBuilder, s Schema) (rowPlan, error) // an error is of the schema
	plans    map[int]rowPlan
	last     rowPlan // of lastID; nil before the first
	lastID   int
}

// newFramed plans both directions of a codec that has its schemas in a Schema Registry.
func newFramed(ctx context.Context, c Codec, m *schemas.Manifest, o Options, alloc memory.Allocator) (Requests, Results, error) {
	if o.Registry == nil || o.Subject == "" {
		return nil, nil, fmt.Errorf("codec %s needs a Schema Registry, and a subject for the schema of its results", c)
	}
	var results Results
	var err error
	switch c {
	case Avro:
		results, err = newAvroResults(ctx, m, o)
	default:
		results, err = newProtobufResults(ctx, m, o)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("model %s version %s: %w", m.Name, m.Version, err)
	}
	requests, err := newFramedRequests(m, c, o, alloc)
	if err != nil {
		return nil, nil, err
	}
	return requests, results, nil
}

func newFramedRequests(m *schemas.Manifest, c Codec, o Options, alloc memory.Allocator) (*framedRequests, error) {
	b, err := newRowBuilder(m, alloc)
	if err != nil {
		return nil, err
	}
	f := &framedRequests{rowBuilder: b, codec: c, registry: o.Registry, plans: map[int]rowPlan{}}
	switch c {
	case Avro:
		f.plan = planAvro
	default:
		f.plan = planProtobuf
	}
	return f, nil
}

// Append implements Requests.
func (f *framedRequests) Append(ctx context.Context, rec *schemas.Record) (Decoded, error) {
	if len(rec.Value) < headerBytes || rec.Value[0] != 0 {
		return Decoded{Fault: malformed("the value does not begin with a zero byte and the four bytes of a schema id")}, nil
	}
	plan := f.last
	number := binary.BigEndian.Uint32(rec.Value[1:])
	if number > math.MaxInt32 { // no registry can be asked for it: ids are positive and have 32 bits
		return Decoded{Fault: schemas.Errorf(schemas.ErrorClassUnknownSchema, "the Schema Registry has no schema %d", number)}, nil
	}
	if id := int(number); plan == nil || id != f.lastID {
		var err error
		switch plan, err = f.planOf(ctx, id); {
		case errors.Is(err, ErrUnknownSchema):
			return Decoded{Fault: schemas.Errorf(schemas.ErrorClassUnknownSchema, "%s", clipTo([]byte(err.Error()), 300))}, nil
		case err != nil:
			return Decoded{}, err
		}
		f.last, f.lastID = plan, id
	}
	f.begin()
	texts, fault := plan.row(&f.rowBuilder, rec.Value[headerBytes:])
	if fault == nil {
		fault = f.finish(rec, texts)
	}
	return decodedOne(fault), nil
}

// maxPlans bounds the schemas that are planned; one can take a megabyte.
const maxPlans = 1000

// planOf returns the plan for a schema.
func (f *framedRequests) planOf(ctx context.Context, id int) (rowPlan, error) {
	if plan, ok := f.plans[id]; ok {
		return plan, nil
	}
	s, err := f.registry.Schema(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("schema %d of the Schema Registry: %w", id, err)
	}
	plan, err := f.newPlan(ctx, s)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		fault := &schemas.RequestError{}
		if !errors.As(err, &fault) {
			fault = schemas.Errorf(schemas.ErrorClassUnknownSchema, "cannot be read as %s: %s", f.codec, clip([]byte(err.Error())))
		}
		plan = unusable{schemas.Errorf(fault.Class, "schema %d: %s", id, fault.Reason)}
	}
	if len(f.plans) >= maxPlans {
		clear(f.plans)
	}
	f.plans[id] = plan
	return plan, nil
}

func (f *framedRequests) newPlan(ctx context.Context, s Schema) (rowPlan, error) {
	if s.Type != f.codec {
		return nil, schemas.Errorf(schemas.ErrorClassUnknownSchema, "it is a schema of %s, not of %s", s.Type, f.codec)
	}
	if err := checkSchema(s); err != nil {
		return nil, err
	}
	return f.plan(ctx, &f.rowBuilder, s)
}

// AppendRequest implements Requests.
func (f *framedRequests) AppendRequest(dst []byte, rec *schemas.Record, _, most int) ([]byte, bool) {
	return appendWhole(dst, rec, most)
}

// checkFields refuses a schema that lacks a field which every request must have.
func (b *rowBuilder) checkFields(has func(i int) bool) *schemas.RequestError {
	for i := range b.fields {
		if f := &b.fields[i]; !has(i) && !f.hasDef && f.role != roleRequestID {
			return schemas.Errorf(schemas.ErrorClassMissingFeature, "%q is not in the schema and has no default", f.name)
		}
	}
	return nil
}
