package codec

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/millrace/millrace/schemas"
)

// readResult decodes a result with the libraries.
func readResult(tb testing.TB, s Schema, value []byte) map[string]any {
	tb.Helper()
	got := map[string]any{}
	if s.Type == Avro {
		schema, err := avro.Parse(s.Text)
		require.NoError(tb, err)
		rest, err := schema.Decode(value[headerBytes:], &got)
		require.NoError(tb, err)
		require.Empty(tb, rest)
		return got
	}
	file, err := compileProtobuf(tb.Context(), s)
	require.NoError(tb, err)
	m := dynamicpb.NewMessage(file.Messages().Get(0))
	require.NoError(tb, proto.Unmarshal(value[headerBytes+1:], m))
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		got[string(fd.Name())] = m.Get(fd).Interface()
		if fd.Message() == nil {
			continue
		}
		inner := map[string]any{}
		within := m.Get(fd).Message()
		for j := range fd.Message().Fields().Len() {
			of := fd.Message().Fields().Get(j)
			inner[string(of.Name())] = nil
			if within.Has(of) {
				inner[string(of.Name())] = within.Get(of).Interface()
			}
		}
		got[string(fd.Name())] = inner
	}
	return got
}

var protobufFields = []string{
	"float f32 = 1;", "optional double f64 = 2;", "optional int32 i32 = 3;", "int64 i64 = 4;", "optional bool flag = 5;",
	"optional string text = 6;", "string color = 7;", "optional string size = 8;", "int64 at = 9;", "string request_id = 10;",
}

// protobufSchema returns a schema that fits, with the field of a number replaced.
func protobufSchema(number int, field string) Schema {
	fields := strings.Join(protobufFields, " ")
	if number > 0 {
		fields = strings.Replace(fields, protobufFields[number-1], field, 1)
	}
	return Schema{Type: Protobuf, Text: `syntax = "proto3"; package shop;
import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
enum Size { NONE = 0; s = 1; l = 2; }
message Nested { string text = 1; }
message R { ` + fields + ` }`}
}

// part is one field on the wire.
func part(n protowire.Number, v any) string {
	var b []byte
	switch v := v.(type) {
	case int:
		b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
	case uint64:
		b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
	case float32:
		b = protowire.AppendFixed32(protowire.AppendTag(b, n, protowire.Fixed32Type), math.Float32bits(v))
	case float64:
		b = protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), math.Float64bits(v))
	case string:
		b = protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
	}
	return string(b)
}

// message is the path of the second message of protobufSchema, and parts of it.
func message(parts ...string) []byte { return []byte("\x02\x02" + strings.Join(parts, "")) }

func TestProtobufSchemasThatNeverFit(t *testing.T) {
	m := manifest(t)
	const wrong, missing = schemas.ErrorClassWrongType, schemas.ErrorClassMissingFeature
	for name, tc := range map[string]struct {
		s     Schema
		class schemas.ErrorClass
		want  string
	}{
		"absent":         {protobufSchema(1, ""), missing, `message shop.R: "f32" is not in the schema and has no default`},
		"absent time":    {protobufSchema(9, ""), missing, `"at" is not in the schema`},
		"repeated":       {protobufSchema(1, "repeated float f32 = 1;"), wrong, `"f32" must be a number; the schema says repeated float`},
		"message":        {protobufSchema(6, "Nested text = 6;"), wrong, `"text" must be a string; the schema says shop.Nested`},
		"map":            {protobufSchema(6, "map<string, string> text = 6;"), wrong, `the schema says a map`},
		"string":         {protobufSchema(4, "string i64 = 4;"), wrong, `"i64" must be a whole number; the schema says string`},
		"int for bool":   {protobufSchema(5, "int32 flag = 5;"), wrong, `"flag" must be a boolean; the schema says int32`},
		"wrapper":        {protobufSchema(5, "google.protobuf.Int32Value flag = 5;"), wrong, `the schema says google.protobuf.Int32Value`},
		"enum as float":  {protobufSchema(1, "Size f32 = 1;"), wrong, `the schema says shop.Size`},
		"enum as time":   {protobufSchema(9, "Size at = 9;"), wrong, `"at" must be a timestamp, or a whole number (unix_ms); the schema says shop.Size`},
		"time as string": {protobufSchema(9, "string at = 9;"), wrong, `the schema says string`},
		"timestamp":      {protobufSchema(4, "google.protobuf.Timestamp i64 = 4;"), wrong, `the schema says google.protobuf.Timestamp`},
		"double as id":   {protobufSchema(10, "double request_id = 10;"), wrong, `"request_id" must be a string or a whole number; the schema says double`},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, _ := framed(t, m, tc.s)
			for range 2 {
				fault := offer(t, r, message())
				require.NotNil(t, fault)
				require.Equal(t, tc.class, fault.Class)
				require.Contains(t, fault.Reason, tc.want)
			}
		})
	}
	r, _, _ := framed(t, m, Schema{Type: Protobuf, Text: `syntax = "proto3"; import "nowhere.proto";`})
	require.Equal(t, schemas.ErrorClassUnknownSchema, offer(t, r, message()).Class)
	r, _, _ = framed(t, m, Schema{Type: Protobuf, Text: `syntax = "proto3";`})
	require.Equal(t, schemas.ErrorClassUnknownSchema, offer(t, r, message()).Class)
}

