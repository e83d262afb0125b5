package codec

import (
	"context"
	"errors"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/millrace/millrace/schemas"
)

// protobufFile is the name that a schema's own .proto file goes by; its imports go by the
// names of its references.
const protobufFile = "millrace_schema.proto"

// compileProtobuf compiles a .proto file with everything that it imports.
func compileProtobuf(ctx context.Context, s Schema) (protoreflect.FileDescriptor, error) {
	texts := map[string]string{protobufFile: s.Text}
	var refer func(refs []Reference)
	refer = func(refs []Reference) {
		for _, r := range refs {
			if _, ok := texts[r.Name]; !ok {
				texts[r.Name] = r.Schema.Text
				refer(r.Schema.References)
			}
		}
	}
	refer(s.References)
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(texts)}),
		MaxParallelism: 1,
	}
	files, err := c.Compile(ctx, protobufFile)
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// protobufPlans reads requests of one .proto file: the value says which of its messages it is.
type protobufPlans struct {
	file  protoreflect.FileDescriptor
	plans map[protoreflect.FullName]rowPlan // of the messages that came
	first rowPlan                           // of the file's first message; nil before it came
}

// planProtobuf plans how requests of a .proto file fill the fields of b.
func planProtobuf(ctx context.Context, _ *rowBuilder, s Schema) (rowPlan, error) {
	file, err := compileProtobuf(ctx, s)
	if err != nil {
		return nil, err
	}
	if file.Messages().Len() == 0 {
		return nil, errors.New("it has no message")
	}
	return &protobufPlans{file: file, plans: map[protoreflect.FullName]rowPlan{}}, nil
}

// row implements rowPlan.
func (p *protobufPlans) row(b *rowBuilder, in []byte) (int, *schemas.RequestError) {
	if len(in) > 0 && in[0] == 0 { // short for the path of the first message
		if p.first == nil {
			p.first = p.planOf(b, p.file.Messages().Get(0))
		}
		return p.first.row(b, in[1:])
	}
	m, rest, fault := p.message(in)
	if fault != nil {
		return 0, fault
	}
	return p.planOf(b, m).row(b, rest)
}

// message reads the path to a message: a count and so many indices, of the message in the
// file, of the one nested in that, and so on.
func (p *protobufPlans) message(in []byte) (protoreflect.MessageDescriptor, []byte, *schemas.RequestError) {
	next := func() (int64, bool) {
		u, n := protowire.ConsumeVarint(in)
		if n < 0 {
			return 0, false
		}
		in = in[n:]
		return protowire.DecodeZigZag(u), true
	}
	count, ok := next()
	var m protoreflect.MessageDescriptor
	within := p.file.Messages()
	for ; ok && count > 0; count-- {
		var i int64
		if i, ok = next(); !ok || i < 0 || i >= int64(within.Len()) {
			return nil, nil, malformed("the value's message indexes name no message of its schema")
		}
		m = within.Get(int(i))
		within = m.Messages()
	}
	if !ok || m == nil || count != 0 {
		return nil, nil, malformed("the value has no message indexes behind its schema id")
	}
	return m, in, nil
}

func (p *protobufPlans) planOf(b *rowBuilder, m protoreflect.MessageDescriptor) rowPlan {
	plan, ok := p.plans[m.FullName()]
	if !ok {
		plan = planMessage(b, m)
		p.plans[m.FullName()] = plan
	}
	return plan
}

// protobufPlan reads requests of one message.
type protobufPlan struct {
	steps  []protobufStep
	dense  [64]int16                // the step of a small field number, -1 for none
	sparse map[protowire.Number]int // the steps of all others
	absent []int                    // the steps of fields that have a value when they are absent
	texts  int                      // bytes that names of enums and defaults can put in a row

	seconds, nanos int64 // of the timestamp that was read last
}

// protobufStep reads one field of the message.
type protobufStep struct {
	field   int // -1: nothing wants it, but it unsets others
	kind    protoreflect.Kind
	wire    protowire.Type
	wrapped protoreflect.Kind                  // of the value within a wrapper message; 0 for other messages
	names   map[protoreflect.EnumNumber][]byte // of an enum
	number  bool                               // the enum's number is wanted, not its name
	closed  bool                               // an enum's number without a name is as good as absent
	absent  []byte                             // the value on the wire that an absent field stands for; nil for zero
	unsets  []int                              // the fields that the other members of its oneof fill
}

const timestampMessage protoreflect.FullName = "google.protobuf.Timestamp"

// wrapperMessages are the well-known messages around one scalar, which is their field 1.
var wrapperMessages = map[protoreflect.FullName]bool{
	"google.protobuf.DoubleValue": true, "google.protobuf.FloatValue": true,
	"google.protobuf.Int64Value": true, "google.protobuf.UInt64Value": true,
	"google.protobuf.Int32Value": true, "google.protobuf.UInt32Value": true,
	"google.protobuf.BoolValue": true, "google.protobuf.StringValue": true, "google.protobuf.BytesValue": true,
}

