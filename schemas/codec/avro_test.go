package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"

	"github.com/millrace/millrace/schemas"
)

// avroFields are the fields of a schema that fits the manifest of these tests.
var avroFields = []string{
	`{"name":"f32","type":"float"}`, `{"name":"f64","type":["null","double"]}`, `{"name":"i32","type":["null","int"]}`,
	`{"name":"i64","type":"long"}`, `{"name":"flag","type":["null","boolean"]}`, `{"name":"text","type":["null","string"]}`,
	`{"name":"color","type":"string"}`, `{"name":"size","type":["null","string"]}`, `{"name":"at","type":"long"}`,
	`{"name":"request_id","type":["null","string"]}`,
}

// avroSchema returns a schema that fits, with the type of one field replaced, or the field
// left out where the type is empty.
func avroSchema(field, typ string) Schema {
	var fields []string
	for _, f := range avroFields {
		switch {
		case field == "" || !strings.HasPrefix(f, `{"name":"`+field+`"`):
			fields = append(fields, f)
		case typ != "":
			fields = append(fields, `{"name":"`+field+`","type":`+typ+`}`)
		}
	}
	return Schema{Type: Avro, Text: `{"type":"record","name":"R","fields":[` + strings.Join(fields, ",") + `]}`}
}

// avroRequest returns a request that fits, with one value replaced.
func avroRequest(field string, v any) map[string]any {
	request := map[string]any{
		"f32": float32(1.5), "f64": nil, "i32": nil, "i64": int64(3), "flag": nil, "text": nil, "color": "red", "size": nil, "at": int64(5), "request_id": nil,
	}
	request[field] = v
	return request
}

// encodeAvro encodes by the library.
func encodeAvro(tb testing.TB, s Schema, v any) []byte {
	tb.Helper()
	parsed, err := avro.Parse(s.Text)
	require.NoError(tb, err)
	value, err := parsed.Encode(v)
	require.NoError(tb, err)
	return value
}

func TestAvroSchemasThatNeverFit(t *testing.T) {
	m := manifest(t)
	const wrong, missing = schemas.ErrorClassWrongType, schemas.ErrorClassMissingFeature
	for name, tc := range map[string]struct {
		s     Schema
		class schemas.ErrorClass
		want  string
	}{
		"absent":         {avroSchema("f32", ""), missing, `"f32" is not in the schema and has no default`},
		"absent time":    {avroSchema("at", ""), missing, `"at" is not in the schema`},
		"always null":    {avroSchema("i64", `"null"`), missing, `"i64" is always null in the schema`},
		"record":         {avroSchema("f32", `{"type":"record","name":"N","fields":[]}`), wrong, `"f32" must be a number; the schema says a record`},
		"nullable array": {avroSchema("f64", `["null",{"type":"array","items":"double"}]`), wrong, `the schema says an array`},
		"map":            {avroSchema("text", `{"type":"map","values":"string"}`), wrong, `"text" must be a string; the schema says a map`},
		"text":           {avroSchema("i64", `"string"`), wrong, `"i64" must be a whole number; the schema says a string`},
		"number":         {avroSchema("color", `"int"`), wrong, `"color" must be a string; the schema says an int`},
		"int for bool":   {avroSchema("flag", `"int"`), wrong, `"flag" must be a boolean; the schema says an int`},
		"decimal":        {avroSchema("f64", `{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`), wrong, `the schema says bytes (decimal)`},
		"date":           {avroSchema("at", `{"type":"int","logicalType":"date"}`), wrong, `"at" must be a timestamp, or a whole number (unix_ms); the schema says an int (date)`},
		"local time":     {avroSchema("at", `{"type":"long","logicalType":"local-timestamp-millis"}`), wrong, `(local-timestamp-millis)`},
		"time as text":   {avroSchema("at", `"string"`), wrong, `the schema says a string`},
		"fraction":       {avroSchema("at", `"double"`), wrong, `the schema says a double`},
		"double as id":   {avroSchema("request_id", `"double"`), wrong, `"request_id" must be a string or a whole number; the schema says a double`},
		"no record":      {Schema{Type: Avro, Text: `"string"`}, wrong, `it is a string; a record is expected`},
		"writer's alias": {Schema{Type: Avro, Text: strings.Replace(avroSchema("", "").Text, `"name":"f32"`, `"name":"g32","aliases":["f32"]`, 1)}, missing, `"f32" is not in the schema`},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, _ := framed(t, m, tc.s)
			for range 2 {
				fault := offer(t, r, nil)
				require.NotNil(t, fault)
				require.Equal(t, tc.class, fault.Class)
				require.Contains(t, fault.Reason, "schema 1: ")
				require.Contains(t, fault.Reason, tc.want)
			}
		})
	}
}

