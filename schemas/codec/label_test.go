package codec

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

var received = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func decodeLabel(key, value string) (Label, *schemas.RequestError) {
	var d LabelDecoder
	var l Label
	err := d.Decode(&schemas.Record{Key: []byte(key), Value: []byte(value), Timestamp: received}, &l)
	return l, err
}

func TestLabelErrors(t *testing.T) {
	const want = "a number of milliseconds since 1970 or a time in RFC 3339, like 2001-02-03T04:05:06Z"
	for value, want := range map[string]string{
		"":                                       "malformed: the value is empty; a JSON object is expected",
		" ":                                      "malformed: the JSON ends after 1 bytes where a JSON object is expected",
		"null":                                   "malformed: byte 0 is 'n' where a JSON object is expected",
		"[]":                                     "malformed: byte 0 is '[' where a JSON object is expected",
		`{`:                                      "malformed: the JSON ends after 1 bytes where a key in double quotes is expected",
		`{}`:                                     `missing_feature: "model" is absent or null`,
		`{"model":"m","label":1,}`:               "malformed: byte 23 is '}' where a key in double quotes is expected",
		`{"model":"m","label":1} x`:              "malformed: byte 24 is 'x' where the end of the value is expected",
		`{"model":"m","label":1`:                 "malformed: the JSON ends after 22 bytes where ',' or '}' is expected",
		`{"model":"m","label":01}`:               "malformed: byte 22 is '1' where ',' or '}' is expected",
		`{"model":"m","label":1.}`:               "malformed: byte 23 is '}' where a digit is expected",
		`{"model":"m","label":-}`:                "malformed: byte 22 is '}' where a digit is expected",
		`{"model":"m","label":1e}`:               "malformed: byte 23 is '}' where a digit is expected",
		`{"model":"m","label":tru}`:              "malformed: byte 21 is 't' where true is expected",
		`{"model":"m","label":"` + "\xff" + `"}`: "malformed: the value is not valid UTF-8 (first invalid byte at 22)",
		`{"model":"m","label":"\n` + "\xc3" + `"}`: "malformed: the value is not valid UTF-8 (first invalid byte at 24)",
		`{"model":"m","label":"` + "\n" + `"}`:     "malformed: byte 22 is a control character inside a string; escape it",
		`{"model":"m","label":"\ud800"}`:           "malformed: a lone surrogate before byte 28",
		`{"model":"m","label":"\x"}`:               "malformed: byte 23 is 'x' where an escape is expected",
		`{"model":"m","label":{}}`:                 `malformed: "label" holds an object or an array; one flat object is expected`,
		`{"model":"m","label":1,"x":[1}`:           `malformed: byte 29 is '}' where ',' or ']' is expected`,
		`{"model":"m","label":NaN}`:                `malformed: "label" is NaN, which JSON does not have: send null (or set non_finite: missing in the manifest)`,

		`{"label":1}`:                             `missing_feature: "model" is absent or null`,
		`{"model":null,"label":1}`:                `missing_feature: "model" is absent or null`,
		`{"model":"m","label":null}`:              `missing_feature: "label" is absent or null`,
		`{"model":"m"}`:                           `missing_feature: "label" is absent or null`,
		`{"model":"m","label":1,"request_id":""}`: `missing_feature: "request_id" is empty`,
		`{"model":"m","model":"m","label":1}`:     `duplicate_key: key "model" stands twice`,
		`{"model":"m","label":null,"label":1}`:    `duplicate_key: key "label" stands twice`,
		`{"model":"m","x":1,"label":1,"x":2}`:     `duplicate_key: key "x" stands twice`,

		`{"model":1,"label":1}`:                             `wrong_type: "model" must be a model name, got a number (1)`,
		`{"model":"Flights; DROP","label":1}`:               `wrong_type: "model" must be a model name, got a string (Flights; DROP)`,
		`{"model":"","label":1}`:                            `wrong_type: "model" must be a model name, got a string ()`,
		`{"model":"m","label":1,"request_id":true}`:         `wrong_type: "request_id" must be a string or a number, got a boolean`,
		`{"model":"m","label":1,"observed_at":"yesterday"}`: `wrong_type: "observed_at" must be ` + want + `, got a string (yesterday)`,
		`{"model":"m","label":1,"observed_at":true}`:        `wrong_type: "observed_at" must be ` + want + `, got a boolean`,

		`{"model":"m","label":1e999}`:                                             `out_of_range: "label" is 1e999, which does not fit float64`,
		`{"model":"m","label":1,"observed_at":1e99}`:                              `out_of_range: "observed_at" is 1e99, a time outside the years 1900 to 2299`,
		`{"model":"m","label":1,"observed_at":1e999}`:                             `out_of_range: "observed_at" is 1e999, a time outside the years 1900 to 2299`,
		`{"model":"m","label":1,"observed_at":10413792000000}`:                    `out_of_range: "observed_at" is 10413792000000, a time outside the years 1900 to 2299`,
		`{"model":"m","label":1,"observed_at":-2208988800001}`:                    `out_of_range: "observed_at" is -2208988800001, a time outside the years 1900 to 2299`,
		`{"model":"m","label":1,"observed_at":9223372036854775807}`:               `out_of_range: "observed_at" is 9223372036854775807, a time outside the years 1900 to 2299`,
		`{"model":"m","label":1,"observed_at":"9999-01-01T00:00:00Z"}`:            `out_of_range: "observed_at" is 9999-01-01T00:00:00Z, a time outside the years 1900 to 2299`,
		`{"model":"m","label":"` + strings.Repeat("x", 257) + `"}`:                `out_of_range: "label" has 257 bytes; at most 256 are allowed`,
		`{"model":"m","label":1,"request_id":"` + strings.Repeat("x", 513) + `"}`: "out_of_range: the request id has 513 bytes; at most 512 are allowed",
	} {
		_, err := decodeLabel("key", value)
		require.NotNil(t, err, value)
		require.EqualError(t, err, want, value)
	}
	for key, want := range map[string]string{
		"":                       `missing_feature: "request_id" is absent or null and the record has no key`,
		"\xff":                   `malformed: "request_id" is absent or null and the record's key is not valid UTF-8`,
		strings.Repeat("x", 513): "out_of_range: the request id has 513 bytes; at most 512 are allowed",
	} {
		_, err := decodeLabel(key, `{"model":"m","label":1,"request_id":null}`)
		require.NotNil(t, err, key)
		require.EqualError(t, err, want)
		_, err = decodeLabel(key, `{"model":"m","label":1,"request_id":"x"}`)
		require.Nil(t, err, "the key does not matter where there is a request id")
	}
}