// planMessage plans how messages fill the fields of b.
func planMessage(b *rowBuilder, m protoreflect.MessageDescriptor) rowPlan {
	p := &protobufPlan{sparse: map[protowire.Number]int{}}
	for i := range p.dense {
		p.dense[i] = -1
	}
	refuse := func(fault *schemas.RequestError) rowPlan {
		return unusable{schemas.Errorf(fault.Class, "message %s: %s", clip([]byte(m.FullName())), fault.Reason)}
	}
	for i := range b.fields {
		fd := m.Fields().ByName(protoreflect.Name(b.fields[i].plain))
		if fd == nil {
			continue
		}
		want, ok := b.fits(i, protobufShape(fd, &b.fields[i]))
		if !ok {
			return refuse(schemas.Errorf(schemas.ErrorClassWrongType, "%q must be %s; the schema says %s", b.fields[i].name, want, protobufType(fd)))
		}
		s := protobufStep{field: i, kind: fd.Kind(), wire: protobufWire(fd.Kind())}
		switch {
		case fd.Kind() == protoreflect.EnumKind:
			p.texts += s.planEnum(fd.Enum(), &b.fields[i])
		case fd.Kind() == protoreflect.MessageKind && wrapperMessages[fd.Message().FullName()]:
			s.wrapped = fd.Message().Fields().ByNumber(1).Kind()
		}
		given := fd.HasDefault() && fd.Cardinality() == protoreflect.Optional && fd.ContainingOneof() == nil
		if (given || !fd.HasPresence()) && b.fields[i].role != roleRequestID {
			p.absent = append(p.absent, len(p.steps))
			if given {
				var err error
				if s.absent, err = protobufDefault(m, fd); err != nil {
					return refuse(schemas.Errorf(schemas.ErrorClassUnknownSchema, "the default of %q: %v", b.fields[i].name, err))
				}
				p.texts += len(s.absent)
			}
		}
		p.add(fd.Number(), s)
	}
	has := func(i int) bool { return m.Fields().ByName(protoreflect.Name(b.fields[i].plain)) != nil }
	if fault := b.checkFields(has); fault != nil {
		return refuse(fault)
	}
	for i := range m.Oneofs().Len() {
		p.planOneof(m.Oneofs().Get(i))
	}
	return p
}

// protobufDefault returns the default of a field as its value on the wire.
func protobufDefault(m protoreflect.MessageDescriptor, fd protoreflect.FieldDescriptor) ([]byte, error) {
	message := dynamicpb.NewMessage(m)
	message.Set(fd, fd.Default())
	b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(message)
	if err != nil {
		return nil, err
	}
	_, _, n := protowire.ConsumeTag(b)
	return b[n:], nil
}

// planEnum plans how an enum fills a field, and returns the length of its longest name.
func (s *protobufStep) planEnum(e protoreflect.EnumDescriptor, f *field) int {
	s.closed = e.IsClosed()
	s.number = f.role == roleFeature && f.feature.Type.Numeric()
	longest := len("-2147483648") // of a number without a name
	s.names = map[protoreflect.EnumNumber][]byte{}
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		if _, alias := s.names[v.Number()]; !alias {
			s.names[v.Number()] = []byte(v.Name())
		}
		longest = max(longest, len(v.Name()))
	}
	return longest
}

// planOneof makes each member unset what the others filled: the last one counts.
func (p *protobufPlan) planOneof(o protoreflect.OneofDescriptor) {
	if o.IsSynthetic() {
		return
	}
	var filled []int
	for i := range o.Fields().Len() {
		if s := p.step(o.Fields().Get(i).Number()); s != nil {
			filled = append(filled, s.field)
		}
	}
	if len(filled) == 0 {
		return
	}
	for i := range o.Fields().Len() {
		fd := o.Fields().Get(i)
		if p.step(fd.Number()) == nil {
			p.add(fd.Number(), protobufStep{field: -1, kind: fd.Kind(), wire: protobufWire(fd.Kind())})
		}
		s := p.step(fd.Number())
		for _, f := range filled {
			if f != s.field {
				s.unsets = append(s.unsets, f)
			}
		}
	}
}

func (p *protobufPlan) add(n protowire.Number, s protobufStep) {
	if int(n) < len(p.dense) {
		p.dense[n] = int16(len(p.steps))
	} else {
		p.sparse[n] = len(p.steps)
	}
	p.steps = append(p.steps, s)
}

// step returns what to do with a field, nil to skip it.
func (p *protobufPlan) step(n protowire.Number) *protobufStep {
	i := -1
	if int(n) < len(p.dense) {
		i = int(p.dense[n])
	} else if at, ok := p.sparse[n]; ok {
		i = at
	}
	if i < 0 {
		return nil
	}
	return &p.steps[i]
}

// protobufShape returns what a field of a message is to a field of a request.
func protobufShape(fd protoreflect.FieldDescriptor, f *field) shape {
	if fd.Cardinality() == protoreflect.Repeated {
		return shapeNone
	}
	switch fd.Kind() {
	case protoreflect.EnumKind:
		switch {
		case f.role == roleEventTime:
			return shapeNone
		case f.role == roleFeature && (f.feature.Type == schemas.TypeInt32 || f.feature.Type == schemas.TypeInt64):
			return shapeInt
		default:
			return shapeText
		}
	case protoreflect.MessageKind:
		switch name := fd.Message().FullName(); {
		case name == timestampMessage && f.role == roleEventTime:
			return shapeTime
		case wrapperMessages[name]:
			return protobufShape(fd.Message().Fields().ByNumber(1), f)
		default:
			return shapeNone
		}
	case protoreflect.GroupKind:
		return shapeNone
	case protoreflect.BoolKind:
		return shapeBool
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return shapeFloat
	case protoreflect.StringKind, protoreflect.BytesKind:
		return shapeText
	default:
		return shapeInt
	}
}

// protobufWire returns how values of a kind that are not packed are written.
func protobufWire(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	default:
		return protowire.VarintType
	}
}

// protobufType names the type of a field in reasons.
func protobufType(fd protoreflect.FieldDescriptor) string {
	name := fd.Kind().String()
	switch {
	case fd.IsMap():
		return "a map"
	case fd.Message() != nil:
		name = string(fd.Message().FullName())
	case fd.Enum() != nil:
		name = string(fd.Enum().FullName())
	}
	if fd.IsList() {
		name = "repeated " + name
	}
	return string(clip([]byte(name)))
}
