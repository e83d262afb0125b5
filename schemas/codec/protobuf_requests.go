package codec

import (
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/millrace/millrace/schemas"
)

// row implements rowPlan.
func (p *protobufPlan) row(b *rowBuilder, in []byte) (int, *schemas.RequestError) {
	for rest := in; len(rest) > 0; {
		number, wire, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return 0, notProtobuf(in, rest)
		}
		rest = rest[n:]
		s := p.step(number)
		if s == nil || s.wire != wire { // of another type than the schema's it is an unknown field
			if n = protowire.ConsumeFieldValue(number, wire, rest); n < 0 {
				return 0, notProtobuf(in, rest)
			}
			rest = rest[n:]
			continue
		}
		n, fault := p.fill(b, s, number, rest)
		switch {
		case n < 0:
			return 0, notProtobuf(in, rest)
		case fault != nil && (fault.Class == schemas.ErrorClassMalformed || !p.replaced(s, number, rest[n:])):
			return 0, fault
		}
		rest = rest[n:]
		for _, i := range s.unsets {
			b.cells[i].seen = false
		}
	}
	for _, i := range p.absent {
		s := &p.steps[i]
		if b.cells[s.field].seen {
			continue
		}
		var fault *schemas.RequestError
		if s.absent != nil {
			_, fault = s.scalar(b, s.kind, s.absent)
		} else {
			fault = s.zero(b, s.kind)
		}
		if fault != nil {
			return 0, fault
		}
	}
	return len(in) + p.texts, nil
}

func notProtobuf(in, rest []byte) *schemas.RequestError {
	return malformed("the message is broken off or no Protobuf at byte %d", len(in)-len(rest))
}

// replaced tells whether a later occurrence counts instead of this one: of the field, or of
// another member of its oneof.
func (p *protobufPlan) replaced(s *protobufStep, number protowire.Number, rest []byte) bool {
	for len(rest) > 0 {
		later, wire, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return false
		}
		if other := p.step(later); other != nil && other.wire == wire {
			if later == number {
				return true
			}
			if slices.Contains(other.unsets, s.field) {
				return true
			}
		}
		rest = rest[n:]
		if n = protowire.ConsumeFieldValue(later, wire, rest); n < 0 {
			return false
		}
		rest = rest[n:]
	}
	return false
}

// fill reads a value into the cell of its field and returns its length, or a negative one
// where it is no value.
func (p *protobufPlan) fill(b *rowBuilder, s *protobufStep, number protowire.Number, in []byte) (int, *schemas.RequestError) {
	if s.field < 0 {
		return protowire.ConsumeFieldValue(number, s.wire, in), nil
	}
	if s.kind != protoreflect.MessageKind {
		return s.scalar(b, s.kind, in)
	}
	message, n := protowire.ConsumeBytes(in)
	if n < 0 {
		return n, nil
	}
	var fault *schemas.RequestError
	if s.wrapped != 0 {
		fault = s.wrapper(b, message)
	} else {
		fault = p.timestamp(b, s, message)
	}
	return n, fault
}

// scalar reads a value of a kind into the cell.
func (s *protobufStep) scalar(b *rowBuilder, kind protoreflect.Kind, in []byte) (int, *schemas.RequestError) {
	switch protobufWire(kind) {
	case protowire.Fixed32Type:
		v, n := protowire.ConsumeFixed32(in)
		if n < 0 {
			return n, nil
		}
		switch kind {
		case protoreflect.FloatKind:
			return n, b.setFloat(s.field, float64(math.Float32frombits(v)))
		case protoreflect.Sfixed32Kind:
			return n, b.setInt(s.field, int64(int32(v)))
		default:
			return n, b.setInt(s.field, int64(v))
		}
	case protowire.Fixed64Type:
		v, n := protowire.ConsumeFixed64(in)
		if n < 0 {
			return n, nil
		}
		switch kind {
		case protoreflect.DoubleKind:
			return n, b.setFloat(s.field, math.Float64frombits(v))
		case protoreflect.Sfixed64Kind:
			return n, b.setInt(s.field, int64(v))
		default:
			return n, b.setUint(s.field, v)
		}
	case protowire.VarintType:
		v, n := protowire.ConsumeVarint(in)
		if n < 0 {
			return n, nil
		}
		return n, s.varint(b, kind, v)
	default:
		v, n := protowire.ConsumeBytes(in)
		if n < 0 {
			return n, nil
		}
		if !utf8.Valid(v) {
			return n, malformed("%q is not valid UTF-8", b.fields[s.field].name)
		}
		return n, b.setText(s.field, v)
	}
}