func TestAvroValues(t *testing.T) {
	m := manifest(t)
	const wrong, missing, out, malformed, unknown = schemas.ErrorClassWrongType, schemas.ErrorClassMissingFeature, schemas.ErrorClassOutOfRange, schemas.ErrorClassMalformed, schemas.ErrorClassUnknownCategory
	enum := `{"type":"enum","name":"E","symbols":["s","xxl"]}`
	long := int64(1) << 53
	for name, tc := range map[string]struct {
		field, typ string
		value      any
		want       any // the class of the fault, or the value in its column
	}{
		"int":                     {"f32", `"int"`, int32(999), "[999]"},
		"long as float64":         {"f64", `"long"`, long + 1, "[9.007199254740992e+15]"},
		"double for float32":      {"f32", `"double"`, 0.1, "[0.1]"},
		"too large":               {"f32", `"double"`, 1e39, wrong},
		"NaN of required":         {"f32", `"float"`, float32(math.NaN()), missing},
		"NaN of default":          {"i32", `"double"`, math.NaN(), "[7]"},
		"NaN of optional":         {"f64", `"double"`, math.NaN(), "[(null)]"},
		"infinity":                {"f64", `"double"`, math.Inf(-1), wrong},
		"out of range":            {"f32", `"double"`, -10.5, out},
		"int out of range":        {"f32", `"int"`, int32(-11), out},
		"whole double":            {"i64", `"double"`, -3.0, "[-3]"},
		"fraction":                {"i64", `"double"`, 0.5, wrong},
		"uncountable double":      {"i64", `"double"`, float64(long), wrong},
		"long for int32":          {"i32", `"long"`, int64(math.MaxInt32) + 1, wrong},
		"double for int32":        {"i32", `"double"`, 2147483648.0, wrong},
		"smallest":                {"i64", `"long"`, int64(math.MinInt64), "[-9223372036854775808]"},
		"null of required":        {"i64", `["null","long"]`, nil, missing},
		"null of default":         {"i32", `"null"`, nil, "[7]"},
		"null of optional":        {"f64", `"null"`, nil, "[(null)]"},
		"absent":                  {"i32", "", nil, "[7]"},
		"wide union":              {"f64", `["string","null","int","double"]`, 2.5, "[2.5]"},
		"int of the union":        {"f64", `["string","null","int","double"]`, int32(2), "[2]"},
		"string of the union":     {"f64", `["string","null","int","double"]`, "2.5", wrong},
		"enum":                    {"size", enum, "s", "s"},
		"enum outside":            {"size", enum, "xxl", unknown},
		"bytes":                   {"text", `"bytes"`, []byte("é"), `["é"]`},
		"bytes that are no text":  {"text", `"bytes"`, []byte("\xff"), malformed},
		"fixed":                   {"text", `{"type":"fixed","name":"F","size":2}`, []byte("ab"), `["ab"]`},
		"unknown category":        {"color", `"string"`, "violet", "violet"},
		"id as a number":          {"request_id", `"long"`, int64(-12), `["-12"]`},
		"id as an enum":           {"request_id", enum, "s", `["s"]`},
		"empty id":                {"request_id", `"string"`, "", `["` + topicID.String() + `/3/42"]`},
		"id too long":             {"request_id", `"string"`, strings.Repeat("x", 513), wrong},
		"time in milliseconds":    {"at", `"long"`, int64(-1), "[-1000]"},
		"timestamp-millis":        {"at", `{"type":"long","logicalType":"timestamp-millis"}`, int64(1234), "[1234000]"},
		"timestamp-micros":        {"at", `{"type":"long","logicalType":"timestamp-micros"}`, int64(1234), "[1234]"},
		"timestamp-nanos":         {"at", `{"type":"long","logicalType":"timestamp-nanos"}`, int64(-1), "[-1]"},
		"nullable timestamp":      {"at", `["null",{"type":"long","logicalType":"timestamp-micros"}]`, int64(5), "[5]"},
		"no timestamp":            {"at", `["null",{"type":"long","logicalType":"timestamp-micros"}]`, nil, missing},
		"timestamp out of range":  {"at", `{"type":"long","logicalType":"timestamp-micros"}`, int64(schemas.MaxMicros + 1), out},
		"timestamp that overflow": {"at", `{"type":"long","logicalType":"timestamp-millis"}`, int64(math.MaxInt64 / 10), out},
		"time out of range":       {"at", `"long"`, int64(math.MinInt64), out},
	} {
		t.Run(name, func(t *testing.T) {
			s := avroSchema(tc.field, tc.typ)
			plain := s // the library wants a time.Time where there is a timestamp
			plain.Text = strings.NewReplacer(`,"logicalType":"timestamp-millis"`, "", `,"logicalType":"timestamp-micros"`, "", `,"logicalType":"timestamp-nanos"`, "").Replace(s.Text)
			r, _, _ := framed(t, m, s)
			fault := offer(t, r, encodeAvro(t, plain, avroRequest(tc.field, tc.value)))
			if class, refused := tc.want.(schemas.ErrorClass); refused {
				require.NotNil(t, fault)
				require.Equal(t, class, fault.Class, fault.Reason)
				require.Zero(t, r.Rows())
				return
			}
			require.Nil(t, fault, "%v", fault)
			batch := r.NewBatch()
			defer batch.Release()
			at := batch.Schema().FieldIndices(tc.field)
			if tc.field == "at" {
				require.Equal(t, tc.want, fmt.Sprintf("[%d]", batch.Column(9).(*array.Timestamp).Value(0)))
				return
			}
			if tc.field == "color" || tc.field == "size" {
				c := batch.Column(at[0]).(*array.Dictionary)
				require.Equal(t, tc.want, c.Dictionary().(*array.String).Value(c.GetValueIndex(0)))
				return
			}
			require.Equal(t, tc.want, batch.Column(at[0]).String())
		})
	}
}

