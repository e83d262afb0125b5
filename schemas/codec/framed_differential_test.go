package codec

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/schemas"
)

// drawRequest draws a request of the tests' manifest; what may be left out is nil.
func drawRequest(t *rapid.T) map[string]any {
	maybe := func(name string, v func() any) any {
		if rapid.IntRange(0, 3).Draw(t, "no "+name) == 0 {
			return nil
		}
		return v()
	}
	text := func(name string, of ...string) string {
		return rapid.OneOf(rapid.SampledFrom(of), rapid.String()).Draw(t, name)
	}
	return map[string]any{
		"f32":        rapid.OneOf(rapid.Float32Range(-10, 1e6), rapid.Float32Range(-11, -9), rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32)).Draw(t, "f32"),
		"f64":        maybe("f64", func() any { return rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, "f64") }),
		"i32":        maybe("i32", func() any { return rapid.Int32().Draw(t, "i32") }),
		"i64":        rapid.Int64().Draw(t, "i64"),
		"flag":       maybe("flag", func() any { return rapid.Bool().Draw(t, "flag") }),
		"text":       maybe("text", func() any { return text("text", "", "é") }),
		"color":      text("color", "red", "green"),
		"size":       maybe("size", func() any { return text("size", "s", "m", "l") }),
		"at":         rapid.OneOf(rapid.Int64Range(schemas.MinMicros/1000-5, schemas.MaxMicros/1000+5), rapid.Int64()).Draw(t, "at"),
		"request_id": maybe("request_id", func() any { return text("id", "r", strings.Repeat("x", MaxRequestIDBytes+1)) }),
	}
}

// jsonText writes a request in the order of the other schemas, so that the first fault is the same.
func jsonText(request map[string]any) []byte {
	dst := []byte{'{'}
	for i, f := range fieldOrder {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(appendJSON(dst, f), ':'), appendJSON(nil, request[f])...)
	}
	return append(dst, '}')
}

var fieldOrder = []string{"f32", "f64", "i32", "i64", "flag", "text", "color", "size", "at", "request_id"}

// The same request is the same row in JSON, Avro and Protobuf, or refused for the same reason.
func TestCodecsAgree(t *testing.T) {
	m := manifest(t)
	avroText, protoText := avroSchema("", ""), protobufSchema(0, "")
	writer, err := avro.Parse(avroText.Text)
	require.NoError(t, err)
	file, err := compileProtobuf(t.Context(), protoText)
	require.NoError(t, err)
	descriptor := file.Messages().Get(1)
	d := decoder(t)
	avroRows, _, _ := framed(t, m, avroText)
	protoRows, _, _ := framed(t, m, protoText)
	rapid.Check(t, func(rt *rapid.T) {
		request := drawRequest(rt)
		fault := d.Append(record(string(jsonText(request))))
		avroValue, err := writer.Encode(request)
		if err != nil {
			rt.Fatal(err)
		}
		message := dynamicpb.NewMessage(descriptor)
		for name, v := range request {
			if v != nil {
				message.Set(descriptor.Fields().ByName(protoreflect.Name(name)), protoreflect.ValueOf(v))
			}
		}
		protoValue, err := proto.Marshal(message)
		if err != nil {
			rt.Fatal(err)
		}
		avroFault := offer(t, avroRows, avroValue)
		protoFault := offer(t, protoRows, append([]byte("\x02\x02"), protoValue...))
		if fault != nil {
			require.NotNil(rt, avroFault)
			require.NotNil(rt, protoFault)
			require.Equal(rt, fault.Class, avroFault.Class, "%v, %v", fault, avroFault)
			// Fields that are zero are read last in Protobuf, so another fault may come first.
			return
		}
		require.Nil(rt, avroFault, "%v", avroFault)
		require.Nil(rt, protoFault, "%v", protoFault)
		want, fromAvro, fromProto := d.NewBatch(), avroRows.NewBatch(), protoRows.NewBatch()
		defer want.Release()
		defer fromAvro.Release()
		defer fromProto.Release()
		require.True(rt, array.RecordEqual(want, fromAvro), "%v\n%v", want, fromAvro)
		require.True(rt, array.RecordEqual(want, fromProto), "%v\n%v", want, fromProto)
	})
}