func (s *protobufStep) varint(b *rowBuilder, kind protoreflect.Kind, v uint64) *schemas.RequestError {
	switch kind {
	case protoreflect.BoolKind:
		b.setBool(s.field, v != 0)
		return nil
	case protoreflect.EnumKind:
		return s.enum(b, protoreflect.EnumNumber(v))
	case protoreflect.Int32Kind:
		return b.setInt(s.field, int64(int32(v)))
	case protoreflect.Uint32Kind:
		return b.setInt(s.field, int64(uint32(v)))
	case protoreflect.Sint32Kind:
		return b.setInt(s.field, protowire.DecodeZigZag(v&math.MaxUint32))
	case protoreflect.Sint64Kind:
		return b.setInt(s.field, protowire.DecodeZigZag(v))
	case protoreflect.Uint64Kind:
		return b.setUint(s.field, v)
	default:
		return b.setInt(s.field, int64(v))
	}
}

// enum puts the name of a number, or the number where the feature is one.
func (s *protobufStep) enum(b *rowBuilder, n protoreflect.EnumNumber) *schemas.RequestError {
	name, known := s.names[n]
	switch {
	case !known && s.closed:
		return nil
	case s.number:
		return b.setInt(s.field, int64(n))
	case known:
		return b.setText(s.field, name)
	default:
		from := len(b.scratch)
		b.scratch = strconv.AppendInt(b.scratch, int64(n), 10)
		return b.setText(s.field, b.scratch[from:])
	}
}

// zero puts the zero value of a kind.
func (s *protobufStep) zero(b *rowBuilder, kind protoreflect.Kind) *schemas.RequestError {
	switch protobufWire(kind) {
	case protowire.VarintType:
		return s.varint(b, kind, 0)
	case protowire.BytesType:
		return b.setText(s.field, nil)
	default:
		if kind == protoreflect.FloatKind || kind == protoreflect.DoubleKind {
			return b.setFloat(s.field, 0)
		}
		return b.setInt(s.field, 0)
	}
}

// wrapper reads a message around one scalar. One that came before is merged with it.
func (s *protobufStep) wrapper(b *rowBuilder, message []byte) (fault *schemas.RequestError) {
	if !b.cells[s.field].seen {
		fault = s.zero(b, s.wrapped)
	}
	for rest := message; len(rest) > 0; {
		number, wire, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return notProtobuf(message, rest)
		}
		rest = rest[n:]
		if number == 1 && wire == protobufWire(s.wrapped) {
			n, fault = s.scalar(b, s.wrapped, rest)
		} else {
			n = protowire.ConsumeFieldValue(number, wire, rest)
		}
		if n < 0 {
			return notProtobuf(message, rest)
		}
		rest = rest[n:]
	}
	return fault
}

// timestamp reads a google.protobuf.Timestamp. One that came before is merged with it.
func (p *protobufPlan) timestamp(b *rowBuilder, s *protobufStep, message []byte) *schemas.RequestError {
	if !b.cells[s.field].seen {
		p.seconds, p.nanos = 0, 0
	}
	for rest := message; len(rest) > 0; {
		number, wire, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return notProtobuf(message, rest)
		}
		rest = rest[n:]
		if wire == protowire.VarintType && (number == 1 || number == 2) {
			var v uint64
			if v, n = protowire.ConsumeVarint(rest); number == 1 {
				p.seconds = int64(v)
			} else {
				p.nanos = int64(int32(v))
			}
		} else {
			n = protowire.ConsumeFieldValue(number, wire, rest)
		}
		if n < 0 {
			return notProtobuf(message, rest)
		}
		rest = rest[n:]
	}
	b.cells[s.field] = cell{seen: true}
	name := b.fields[s.field].name
	switch {
	case p.nanos < 0 || p.nanos > 999_999_999:
		return schemas.Errorf(schemas.ErrorClassWrongType, "%q has %d nanoseconds; a timestamp has 0 to 999999999", name, p.nanos)
	case p.seconds < schemas.MinMicros/1_000_000 || p.seconds > schemas.MaxMicros/1_000_000:
		return outOfTime(name, strconv.AppendInt(nil, p.seconds, 10))
	default:
		return b.setMicros(s.field, p.seconds*1_000_000+p.nanos/1000, nil)
	}
}