func TestAvroTimesInOtherFormats(t *testing.T) {
	for format, values := range map[string]map[string]any{
		"rfc3339": {`"string"`: "1970-01-01T00:00:01Z", `{"type":"long","logicalType":"timestamp-millis"}`: int64(1000)},
		"unix_s":  {`"double"`: 1.0, `"int"`: int32(1), `"float"`: float32(1), `{"type":"long","logicalType":"timestamp-micros"}`: int64(1e6)},
		"unix_us": {`"long"`: int64(1e6)},
	} {
		m, err := schemas.ParseManifest("test", []byte(strings.Replace(manifestText, "unix_ms", format, 1)))
		require.NoError(t, err)
		for typ, v := range values {
			s := avroSchema("at", typ)
			plain := s
			plain.Text = strings.NewReplacer(`,"logicalType":"timestamp-millis"`, "", `,"logicalType":"timestamp-micros"`, "").Replace(s.Text)
			r, _, _ := framed(t, m, s)
			require.Nil(t, offer(t, r, encodeAvro(t, plain, avroRequest("at", v))), "%s %s", format, typ)
			batch := r.NewBatch()
			require.EqualValues(t, 1e6, batch.Column(9).(*array.Timestamp).Value(0), "%s %s", format, typ)
			batch.Release()
		}
		if format == "unix_s" {
			r, _, _ := framed(t, m, avroSchema("at", `"double"`))
			require.Equal(t, schemas.ErrorClassMissingFeature, offer(t, r, encodeAvro(t, avroSchema("at", `"double"`), avroRequest("at", math.NaN()))).Class)
			for _, x := range []float64{math.Inf(1), 1e11, -1e300} {
				require.Equal(t, schemas.ErrorClassOutOfRange, offer(t, r, encodeAvro(t, avroSchema("at", `"double"`), avroRequest("at", x))).Class)
			}
		}
	}
}

// Bytes that no writer makes end in a dead letter, soon and without a panic.
func TestAvroHostileBytes(t *testing.T) {
	m := manifest(t)
	doubling := `{"type":"record","name":"D0","fields":[]}`
	for i := range 40 { // 2^40 empty records in no bytes
		doubling = `{"type":"record","name":"` + fmt.Sprint("D", i+1) + `","fields":[{"name":"a","type":` + doubling + `},{"name":"b","type":"` + firstName(doubling) + `"}]}`
	}
	var varint [binary.MaxVarintLen64]byte
	huge := string(varint[:binary.PutVarint(varint[:], math.MaxInt64)])
	for name, tc := range map[string]struct {
		typ  string // of a field before all others
		in   string
		good bool
	}{
		"long text":             {`"string"`, huge + "x", false},
		"negative length":       {`"bytes"`, "\x01", false},
		"endless varint":        {`"long"`, strings.Repeat("\xff", 20), false},
		"varint of 65 bits":     {`"long"`, strings.Repeat("\x80", 9) + "\x02", false},
		"boolean of 2":          {`["boolean"]`, "\x02\x02", false},
		"branch of none":        {`["null","int"]`, "\x04", false},
		"negative branch":       {`["null","int"]`, "\x01", false},
		"symbol of none":        {`{"type":"enum","name":"E","symbols":["a"]}`, "\x02", false},
		"endless array of ints": {`{"type":"array","items":"int"}`, huge + "\x02", false},
		"nulls without end":     {`{"type":"array","items":"null"}`, huge + huge + "\x00", true},
		"empty doubling":        {doubling, "", true},
		"block with its size":   {`{"type":"array","items":"int"}`, "\x03\x04\x02\x02\x00", true},
		"block past the end":    {`{"type":"array","items":"int"}`, "\x03" + huge, false},
		"map":                   {`{"type":"map","values":"int"}`, "\x02\x02k\x02\x00", true},
		"deep":                  {`{"type":"record","name":"N","fields":[{"name":"n","type":["null","N"]}]}`, strings.Repeat("\x02", 1<<20), false},
		"deep enough":           {`{"type":"record","name":"N","fields":[{"name":"n","type":["null","N"]}]}`, strings.Repeat("\x02", 20) + "\x00", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := avroSchema("", "")
			rest := encodeAvro(t, s, avroRequest("f64", nil))
			s.Text = strings.Replace(s.Text, `"fields":[`, `"fields":[{"name":"u","type":`+tc.typ+`},`, 1)
			r, _, _ := framed(t, m, s)
			fault := offer(t, r, append([]byte(tc.in), rest...))
			if tc.good {
				require.Nil(t, fault, "%v", fault)
				return
			}
			require.NotNil(t, fault)
			require.Equal(t, schemas.ErrorClassMalformed, fault.Class)
		})
	}
	s := avroSchema("i32", `"int"`) // an int that has 33 bits
	value := encodeAvro(t, avroSchema("i32", `"long"`), avroRequest("i32", int64(1)<<32))
	r, _, _ := framed(t, m, s)
	require.Equal(t, schemas.ErrorClassMalformed, offer(t, r, value).Class)
}