func TestLabel(t *testing.T) {
	at := func(text string) int64 {
		v, err := time.Parse(time.RFC3339Nano, text)
		require.NoError(t, err)
		return v.UnixMicro()
	}
	class := strings.Repeat("x", MaxLabelClassBytes)
	for value, want := range map[string]Label{
		`{"model":"m","label":0}`:                                                     {},
		"\t{ \"label\" : -1.5E+2 , \"model\":\"m\"}\n":                                {Value: -150},
		`{"model":"m","label":true,"x":"y"}`:                                          {Value: 1},
		`{"model":"m","label":false,"observed_at":null}`:                              {},
		`{"model":"m","label":"` + class + `"}`:                                       {IsClass: true, Class: []byte(class)},
		`{"model":"m","label":"\u00e9"}`:                                              {IsClass: true, Class: []byte("é")},
		`{"model":"m","label":1,"request_id":"\u0061b"}`:                              {Value: 1, RequestID: []byte("ab")},
		`{"model":"m","label":1,"request_id":7.0e1}`:                                  {Value: 1, RequestID: []byte("7.0e1")},
		`{"model":"m","label":1,"observed_at":-1}`:                                    {Value: 1, ObservedAt: -1000},
		`{"model":"m","label":1,"observed_at":978307200000.25}`:                       {Value: 1, ObservedAt: at("2001-01-01T00:00:00.00025Z")},
		`{"model":"m","label":1,"observed_at":9.783072e11}`:                           {Value: 1, ObservedAt: at("2001-01-01T00:00:00Z")},
		`{"model":"m","label":1,"observed_at":-2208988800000}`:                        {Value: 1, ObservedAt: schemas.MinMicros},
		`{"model":"m","label":1,"observed_at":10413791999999}`:                        {Value: 1, ObservedAt: schemas.MaxMicros - 999},
		`{"model":"m","label":1,"observed_at":"2299-12-31T23:59:59.999999Z"}`:         {Value: 1, ObservedAt: schemas.MaxMicros},
		`{"model":"m","label":1,"observed_at":"2001-01-01T00:00:00.123456789+02:00"}`: {Value: 1, ObservedAt: at("2000-12-31T22:00:00.123456Z")},
	} {
		got, err := decodeLabel("key", value)
		require.Nil(t, err, value)
		want.Model = []byte("m")
		if want.RequestID == nil {
			want.RequestID = []byte("key")
		}
		if want.ObservedAt == 0 {
			want.ObservedAt = received.UnixMicro()
		}
		require.Equal(t, want, got, value)
	}
	var d LabelDecoder
	var l Label
	require.Nil(t, d.Decode(&schemas.Record{Key: []byte("key"), Value: []byte(`{"model":"m","label":1}`), Timestamp: time.Time{}}, &l))
	require.EqualValues(t, schemas.MinMicros, l.ObservedAt, "the record's timestamp is kept within what ClickHouse takes")
}

