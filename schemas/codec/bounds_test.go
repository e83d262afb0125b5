package codec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func avroOf(fields int) string {
	var b strings.Builder
	b.WriteString(`{"type":"record","name":"R","fields":[`)
	for i := range fields {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"name":"f%d","type":"int"}`, i)
	}
	return b.String() + "]}"
}

func protoOf(fields int) string {
	var b strings.Builder
	b.WriteString("syntax = \"proto3\";\nmessage R {\n")
	for i := range fields {
		number := i + 1
		if number >= 19_000 { // up to 19,999 they are the language's own
			number += 1000
		}
		fmt.Fprintf(&b, "int32 f%d = %d;\n", i, number)
	}
	return b.String() + "}\n"
}

func TestHostileSchemasAreRefusedBeforeTheyAreRead(t *testing.T) {
	for name, tc := range map[string]struct {
		schema Schema
		says   string
	}{
		"fields of Avro":        {Schema{Type: Avro, Text: avroOf(100_000)}, "more than 20000 definitions and fields"},
		"megabytes":             {Schema{Type: Avro, Text: avroOf(10) + strings.Repeat(" ", MaxSchemaBytes)}, "it has more than 4 MiB"},
		"fields of Protobuf":    {Schema{Type: Protobuf, Text: protoOf(100_000)}, "more than 20000 definitions and fields"},
		"arrays within arrays":  {Schema{Type: Avro, Text: strings.Repeat(`{"type":"array","items":`, 10_000)}, "more than 500 levels of brackets"},
		"messages in messages":  {Schema{Type: Protobuf, Text: "syntax = \"proto3\";\n" + strings.Repeat("message A { // } */\n", 10_000)}, "more than 500 levels of brackets"},
		"closed in strings":     {Schema{Type: Protobuf, Text: strings.Repeat(`option a = { b: "}\"}" c: '}' /* } */`, 10_000)}, "more than 500 levels of brackets"},
		"a reference":           {Schema{Type: Avro, Text: `"r.R"`, References: []Reference{{Name: "r.R", Schema: Schema{Type: Avro, Text: avroOf(100_000)}}}}, "reference r.R: more than 20000"},
		"references, all alike": {Schema{Type: Protobuf, Text: protoOf(1), References: []Reference{{Name: "a", Schema: Schema{Text: protoOf(12_000)}}, {Name: "b", Schema: Schema{Text: protoOf(12_001)}}}}, "reference b: more than 20000"},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, checkSchema(tc.schema), tc.says) })
	}
}

func TestLargeSchemasThatArePlausibleAreTaken(t *testing.T) {
	for name, s := range map[string]Schema{
		"Avro of 5,000 fields":     {Type: Avro, Text: avroOf(5000)},
		"Protobuf of 5,000 fields": {Type: Protobuf, Text: protoOf(5000)},
		"brackets in text":         {Type: Avro, Text: `{"type":"record","name":"R","doc":"` + strings.Repeat("[", 1000) + `\"","fields":[]}`},
		"brackets in comments":     {Type: Protobuf, Text: "/* " + strings.Repeat("[", 1000) + " */\n// " + strings.Repeat("{", 1000) + "\nsyntax = \"proto3\";\nmessage R {}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, checkSchema(s))
			if s.Type == Avro {
				_, err := parseAvro(s)
				require.NoError(t, err)
			} else {
				_, err := compileProtobuf(t.Context(), s)
				require.NoError(t, err)
			}
		})
	}
}

// BenchmarkLargestSchema shows what the largest schema that is taken costs to read.
func BenchmarkLargestSchema(b *testing.B) {
	for name, s := range map[string]Schema{
		"avro":     {Type: Avro, Text: avroOf(19_990)},
		"protobuf": {Type: Protobuf, Text: protoOf(19_990)},
	} {
		b.Run(name, func(b *testing.B) {
			require.NoError(b, checkSchema(s))
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if s.Type == Avro {
					_, err = parseAvro(s)
				} else {
					_, err = compileProtobuf(b.Context(), s)
				}
				require.NoError(b, err)
			}
		})
	}
}
