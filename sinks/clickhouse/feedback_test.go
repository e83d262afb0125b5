package clickhouse

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

var received = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func scanText(key, value string) (label, *schemas.RequestError) {
	var s scanner
	var l label
	err := s.scan(&schemas.Record{Key: []byte(key), Value: []byte(value), Timestamp: received}, &l)
	return l, err
}

func TestScanFeedbackErrors(t *testing.T) {
	for value, want := range map[string]string{
		"":                                       "malformed: the value is empty",
		" ":                                      "malformed: the value ends at byte 1, want an object",
		"null":                                   `malformed: "n" at byte 0, want an object`,
		"[]":                                     `malformed: "[" at byte 0, want an object`,
		`{`:                                      "malformed: the value ends at byte 1, want a string",
		`{"model":"m","label":1,}`:               `malformed: "}" at byte 23, want a string`,
		`{"model":"m","label":1} x`:              `malformed: "x" at byte 24, want the end`,
		`{"model":"m","label":1`:                 "malformed: the value ends at byte 22, want ',' or '}'",
		`{"model":"m","label":01}`:               `malformed: "1" at byte 22, want ',' or '}'`,
		`{"model":"m","label":1.}`:               `malformed: "}" at byte 23, want a digit`,
		`{"model":"m","label":-}`:                `malformed: "}" at byte 22, want a digit`,
		`{"model":"m","label":1e}`:               `malformed: "}" at byte 23, want a digit`,
		`{"model":"m","label":NaN}`:              `malformed: "N" at byte 21, want a value`,
		`{"model":"m","label":tru}`:              `malformed: "t" at byte 21, want a value`,
		`{"model":"m","label":"` + "\xff" + `"}`: "malformed: invalid UTF-8 in the string at byte 22",
		`{"model":"m","label":"\n` + "\xc3" + `"}`:                     "malformed: invalid UTF-8 in the string at byte 22",
		`{"model":"m","label":"` + "\n" + `"}`:                         `malformed: "\n" at byte 22, want no control character in a string`,
		`{"model":"m","label":"\ud800"}`:                               `malformed: "\"" at byte 28, want \u and four hexadecimal digits, surrogates in pairs`,
		`{"model":"m","label":"\x"}`:                                   `malformed: "x" at byte 23, want an escape`,
		`{"model":"m","label":1,"x":` + strings.Repeat("[", 100) + `}`: "malformed: more than 64 arrays and objects in each other",
		`{"label":1}`:                                                              "missing_feature: model is missing",
		`{"model":null,"label":1}`:                                                 "missing_feature: model is missing",
		`{"model":"m","label":null}`:                                               "missing_feature: label is missing or null",
		`{"model":"m"}`:                                                            "missing_feature: label is missing or null",
		`{"model":"m","model":"m","label":1}`:                                      "duplicate_key: model stands twice",
		`{"model":"m","label":null,"label":1}`:                                     "duplicate_key: label stands twice",
		`{"model":1,"label":1}`:                                                    "wrong_type: model is not a string",
		`{"model":"Flights; DROP","label":1}`:                                      `wrong_type: model is "Flights; DROP", which is no model name`,
		`{"model":"m","label":{}}`:                                                 "wrong_type: label is not a number, a boolean or a string",
		`{"model":"m","label":1,"request_id":7}`:                                   "wrong_type: request_id is not a string",
		`{"model":"m","label":1,"observed_at":"yesterday"}`:                        `wrong_type: observed_at is "yesterday", want RFC 3339 or milliseconds since 1970`,
		`{"model":"m","label":1,"observed_at":true}`:                               "wrong_type: observed_at is not a number of milliseconds or a string in RFC 3339",
		`{"model":"m","label":1e999}`:                                              "request_out_of_range",
		`{"model":"m","label":1,"observed_at":1e99}`:                               "observed_at is 1e99",
		`{"model":"m","label":1,"observed_at":9223372036854775807}`:                "out_of_range: observed_at is 9223372036854775807",
		`{"model":"m","label":1,"observed_at":"9999-01-01T00:00:00Z"}`:             "out_of_range: observed_at is not in the years 1900 to 2299",
		`{"model":"m","label":"` + strings.Repeat("x", 257) + `"}`:                 "out_of_range: label has 257 bytes, at most 256 are taken",
		`{"model":"m","label":1,"request_id":"` + strings.Repeat("x", 5000) + `"}`: "out_of_range: request_id has 5000 bytes, at most 4096 are taken",
	} {
		_, err := scanText("key", value)
		require.Error(t, err, value)
		if want == "request_out_of_range" {
			want = "out_of_range: label is 1e999, which float64 cannot hold"
		}
		require.Contains(t, err.Error(), want, value)
	}
	_, err := scanText("", `{"model":"m","label":1}`)
	require.EqualError(t, err, "missing_feature: request_id is missing, and the record has no key")
	_, err = scanText("\xff", `{"model":"m","label":1}`)
	require.EqualError(t, err, "malformed: request_id is missing, and the record's key is not UTF-8")
	_, err = scanText("\xff", `{"model":"m","label":1,"request_id":"x"}`)
	require.Nil(t, err)
}