// Zero-size is a record only if it is when all of it is known, which it is not where another
// record refers back to it. Else skipping it would leave its bytes to the fields behind it.
func TestAvroRecursiveRecordsAreSkipped(t *testing.T) {
	const tree = `{"type":"record","name":"A","fields":[` +
		`{"name":"kids","type":{"type":"array","items":{"type":"record","name":"B","fields":[{"name":"a","type":"A"}]}}},{"name":"x","type":"int"}]}`
	s := Schema{Type: Avro, Text: `{"type":"record","name":"R","fields":[{"name":"f32","type":"float"},{"name":"tree","type":` + tree +
		`},{"name":"i64","type":"long"},{"name":"color","type":"string"},{"name":"at","type":"long"}]}`}
	leaf := func(x int32) map[string]any { return map[string]any{"kids": []any{}, "x": x} }
	request := avroRequest("tree", map[string]any{"x": int32(3), "kids": []any{map[string]any{"a": leaf(1)}, map[string]any{"a": leaf(2)}}})
	r, _, _ := framed(t, manifest(t), s)
	require.Nil(t, offer(t, r, encodeAvro(t, s, request)))
	batch := r.NewBatch()
	defer batch.Release()
	require.Equal(t, "[1.5]", batch.Column(0).String())
	require.Equal(t, "[3]", batch.Column(3).String())
}

// Two references on each of 64 levels are 2^64 ways to the last.
func TestAvroDiamondsOfReferences(t *testing.T) {
	var refs []Reference
	typ := `"int"`
	for i := range 64 {
		text := fmt.Sprintf(`{"type":"record","name":"D%d","fields":[{"name":"a","type":%s}]}`, i, typ)
		s := Schema{Type: Avro, Text: text, References: refs}
		typ = fmt.Sprintf(`"D%d"`, i)
		refs = []Reference{{Name: "left", Schema: s}, {Name: "right", Schema: s}}
	}
	s := avroSchema("", "")
	s.Text = strings.Replace(s.Text, `"fields":[`, `"fields":[{"name":"u","type":`+typ+`},`, 1)
	s.References = refs
	r, _, _ := framed(t, manifest(t), s)
	require.Nil(t, offer(t, r, append([]byte("\x02"), encodeAvro(t, avroSchema("", ""), avroRequest("f64", nil))...)))
}

func firstName(record string) string {
	_, rest, _ := strings.Cut(record, `"name":"`)
	name, _, _ := strings.Cut(rest, `"`)
	return name
}

// Symbols of the schema are texts too, though the value is a byte.
func TestAvroTextsAreBounded(t *testing.T) {
	m := manifest(t)
	s := avroSchema("text", `{"type":"enum","name":"E","symbols":["`+strings.Repeat("x", schemas.MaxTextBytes)+`"]}`)
	r, _, _ := framed(t, m, s)
	short := encodeAvro(t, avroSchema("text", `{"type":"enum","name":"E","symbols":["x"]}`), avroRequest("text", "x"))
	require.Equal(t, schemas.ErrorClassTooLarge, offer(t, r, short).Class)
	r, _, _ = framed(t, m, avroSchema("", ""))
	require.Equal(t, schemas.ErrorClassTooLarge, offer(t, r, encodeAvro(t, avroSchema("", ""), avroRequest("text", strings.Repeat("x", schemas.MaxTextBytes)))).Class)
	require.Nil(t, offer(t, r, encodeAvro(t, avroSchema("", ""), avroRequest("text", strings.Repeat("x", schemas.MaxTextBytes-len("redm"))))))
}