// fuzzFramed feeds bytes to a codec: no panic, no row on an error, a class of the closed set.
func fuzzFramed(f *testing.F, s ...Schema) {
	f.Helper()
	m := manifest(f)
	for _, g := range goldens(f).Requests {
		for _, v := range g.Values {
			if g.Codec == s[0].Type {
				for which := range s {
					f.Add(byte(which), unhex(f, v.Value)[headerBytes:])
				}
			}
		}
	}
	classes := map[schemas.ErrorClass]bool{}
	for _, c := range schemas.ErrorClasses() {
		classes[c] = true
	}
	r, err := newFramedRequests(m, s[0].Type, Options{Registry: &schemaList{schemas: s}}, memory.NewGoAllocator())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, which byte, in []byte) {
		value := append(appendHeader(nil, 1+int(which)%len(s)), in...)
		before := string(value)
		got, err := r.Append(t.Context(), record(before))
		require.NoError(t, err)
		require.Equal(t, before, string(value), "the request was changed")
		if got.Fault != nil {
			require.Zero(t, r.Rows())
			require.True(t, classes[got.Fault.Class])
			require.NotEqual(t, schemas.ErrorClassUnknownSchema, got.Fault.Class)
			require.LessOrEqual(t, len(got.Fault.Reason), maxReasonBytes)
			return
		}
		require.Equal(t, 1, r.Rows())
		batch := r.NewBatch()
		defer batch.Release()
		for i := range int(batch.NumCols()) {
			if texts, ok := batch.Column(i).(*array.String); ok {
				require.True(t, utf8.ValidString(texts.Value(0)))
			}
		}
	})
}

// goldenSchemas are the schemas of the golden requests.
func goldenSchemas(tb testing.TB, c Codec) (all []Schema) {
	tb.Helper()
	for _, g := range goldens(tb).Requests {
		if g.Codec == c {
			all = append(all, g.schema())
		}
	}
	return all
}

func FuzzAvro(f *testing.F) { fuzzFramed(f, goldenSchemas(f, Avro)...) }

func FuzzProtobuf(f *testing.F) {
	fuzzFramed(f, append(goldenSchemas(f, Protobuf), protobufSchema(4, "oneof one { int64 i64 = 4; int32 i32_other = 20; string note = 21; }"))...)
}

// FuzzAvroSchema: whatever a registry holds, planning ends with a plan or a reason.
func FuzzAvroSchema(f *testing.F) { fuzzSchema(f, Avro, avroSchema("", "")) }

// FuzzProtobufSchema likewise.
func FuzzProtobufSchema(f *testing.F) { fuzzSchema(f, Protobuf, protobufSchema(0, "")) }

func fuzzSchema(f *testing.F, c Codec, good Schema) {
	f.Helper()
	m := manifest(f)
	f.Add(good.Text, []byte("\x00"))
	for _, s := range goldenSchemas(f, c) {
		f.Add(s.Text, []byte("\x02\x02\x00"))
	}
	f.Fuzz(func(t *testing.T, text string, in []byte) {
		r, err := newFramedRequests(m, c, Options{Registry: &schemaList{schemas: []Schema{{Type: c, Text: text}}}}, memory.NewGoAllocator())
		require.NoError(t, err)
		defer r.Release()
		if fault := offer(t, r, in); fault != nil {
			require.NotEmpty(t, fault.Reason)
			require.LessOrEqual(t, len(fault.Reason), maxReasonBytes)
		}
	})
}

