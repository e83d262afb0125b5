package codec

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"
	"pgregory.net/rapid"
)

// avroWriter draws a schema with fields that nothing wants before, between and behind those of
// avroFields, and values of it. Its records refer to those around them and before them.
type avroWriter struct {
	*rapid.T
	defined map[string]map[string]any // records by name, whole or not
	open    []string                  // the records that are being drawn, outermost first
	whole   []string                  // records that refer to no other that is open
}

// typ draws a type. Records that were open at guard may be referred to: a value can end before
// it comes to them. least is the first open record that the type refers to.
func (w *avroWriter) typ(guard, depth int) (typ any, least int) {
	least = len(w.open)
	var kinds []string // what is first is drawn most
	if guard > 0 {
		kinds = append(kinds, "open", "open")
	}
	if depth < 6 {
		kinds = append(kinds, "record", "array", "union", "map")
	}
	if len(w.whole) > 0 {
		kinds = append(kinds, "whole")
	}
	kinds = append(kinds, "null", "other", "other")
	kind := rapid.SampledFrom(kinds).Draw(w.T, "kind")
	if kind == "other" {
		kind = rapid.SampledFrom([]string{"boolean", "int", "long", "float", "double", "bytes", "string", "fixed", "enum"}).Draw(w.T, "other")
	}
	switch kind {
	case "open":
		least = rapid.IntRange(0, guard-1).Draw(w.T, "open")
		return w.open[least], least
	case "whole":
		return rapid.SampledFrom(w.whole).Draw(w.T, "whole"), least
	case "record":
		return w.record(rapid.IntRange(0, 2).Draw(w.T, "fields"), nil, guard, depth)
	case "array":
		typ, least = w.typ(len(w.open), depth+1)
		return map[string]any{"type": "array", "items": typ}, least
	case "map":
		typ, least = w.typ(len(w.open), depth+1)
		return map[string]any{"type": "map", "values": typ}, least
	case "union":
		typ, least = w.typ(len(w.open), depth+1)
		if _, union := typ.([]any); union || typ == "null" {
			return typ, least
		}
		if rapid.Bool().Draw(w.T, "null first") {
			return []any{"null", typ}, least
		}
		return []any{typ, "null"}, least
	case "fixed":
		return map[string]any{"type": "fixed", "name": w.name(), "size": rapid.IntRange(0, 2).Draw(w.T, "size")}, least
	case "enum":
		return map[string]any{"type": "enum", "name": w.name(), "symbols": []any{"a", "b"}}, least
	default:
		return kind, least
	}
}

func (w *avroWriter) name() string {
	w.defined[fmt.Sprint("N", len(w.defined))] = nil
	return fmt.Sprint("N", len(w.defined)-1)
}

// record draws a record of so many fields, and of those that are wanted, between them.
func (w *avroWriter) record(n int, wanted []any, guard, depth int) (typ any, least int) {
	name := w.name()
	r := map[string]any{"type": "record", "name": name}
	w.defined[name] = r
	at := len(w.open)
	w.open = append(w.open, name)
	fields := []any{}
	least = at
	for i := range n {
		of, first := w.typ(guard, depth+1)
		least = min(least, first)
		fields = append(fields, map[string]any{"name": fmt.Sprint("u", i), "type": of})
		take := rapid.IntRange(0, len(wanted)).Draw(w.T, "wanted")
		fields, wanted = append(fields, wanted[:take]...), wanted[take:]
	}
	r["fields"] = append(fields, wanted...)
	w.open = w.open[:at]
	if least == at {
		w.whole = append(w.whole, name)
	}
	return r, least
}