func TestScanFeedback(t *testing.T) {
	at := func(text string) int64 {
		v, err := time.Parse(time.RFC3339Nano, text)
		require.NoError(t, err)
		return v.UnixMicro()
	}
	for value, want := range map[string]label{
		`{"model":"m","label":0}`:                                                     {value: 0, observedAt: received.UnixMicro()},
		"\t{ \"label\" : -1.5E+2 , \"model\":\"m\"}\n":                                {value: -150, observedAt: received.UnixMicro()},
		`{"model":"m","label":false,"observed_at":null}`:                              {value: 0, observedAt: received.UnixMicro()},
		`{"model":"m","label":1,"observed_at":-1}`:                                    {value: 1, observedAt: -1000},
		`{"model":"m","label":1,"observed_at":978307200000.25}`:                       {value: 1, observedAt: at("2001-01-01T00:00:00.00025Z")},
		`{"model":"m","label":1,"observed_at":9.783072e11}`:                           {value: 1, observedAt: at("2001-01-01T00:00:00Z")},
		`{"model":"m","label":1,"observed_at":"2001-01-01T00:00:00.123456789+02:00"}`: {value: 1, observedAt: at("2000-12-31T22:00:00.123456Z")},
	} {
		got, err := scanText("key", value)
		require.Nil(t, err, value)
		want.model, want.requestID = []byte("m"), []byte("key")
		require.Equal(t, want, got, value)
	}
}

func TestScanFeedbackAllocatesNothing(t *testing.T) {
	var s scanner
	var l label
	r := &schemas.Record{Value: []byte(`{"request_id":"6ba7\u0062810/0/17","model":"flights","label":1,"observed_at":"2001-01-01T00:00:00Z","more":[1,{"a":"b"}]}`)}
	require.Nil(t, s.scan(r, &l))
	require.Equal(t, "6ba7b810/0/17", string(l.requestID))
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = s.scan(r, &l) }))
}

// What the scanner takes is JSON, and means what encoding/json says it means.
func FuzzScanFeedback(f *testing.F) {
	f.Add(`{"request_id":"a","model":"flights","label":1.5,"observed_at":978307200123}`)
	f.Add(`{"request_id":"\u00e9\ud83d\ude00\n","model":"other","label":"x","note":{"a":[1,null]}}`)
	f.Fuzz(func(t *testing.T, value string) {
		l, err := scanText("key", value)
		if err != nil {
			return
		}
		var want struct {
			RequestID *string `json:"request_id"`
			Model     string  `json:"model"`
			Label     any     `json:"label"`
		}
		// encoding/json matches keys in any case; the scanner does not.
		var raw map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(value), &raw))
		for key, to := range map[string]any{"request_id": &want.RequestID, "model": &want.Model, "label": &want.Label} {
			if raw[key] != nil {
				require.NoError(t, json.Unmarshal(raw[key], to))
			}
		}
		id := "key"
		if want.RequestID != nil {
			id = *want.RequestID
		}
		require.Equal(t, id, string(l.requestID))
		require.Equal(t, want.Model, string(l.model))
		got := any(l.value)
		switch want.Label.(type) {
		case string:
			got = string(l.class)
		case bool:
			got = l.value == 1
		}
		require.Equal(t, fmt.Sprint(want.Label), fmt.Sprint(got))
	})
}