// twenty is a manifest of 20 float features, with a request in each codec.
func twenty(tb testing.TB) (m *schemas.Manifest, requests map[Codec]*schemas.Record, of map[Codec]Schema) {
	tb.Helper()
	var features, avroFields, protoFields []string
	request := map[string]any{}
	for i := range 20 {
		name := fmt.Sprintf("feature_%02d", i)
		features = append(features, fmt.Sprintf("  - {name: %s, type: float32}\n", name))
		avroFields = append(avroFields, fmt.Sprintf(`{"name":%q,"type":"float"}`, name))
		protoFields = append(protoFields, fmt.Sprintf("float %s = %d;", name, i+1))
		request[name] = float32(i) * 1.37
	}
	m, err := schemas.ParseManifest("test", []byte(`
name: m
version: "1"
runtime: onnx
artifact: {file: model.onnx, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
features:
`+strings.Join(features, "")+`outputs:
  - {name: score, type: float32}
`))
	require.NoError(tb, err)
	of = map[Codec]Schema{
		Avro:     {Type: Avro, Text: `{"type":"record","name":"R","fields":[` + strings.Join(avroFields, ",") + `]}`},
		Protobuf: {Type: Protobuf, Text: `syntax = "proto3"; message R { ` + strings.Join(protoFields, " ") + ` }`},
	}
	text, err := json.Marshal(request)
	require.NoError(tb, err)
	file, err := compileProtobuf(tb.Context(), of[Protobuf])
	require.NoError(tb, err)
	message := dynamicpb.NewMessage(file.Messages().Get(0))
	for name, v := range request {
		message.Set(message.Descriptor().Fields().ByName(protoreflect.Name(name)), protoreflect.ValueOf(v))
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	require.NoError(tb, err)
	return m, map[Codec]*schemas.Record{
		JSON:     record(string(text)),
		Avro:     record(string(append(appendHeader(nil, 1), encodeAvro(tb, of[Avro], request)...))),
		Protobuf: record(string(append(appendHeader(nil, 1), append([]byte{0}, value...)...))),
	}, of
}

func TestFramedCodecsAllocateNothingPerRecord(t *testing.T) {
	type writer struct {
		m      *schemas.Manifest
		schema Schema
		rec    *schemas.Record
	}
	var writers []writer
	m, requests, of := twenty(t)
	for c, s := range of {
		writers = append(writers, writer{m, s, requests[c]})
	}
	for _, g := range goldens(t).Requests {
		writers = append(writers, writer{manifest(t), g.schema(), record(string(unhex(t, g.Values[0].Value)))})
	}
	for _, w := range writers {
		r, err := newFramedRequests(w.m, w.schema.Type, Options{Registry: &schemaList{schemas: []Schema{w.schema}}}, memory.NewGoAllocator())
		require.NoError(t, err)
		defer r.Release()
		perBatch := func(rows int) float64 {
			return testing.AllocsPerRun(5, func() {
				r.Reserve(rows)
				for range rows {
					if got, err := r.Append(t.Context(), w.rec); err != nil || got.Rows != 1 {
						t.Fatal(got, err)
					}
				}
				r.NewBatch().Release()
			})
		}
		perBatch(4096)
		// Buffers of strings double: the count may grow by their logarithm, not with the rows.
		require.InDelta(t, perBatch(256), perBatch(4096), 30, w.schema.Text)
	}
}

// BenchmarkRequests decodes 20 float features.
func BenchmarkRequests(b *testing.B) {
	m, requests, of := twenty(b)
	for _, c := range []Codec{JSON, Avro, Protobuf} {
		b.Run(string(c), func(b *testing.B) {
			list := &schemaList{schemas: []Schema{of[c]}}
			r, _, err := New(b.Context(), c, m, Options{Registry: list, Subject: "results-value"}, memory.NewGoAllocator())
			require.NoError(b, err)
			defer r.Release()
			rec, ctx := requests[c], b.Context()
			b.SetBytes(int64(len(rec.Value)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%4096 == 0 {
					r.NewBatch().Release()
					r.Reserve(4096)
				}
				if got, err := r.Append(ctx, rec); err != nil || got.Fault != nil {
					b.Fatal(got, err)
				}
			}
		})
	}
}

// BenchmarkResults encodes one output.
func BenchmarkResults(b *testing.B) {
	m, requests, of := twenty(b)
	for _, c := range []Codec{JSON, Avro, Protobuf} {
		b.Run(string(c), func(b *testing.B) {
			list := &schemaList{schemas: []Schema{of[c]}}
			r, e, err := New(b.Context(), c, m, Options{Registry: list, Subject: "results-value"}, memory.NewGoAllocator())
			require.NoError(b, err)
			defer r.Release()
			_, err = r.Append(b.Context(), requests[c])
			require.NoError(b, err)
			batch := r.NewBatch()
			defer batch.Release()
			preds, _, err := array.RecordFromJSON(memory.NewGoAllocator(), arrow.NewSchema(m.OutputFields(), nil), strings.NewReader(`[{"score":0.123456}]`))
			require.NoError(b, err)
			e.Bind(batch, preds)
			a := &Answer{Record: requests[c], Rows: 1, LatencyUS: 12345, QueueUS: 678}
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				if dst, err = e.Append(dst[:0], a); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}