func TestProtobufPaths(t *testing.T) {
	m := manifest(t)
	r, _, _ := framed(t, m, protobufSchema(0, ""))
	for _, in := range []string{"", "\x02", "\x02\x04", "\x02\x01", "\x01", "\x04\x02\x00", "\xff", "\x80\x00", "\x02\xff"} {
		fault := offer(t, r, []byte(in))
		require.NotNil(t, fault, "%q", in)
		require.Equal(t, schemas.ErrorClassMalformed, fault.Class, "%q: %v", in, fault)
	}
	fault := offer(t, r, []byte("\x00"))
	require.Contains(t, fault.Reason, "message shop.Nested", "the first message")
	require.Contains(t, offer(t, r, []byte("\x02\x00")).Reason, "message shop.Nested", "the same, spelled out")
}

func TestProtobufValues(t *testing.T) {
	m := manifest(t)
	const wrong, missing, out, malformed, unknown = schemas.ErrorClassWrongType, schemas.ErrorClassMissingFeature, schemas.ErrorClassOutOfRange, schemas.ErrorClassMalformed, schemas.ErrorClassUnknownCategory
	color := part(7, "red")
	oneof := "oneof one { int64 i64 = 4; int32 i32_other = 20; string note = 21; }"
	for name, tc := range map[string]struct {
		number int    // of the field that is replaced
		field  string // by this
		parts  []string
		column string
		want   any
	}{
		"zero for absent":         {0, "", []string{color}, "f32", "[0]"},
		"zero for absent int":     {0, "", []string{color}, "i64", "[0]"},
		"zero is in range":        {0, "", []string{color}, "at", "[0]"},
		"empty for absent":        {0, "", nil, "color", ""},
		"empty is outside":        {8, "string size = 8;", []string{color}, "size", unknown},
		"absent optional":         {0, "", []string{color}, "i32", "[7]"},
		"absent required":         {4, "optional int64 i64 = 4;", []string{color}, "i64", missing},
		"absent id":               {10, "int64 request_id = 10;", []string{color}, "request_id", `["` + topicID.String() + `/3/42"]`},
		"id as a number":          {10, "uint64 request_id = 10;", []string{color, part(10, uint64(math.MaxUint64))}, "request_id", `["18446744073709551615"]`},
		"last wins":               {0, "", []string{color, part(4, 1), part(4, 2)}, "i64", "[2]"},
		"the last is good":        {0, "", []string{color, part(1, float32(-11)), part(1, float32(1))}, "f32", "[1]"},
		"the last is bad":         {0, "", []string{color, part(1, float32(1)), part(1, float32(-11))}, "f32", out},
		"NaN of required":         {0, "", []string{color, part(1, float32(math.NaN()))}, "f32", missing},
		"NaN of default":          {3, "double i32 = 3;", []string{color, part(3, math.NaN())}, "i32", "[7]"},
		"NaN of optional":         {2, "double f64 = 2;", []string{color, part(2, math.NaN())}, "f64", "[(null)]"},
		"infinity":                {2, "double f64 = 2;", []string{color, part(2, math.Inf(1))}, "f64", wrong},
		"other wire type":         {0, "", []string{color, part(4, 5), part(4, "x")}, "i64", "[5]"},
		"negative int32":          {3, "int32 i32 = 3;", []string{color, part(3, -3)}, "i32", "[-3]"},
		"uint32":                  {3, "uint32 i32 = 3;", []string{color, part(3, uint64(math.MaxUint32))}, "i32", wrong},
		"sint32":                  {3, "sint32 i32 = 3;", []string{color, part(3, 5)}, "i32", "[-3]"},
		"sint64":                  {4, "sint64 i64 = 4;", []string{color, part(4, uint64(math.MaxUint64))}, "i64", "[-9223372036854775808]"},
		"fixed32":                 {3, "fixed32 i32 = 3;", []string{color, part(3, math.Float32frombits(9))}, "i32", "[9]"},
		"sfixed32":                {3, "sfixed32 i32 = 3;", []string{color, part(3, math.Float32frombits(math.MaxUint32))}, "i32", "[-1]"},
		"fixed64":                 {4, "fixed64 i64 = 4;", []string{color, part(4, math.Float64frombits(1<<63))}, "i64", wrong},
		"sfixed64":                {4, "sfixed64 i64 = 4;", []string{color, part(4, math.Float64frombits(1<<63))}, "i64", "[-9223372036854775808]"},
		"uint64 for a float":      {2, "uint64 f64 = 2;", []string{color, part(2, uint64(1)<<63)}, "f64", "[9.223372036854776e+18]"},
		"uint64 as a time":        {9, "uint64 at = 9;", []string{color, part(9, uint64(1)<<63)}, "at", out},
		"whole double":            {4, "double i64 = 4;", []string{color, part(4, 3.0)}, "i64", "[3]"},
		"enum":                    {8, "Size size = 8;", []string{color, part(8, 2)}, "size", "l"},
		"enum zero":               {8, "Size size = 8;", []string{color}, "size", unknown},
		"enum without a name":     {7, "Size color = 7;", []string{part(7, 77)}, "color", "77"},
		"enum as int":             {3, "Size i32 = 3;", []string{color, part(3, 77)}, "i32", "[77]"},
		"no UTF-8":                {0, "", []string{part(7, "\xff")}, "color", malformed},
		"no UTF-8, replaced":      {0, "", []string{part(7, "\xff"), color}, "color", malformed},
		"bytes":                   {6, "bytes text = 6;", []string{color, part(6, "é")}, "text", `["é"]`},
		"oneof":                   {4, oneof, []string{color, part(4, 5)}, "i64", "[5]"},
		"oneof unset":             {4, oneof, []string{color, part(4, 5), part(20, 1)}, "i64", missing},
		"oneof set again":         {4, oneof, []string{color, part(4, 5), part(21, "x"), part(4, 6)}, "i64", "[6]"},
		"unset before it counts":  {3, "oneof one { double i32 = 3; string note = 21; }", []string{color, part(3, 0.5), part(21, "x")}, "i32", "[7]"},
		"wrapper":                 {2, "google.protobuf.FloatValue f64 = 2;", []string{color, part(2, part(1, float32(1.5)))}, "f64", "[1.5]"},
		"empty wrapper":           {2, "google.protobuf.FloatValue f64 = 2;", []string{color, part(2, "")}, "f64", "[0]"},
		"absent wrapper":          {2, "google.protobuf.FloatValue f64 = 2;", []string{color}, "f64", "[(null)]"},
		"merged wrapper":          {2, "google.protobuf.FloatValue f64 = 2;", []string{color, part(2, part(1, float32(1.5))), part(2, "")}, "f64", "[1.5]"},
		"broken wrapper":          {2, "google.protobuf.FloatValue f64 = 2;", []string{color, part(2, "\x0d\x00")}, "f64", malformed},
		"wrapped unsigned":        {3, "google.protobuf.UInt32Value i32 = 3;", []string{color, part(3, part(1, uint64(math.MaxUint32)))}, "i32", wrong},
		"timestamp":               {9, "google.protobuf.Timestamp at = 9;", []string{color, part(9, part(1, -1)+part(2, 999_999_900))}, "at", "[-1]"},
		"merged timestamp":        {9, "google.protobuf.Timestamp at = 9;", []string{color, part(9, part(1, 2)), part(9, part(2, 5000))}, "at", "[2000005]"},
		"empty timestamp":         {9, "google.protobuf.Timestamp at = 9;", []string{color, part(9, "")}, "at", "[0]"},
		"no timestamp":            {9, "google.protobuf.Timestamp at = 9;", []string{color}, "at", missing},
		"too many nanoseconds":    {9, "google.protobuf.Timestamp at = 9;", []string{color, part(9, part(2, 1_000_000_000))}, "at", wrong},
		"timestamp out of range":  {9, "google.protobuf.Timestamp at = 9;", []string{color, part(9, part(1, math.MaxInt64))}, "at", out},
		"broken timestamp":        {9, "google.protobuf.Timestamp at = 9;", []string{color, part(9, "\x08")}, "at", malformed},
		"unknown fields":          {0, "", []string{part(100, "x"), color, part(101, 7), part(1<<29-1, 1.5)}, "color", "red"},
		"a group":                 {0, "", []string{"\xa3\x06\x08\x01\xa4\x06", color}, "color", "red"},
		"a group without end":     {0, "", []string{color, "\xa3\x06\x08\x01"}, "color", malformed},
		"an end without a group":  {0, "", []string{color, "\xa4\x06"}, "color", malformed},
		"field zero":              {0, "", []string{color, "\x00\x00"}, "color", malformed},
		"a length past the end":   {0, "", []string{color, "\x3a\x09x"}, "color", malformed},
		"a large number of field": {1, "float f32 = 536870911;", []string{color, part(1<<29-1, float32(2))}, "f32", "[2]"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, _ := framed(t, m, protobufSchema(tc.number, tc.field))
			fault := offer(t, r, message(tc.parts...))
			if class, refused := tc.want.(schemas.ErrorClass); refused {
				require.NotNil(t, fault)
				require.Equal(t, class, fault.Class, fault.Reason)
				require.Zero(t, r.Rows())
				return
			}
			require.Nil(t, fault, "%v", fault)
			batch := r.NewBatch()
			defer batch.Release()
			if tc.column == "at" {
				require.Equal(t, tc.want, fmt.Sprintf("[%d]", batch.Column(9).(*array.Timestamp).Value(0)))
				return
			}
			column := batch.Column(batch.Schema().FieldIndices(tc.column)[0])
			if c, ok := column.(*array.Dictionary); ok {
				require.Equal(t, tc.want, c.Dictionary().(*array.String).Value(c.GetValueIndex(0)))
				return
			}
			require.Equal(t, tc.want, column.String())
		})
	}
}