// value draws a value of a type. Where left is used up it ends as soon as it can.
func (w *avroWriter) value(typ any, left *int) any {
	*left--
	switch t := typ.(type) {
	case []any: // with null as one of two
		if *left < 0 || rapid.IntRange(0, 3).Draw(w.T, "null") == 0 {
			return nil
		}
		for _, of := range t {
			if of != "null" {
				return w.value(of, left)
			}
		}
	case map[string]any:
		n := 0
		if *left > 0 {
			n = rapid.IntRange(0, 3).Draw(w.T, "n")
		}
		switch t["type"] {
		case "record":
			v := map[string]any{}
			for _, f := range t["fields"].([]any) {
				f := f.(map[string]any)
				v[f["name"].(string)] = w.value(f["type"], left)
			}
			return v
		case "array":
			v := make([]any, n)
			for i := range v {
				v[i] = w.value(t["items"], left)
			}
			return v
		case "map":
			v := map[string]any{}
			for i := range n {
				v[strconv.Itoa(i)] = w.value(t["values"], left)
			}
			return v
		case "fixed":
			return make([]byte, t["size"].(int))
		default:
			return rapid.SampledFrom([]string{"a", "b"}).Draw(w.T, "symbol")
		}
	case string:
		switch t {
		case "null":
			return nil
		case "boolean":
			return rapid.Bool().Draw(w.T, t)
		case "int":
			return rapid.Int32().Draw(w.T, t)
		case "long":
			return rapid.Int64().Draw(w.T, t)
		case "float":
			return rapid.Float32().Draw(w.T, t)
		case "double":
			return rapid.Float64().Draw(w.T, t)
		case "bytes":
			return []byte(rapid.String().Draw(w.T, t))
		case "string":
			return rapid.String().Draw(w.T, t)
		default:
			return w.value(w.defined[t], left)
		}
	}
	panic(fmt.Sprintf("no type: %v", typ))
}

// Fields that nothing wants are passed over, whatever they are, as another reader of Avro
// does it: the request is the one that it is without them.
func avroSkips(tb testing.TB) func(*rapid.T) {
	tb.Helper()
	m := manifest(tb)
	var wanted []any
	require.NoError(tb, json.Unmarshal([]byte("["+strings.Join(avroFields, ",")+"]"), &wanted))
	plain, err := avro.Parse(avroSchema("", "").Text)
	require.NoError(tb, err)
	return func(rt *rapid.T) {
		w := &avroWriter{T: rt, defined: map[string]map[string]any{}}
		typ, _ := w.record(rapid.IntRange(1, 4).Draw(rt, "fields"), wanted, 0, 0)
		text, err := json.Marshal(typ)
		require.NoError(rt, err)
		schema, err := avro.Parse(string(text))
		require.NoError(rt, err, "%s", text)
		left := 30
		request := w.value(typ, &left).(map[string]any)
		maps.Copy(request, drawRequest(rt))
		value, err := schema.Encode(request)
		require.NoError(rt, err, "%s", text)
		short, err := plain.Encode(request)
		require.NoError(rt, err)

		r, err := newFramedRequests(m, Avro, Options{Registry: &schemaList{schemas: []Schema{{Type: Avro, Text: string(text)}, avroSchema("", "")}}}, memory.NewGoAllocator())
		require.NoError(rt, err)
		defer r.Release()
		got, err := r.Append(rt.Context(), record(string(append(appendHeader(nil, 1), value...))))
		require.NoError(rt, err)
		batch := r.NewBatch()
		defer batch.Release()
		want, err := r.Append(rt.Context(), record(string(append(appendHeader(nil, 2), short...))))
		require.NoError(rt, err)
		wantBatch := r.NewBatch()
		defer wantBatch.Release()
		require.Equal(rt, want, got, "%s\n%x", text, value)
		require.True(rt, array.RecordEqual(wantBatch, batch), "%s\n%x\n%v\n%v", text, value, wantBatch, batch)
	}
}

func TestAvroSkips(t *testing.T) { rapid.Check(t, avroSkips(t)) }

func FuzzAvroSkips(f *testing.F) { f.Fuzz(rapid.MakeFuzz(avroSkips(f))) }