func TestLabelAllocatesNothing(t *testing.T) {
	var d LabelDecoder
	var l Label
	r := &schemas.Record{Value: []byte(`{"request_id":"6ba7\u0062810/0/17","model":"flights","label":1,"observed_at":"2001-01-01T00:00:00Z","more":"\n","and":null}`)}
	require.Nil(t, d.Decode(r, &l))
	require.Equal(t, "6ba7b810/0/17", string(l.RequestID))
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = d.Decode(r, &l) }))
}

// expectLabel says what an object means as feedback, or that it is refused.
func expectLabel(object map[string]any) (want Label, ok bool) {
	want = Label{RequestID: []byte("key"), ObservedAt: received.UnixMicro()}
	switch id := object["request_id"].(type) {
	case nil:
	case string:
		want.RequestID = []byte(id)
	case json.Number:
		want.RequestID = []byte(id)
	default:
		return want, false
	}
	model, _ := object["model"].(string)
	want.Model = []byte(model)
	switch v := object["label"].(type) {
	case bool:
		if v {
			want.Value = 1
		}
	case json.Number:
		x, err := v.Float64()
		if err != nil {
			return want, false
		}
		want.Value = x
	case string:
		want.IsClass, want.Class = true, []byte(v)
	default:
		return want, false
	}
	switch v := object["observed_at"].(type) {
	case nil:
	case string:
		at, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return want, false
		}
		want.ObservedAt = at.UnixMicro()
	case json.Number:
		x, err := v.Float64()
		if err != nil || math.Abs(x) > 1e14 {
			return want, false
		}
		want.ObservedAt = int64(math.Round(x * 1000))
		if ms, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			want.ObservedAt = ms * 1000 // exact where float64 is not
		}
	default:
		return want, false
	}
	return want, schemas.ValidModelName(model) && len(want.Class) <= MaxLabelClassBytes &&
		len(want.RequestID) >= 1 && len(want.RequestID) <= MaxRequestIDBytes &&
		want.ObservedAt >= schemas.MinMicros && want.ObservedAt <= schemas.MaxMicros
}

// FuzzLabel: the decoder accepts exactly what encoding/json reads as one flat object and
// what is feedback, with the same values. Lone surrogates are refused, as for requests.
func FuzzLabel(f *testing.F) {
	for _, seed := range []string{
		`{"request_id":"a","model":"flights","label":1.5,"observed_at":978307200123}`,
		`{"request_id":"\u00e9\ud83d\ude00\n","model":"other","label":"x","note":null}`,
		`{"request_id":7,"model":"m","label":true,"observed_at":"2001-01-01T00:00:00.5+01:00"}`,
		`{"model":"m","label":1e999}`, `{"model":"m","label":1,"u":{"a":[1]}}`, `{"model":"m","label":1,"u":1,"u":2}`,
		`{"Model":"m","label":1}`, `{"model":"m","label":"\ud800"}`, `{"model":"m","label":1,"observed_at":10413791999999.999}`,
		`{"request_id":"","model":"m","label":-0}`, `{"model":null,"label":1}`, ` {"label":false,"mod\u0065l":"m"}{}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, fault := decodeLabel("key", value)
		object, err := reference([]byte(value))
		want, ok := expectLabel(object)
		if ok = ok && err == nil; ok != (fault == nil) {
			if fault != nil && strings.Contains(fault.Reason, "lone surrogate") {
				return
			}
			t.Fatalf("%q: encoding/json and the limits say %v (%v), the decoder %v", value, ok, err, fault)
		}
		if ok {
			require.Equal(t, want, got, "%q", value)
		}
	})
}
