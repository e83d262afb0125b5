package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

var errReference = errors.New("no flat object without duplicate keys")

// reference reads one object with encoding/json, flat but for keys that are not asked for.
func reference(in []byte) (map[string]any, error) {
	if !utf8.Valid(in) || !json.Valid(in) {
		return nil, errReference
	}
	dec := json.NewDecoder(bytes.NewReader(in))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errReference
	}
	out := map[string]any{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		value, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if _, nested := value.(json.Delim); nested {
			for depth, most := 1, 1; depth > 0; {
				inner, err := dec.Token()
				if err != nil {
					return nil, err
				}
				switch inner {
				case json.Delim('{'), json.Delim('['):
					depth++
				case json.Delim('}'), json.Delim(']'):
					depth--
				}
				if most = max(most, depth); most > maxDepth {
					return nil, errReference
				}
			}
			if slices.Contains([]string{"f32", "f64", "i32", "i64", "flag", "text", "color", "size", "at", "request_id"}, key.(string)) {
				return nil, errReference
			}
		}
		if _, twice := out[key.(string)]; twice {
			return nil, errReference
		}
		out[key.(string)] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errReference
	}
	return out, nil
}

// expect says what the manifest of these tests makes of an object: the values of its first
// columns, or that it is refused.
func expect(object map[string]any) (values []any, ok bool) {
	number := func(key string, bits int) (float64, bool) {
		n, ok := object[key].(json.Number)
		if !ok {
			return 0, false
		}
		x, err := strconv.ParseFloat(n.String(), bits)
		return x, err == nil
	}
	whole := func(key string, bits int) (int64, bool) {
		n, ok := object[key].(json.Number)
		if !ok {
			return 0, false
		}
		if i, err := strconv.ParseInt(n.String(), 10, bits); err == nil {
			return i, true
		}
		x, err := strconv.ParseFloat(n.String(), 64)
		if err != nil || x != math.Trunc(x) || math.Abs(x) >= 1<<53 {
			return 0, false
		}
		return int64(x), bits == 64 || (x >= math.MinInt32 && x <= math.MaxInt32)
	}
	f32, ok32 := number("f32", 32)
	f64, ok64 := number("f64", 64)
	if object["f64"] == nil {
		ok64 = true
	}
	i32, okI32 := whole("i32", 32)
	if object["i32"] == nil {
		i32, okI32 = 7, true
	}
	i64, okI64 := whole("i64", 64)
	flag, okFlag := object["flag"].(bool)
	if object["flag"] == nil {
		flag, okFlag = true, true
	}
	text, okText := object["text"].(string)
	okText = okText || object["text"] == nil
	color, okColor := object["color"].(string)
	size, okSize := object["size"].(string)
	if object["size"] == nil {
		size, okSize = "m", true
	}
	okSize = okSize && (size == "s" || size == "m" || size == "l")
	at, isNumber := object["at"].(json.Number)
	ms, err := strconv.ParseInt(at.String(), 10, 64)
	okAt := isNumber && err == nil && ms >= schemas.MinMicros/1000 && ms <= schemas.MaxMicros/1000
	okID := true
	switch id := object["request_id"].(type) {
	case bool:
		okID = false
	case string:
		okID = len(id) <= MaxRequestIDBytes
	case json.Number:
		okID = len(id) <= MaxRequestIDBytes
	}
	ok = ok32 && f32 >= -10 && f32 <= 1e6 && ok64 && okI32 && okI64 && okFlag && okText && okColor && okSize && okAt && okID
	return []any{float32(f32), f64, int32(i32), i64, flag, text, color, size}, ok
}

func decoded(batch arrow.Record) []any {
	out := make([]any, 8)
	for i := range out {
		switch c := batch.Column(i).(type) {
		case *array.Float32:
			out[i] = c.Value(0)
		case *array.Float64:
			out[i] = c.Value(0)
			if c.IsNull(0) {
				out[i] = 0.0
			}
		case *array.Int32:
			out[i] = c.Value(0)
		case *array.Int64:
			out[i] = c.Value(0)
		case *array.Boolean:
			out[i] = c.Value(0)
		case *array.String:
			out[i] = c.Value(0)
		case *array.Dictionary:
			out[i] = c.Dictionary().(*array.String).Value(c.GetValueIndex(0))
		}
	}
	return out
}

// FuzzDifferential: the decoder accepts exactly what encoding/json reads as one object,
// flat but for what nobody asks for, and the manifest allows, with the same values. It is stricter in one thing: encoding/json
// replaces lone surrogates, which are refused here.
func FuzzDifferential(f *testing.F) {
	for _, seed := range []string{
		good, `{"f32":1e5,"i64":-0,"at":1,"color":"\u0041"}`, `{"f32":1,"i64":1,"at":0,"color":"red","color":"red"}`,
		`{"f32":1,"i64":1.0,"at":0,"color":"red","x":null,"x":1}`, `{"f32":01,"i64":1,"at":0,"color":"red"}`,
		`{"f32":1,"i64":9007199254740993.0,"at":0,"color":"red"}`, `{"f32":1,"i64":1,"at":0,"color":"\ud800"}`,
		" {\t\"f32\" :\r1E-3\n, \"i64\":1,\"at\":0,\"color\":\"\\b\\f\\n\\r\\t\\/\"} ", `{"f32":1,"i64":1,"at":0,"color":"red"}{}`,
		`{"f32":3.4028235e38,"i64":-9223372036854775808,"at":-2208988800000,"color":"","size":"s","request_id":1e5}`,
		`{"f32":1,"i64":1,"at":0,"color":"red","u":{"a":[1]}}`, `{"f32":1,"u":[[],{},{"a":{"b":[1,"]",null]},"a":-1e5}],"i64":1,"at":0,"color":"red"}`, `{"u":[1,]}`, `{"u":{"a"}}`, `{"u":[{]}}`, `{"u":[NaN]}`, `{"u":NaN}`, `{"":1,"f32":1,"i64":1,"at":0,"color":"red","f\u00332":2}`, "\ufeff{}",
	} {
		f.Add([]byte(seed))
	}
	m, err := schemas.ParseManifest("test", []byte(manifestText))
	require.NoError(f, err)
	d, err := NewDecoder(m, memory.NewGoAllocator())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > schemas.MaxTextBytes {
			return
		}
		fault := d.Append(&schemas.Record{Value: in, TopicID: topicID})
		object, err := reference(in)
		values, ok := expect(object)
		if ok = ok && err == nil; ok != (fault == nil) {
			if fault != nil && strings.Contains(fault.Reason, "lone surrogate") {
				return
			}
			t.Fatalf("%q: encoding/json and the manifest say %v (%v), the decoder %v", in, ok, err, fault)
		}
		if fault != nil {
			require.Zero(t, d.Rows())
			return
		}
		batch := d.NewBatch()
		defer batch.Release()
		require.Equal(t, values, decoded(batch), "%q", in)
	})
}