// An absent field has the default that its schema gives it; without one the manifest's counts.
func TestProtobufDefaults(t *testing.T) {
	const fields = `optional float f32 = 1 [default = 2.5]; optional bool flag = 5 [default = true]; optional string text = 6 [default = "é"];
optional bytes color = 7 [default = "red"]; optional E size = 8 [default = l]; optional int64 at = 9 [default = -2]; optional string request_id = 10 [default = "no"];`
	s := Schema{Type: Protobuf, Text: `syntax = "proto2"; message R { enum E { s = 0; l = 1; } ` + fields + `
oneof one { double f64 = 2 [default = 3]; } optional int32 i32 = 3; optional sfixed64 i64 = 4 [default = -9]; }`}
	r, _, _ := framed(t, manifest(t), s)
	require.Nil(t, offer(t, r, []byte("\x00")))
	require.Nil(t, offer(t, r, []byte("\x00"+part(1, float32(0))+part(4, 0.0)+part(5, 0)+part(6, "")+part(7, "green")+part(8, 0)+part(9, 0))))
	batch := r.NewBatch()
	defer batch.Release()
	for name, want := range map[string]string{
		"f32": "[2.5 0]", "f64": "[(null) (null)]", "i32": "[7 7]", "i64": "[-9 0]", "flag": "[true false]", "text": `["é" ""]`,
		"request_id": `["` + topicID.String() + `/3/42" "` + topicID.String() + `/3/42"]`,
	} {
		require.Equal(t, want, batch.Column(batch.Schema().FieldIndices(name)[0]).String(), name)
	}
	for name, want := range map[string][]string{"color": {"red", "green"}, "size": {"l", "s"}} {
		c := batch.Column(batch.Schema().FieldIndices(name)[0]).(*array.Dictionary)
		texts := c.Dictionary().(*array.String)
		require.Equal(t, want, []string{texts.Value(c.GetValueIndex(0)), texts.Value(c.GetValueIndex(1))}, name)
	}
	require.EqualValues(t, -2000, batch.Column(9).(*array.Timestamp).Value(0))

	s.Text = strings.Replace(s.Text, `"é"`, `"`+strings.Repeat("x", schemas.MaxTextBytes)+`"`, 1)
	r, _, _ = framed(t, manifest(t), s)
	require.Equal(t, schemas.ErrorClassTooLarge, offer(t, r, []byte("\x00")).Class, "a default is text too")
	s.Text = strings.Replace(s.Text, "optional float f32", "required float f32", 1)
	r, _, _ = framed(t, manifest(t), s)
	require.Equal(t, schemas.ErrorClassMissingFeature, offer(t, r, []byte("\x00")).Class, "a required field is no valid message without it")
}

// A closed enum's number without a name is an unknown field.
func TestProtobufClosedEnums(t *testing.T) {
	s := Schema{Type: Protobuf, Text: `syntax = "proto2"; message R { enum E { s = 0; l = 1; big = 1; option allow_alias = true; }
required float f32 = 1; optional E i32 = 3; required int64 i64 = 4; required string color = 7; optional E size = 8; required int64 at = 9; }`}
	r, _, _ := framed(t, manifest(t), s)
	rest := part(1, float32(1)) + part(4, 1) + part(7, "red") + part(9, 1)
	require.Nil(t, offer(t, r, []byte("\x00"+part(8, 1)+part(3, 1)+rest)))
	require.Nil(t, offer(t, r, []byte("\x00"+part(8, 2)+part(3, 2)+rest)))
	batch := r.NewBatch()
	defer batch.Release()
	require.Equal(t, "[1 7]", batch.Column(2).String())
	size := batch.Column(7).(*array.Dictionary)
	require.Equal(t, []string{"l", "m"}, []string{size.Dictionary().(*array.String).Value(size.GetValueIndex(0)), size.Dictionary().(*array.String).Value(size.GetValueIndex(1))})
}
