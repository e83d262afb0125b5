package codec

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
)

// One long text among short ones must not make every later stream tiny.
func TestALongRowDoesNotShrinkTheStreamsAfterIt(t *testing.T) {
	const rows = 4000
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	m := manifest(t)
	d, err := NewDecoder(m, alloc)
	require.NoError(t, err)
	defer d.Release()
	for i := range rows {
		text := "short"
		if i%1000 == 999 {
			text = strings.Repeat("y", schemas.MaxTextBytes-100)
		}
		require.Nil(t, d.Append(record(fmt.Sprintf(`{"i64":1,"at":0,"f32":1,"color":"red","text":%q}`, text))))
	}
	batch := d.NewBatch()
	defer batch.Release()
	preds := predictions(t, m, alloc, make([]float32, rows), nil)
	defer preds.Release()
	e := observationEncoder(t, m, schemas.MaxObservationBytes)
	s := &observe.Scored{Batch: batch, Predictions: preds, LatencyUS: make([]int64, rows), QueueUS: make([]int64, rows)}
	for range 3 {
		seen, streams := 0, 0
		eachPart(e, s, time.UnixMicro(77), func(stream []byte, n int) {
			streams++
			seen += n
			require.LessOrEqual(t, len(stream), schemas.MaxObservationBytes)
		})
		require.Equal(t, rows, seen)
		require.Less(t, streams, 40)
	}
}

// ExampleRequest must be accepted by the manifest that it was made for.
func TestExampleRequestIsAccepted(t *testing.T) {
	for _, format := range []string{"rfc3339", "unix_s", "unix_ms", "unix_us"} {
		text := strings.NewReplacer("unix_ms", format, "field: at", `field: "odd \"é\u0001 name"`).Replace(manifestText) + `
description: odd`
		text = strings.Replace(text, "- {name: i64, type: int64}", "- {name: i64, type: int64, min: 0.2, max: 0.9}\n  - {name: low, type: int32, min: -9, max: -2.5, out_of_range: reject}", 1)
		m, err := schemas.ParseManifest("test", []byte(text))
		require.NoError(t, err)
		d, err := NewDecoder(m, memory.NewGoAllocator())
		require.NoError(t, err)
		example := ExampleRequest(m)
		require.Nil(t, d.Append(record(string(example))), "%s", example)
		d.NewBatch().Release()
		d.Release()
	}
}

// Bounds of a float32 are rounded as its values are.
func TestBoundsOfFloat32(t *testing.T) {
	text := strings.Replace(manifestText, "min: -10, max: 1000000", "min: -0.1, max: 0.1", 1)
	m, err := schemas.ParseManifest("test", []byte(text))
	require.NoError(t, err)
	d, err := NewDecoder(m, memory.NewGoAllocator())
	require.NoError(t, err)
	defer d.Release()
	for value, ok := range map[string]bool{"0.1": true, "-0.1": true, "0.10001": false, "-0.10001": false, "0": true} {
		fault := d.Append(record(`{"i64":1,"at":0,"color":"red","f32":` + value + `}`))
		require.Equal(t, ok, fault == nil, value)
	}
	d.NewBatch().Release()
}

func TestWholeNumbers(t *testing.T) {
	for value, want := range map[string]int64{
		"0": 0, "-0": 0, "3.0": 3, "1e3": 1000, "-2.5e1": -25, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63,
		"9007199254740993": 1<<53 + 1, "9007199254740991.0": 1<<53 - 1,
	} {
		d := decoder(t)
		require.Nil(t, d.Append(record(`{"f32":1,"at":0,"color":"red","i64":`+value+`}`)), value)
		batch := d.NewBatch()
		require.Equal(t, want, batch.Column(3).(*array.Int64).Value(0), value)
		batch.Release()
	}
	for _, value := range []string{"9223372036854775808", "9007199254740993.0", "1e19", "1e999", "0.5", "-1e-3"} {
		d := decoder(t)
		fault := d.Append(record(`{"f32":1,"at":0,"color":"red","i64":` + value + `}`))
		require.NotNil(t, fault, value)
		require.Equal(t, schemas.ErrorClassWrongType, fault.Class)
	}
}

func TestEventTimes(t *testing.T) {
	const missing, wrong, out = schemas.ErrorClassMissingFeature, schemas.ErrorClassWrongType, schemas.ErrorClassOutOfRange
	for format, values := range map[string]map[string]any{
		"rfc3339": {
			`"2001-02-03T04:05:06Z"`: int64(981173106000000), `"2001-02-03T04:05:06.1234567+01:00"`: int64(981169506123456),
			`"1969-12-31T23:59:59.9999999Z"`: int64(-1), `"1900-01-01T00:00:00Z"`: int64(schemas.MinMicros), `"2299-12-31T23:59:59.999999Z"`: int64(schemas.MaxMicros),
			`"1899-12-31T23:59:59Z"`: out, `"2300-01-01T00:00:00Z"`: out, `"2001-02-03"`: wrong, `"2001-02-30T00:00:00Z"`: wrong,

			`"2001-02-03T04:05:60Z"`: wrong, `"2001-02-03t04:05:06z"`: int64(981173106000000), `"2001-02-03 04:05:06Z"`: int64(981173106000000), `"2001-02-03T04:05:06+0000"`: int64(981173106000000), `"2001-02-03T04:05:06"`: wrong, `""`: wrong, `981173106`: wrong, `null`: missing,
		},
		"unix_s": {
			`981173106`: int64(981173106000000), `981173106.5`: int64(981173106500000), `1e9`: int64(1000000000000000), `-1`: int64(-1000000),
			`0.0000015`: int64(2), `1e11`: out, `-1e300`: out, `1e999`: out, `"1"`: wrong, `true`: wrong,
		},
		"unix_ms": {`981173106123`: int64(981173106123000), `-1`: int64(-1000), `1.0`: int64(1000), `1.5`: wrong, `9223372036854775807`: out, `99999999999999999999`: wrong, `-9223372036854775808`: out},
		"unix_us": {`981173106123456`: int64(981173106123456), `1.5`: wrong, `9223372036854775807`: out, `"x"`: wrong},
	} {
		m, err := schemas.ParseManifest("test", []byte(strings.Replace(manifestText, "unix_ms", format, 1)))
		require.NoError(t, err)
		d, err := NewDecoder(m, memory.NewGoAllocator())
		require.NoError(t, err)
		for value, want := range values {
			fault := d.Append(record(`{"f32":1,"i64":1,"color":"red","at":` + value + `}`))
			if class, ok := want.(schemas.ErrorClass); ok {
				require.NotNil(t, fault, "%s %s", format, value)
				require.Equal(t, class, fault.Class, "%s %s: %s", format, value, fault.Reason)
				continue
			}
			require.Nil(t, fault, "%s %s: %v", format, value, fault)
			batch := d.NewBatch()
			require.EqualValues(t, want, batch.Column(9).(*array.Timestamp).Value(0), "%s %s", format, value)
			batch.Release()
		}
		d.Release()
	}
}

// Without an event-time field the Kafka timestamp stands for it, kept within what
// ClickHouse takes.
func TestEventTimeFromKafka(t *testing.T) {
	m, err := schemas.ParseManifest("test", []byte(strings.Replace(manifestText, "event_time: {field: at, format: unix_ms}", "", 1)))
	require.NoError(t, err)
	d, err := NewDecoder(m, memory.NewGoAllocator())
	require.NoError(t, err)
	defer d.Release()
	for _, at := range []time.Time{time.UnixMilli(1_700_000_000_000), time.UnixMilli(-1), {}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		rec := record(`{"f32":1,"i64":1,"color":"red"}`)
		rec.Timestamp = at
		require.Nil(t, d.Append(rec))
		batch := d.NewBatch()
		require.EqualValues(t, schemas.ClampMicros(at), batch.Column(9).(*array.Timestamp).Value(0))
		batch.Release()
	}
}

func TestRequestIDEdges(t *testing.T) {
	const body = `{"i64":1,"at":0,"f32":1,"color":"red","request_id":"field"}`
	h := func(v string) schemas.Header { return schemas.Header{Key: schemas.HeaderRequestID, Value: []byte(v)} }
	for name, tc := range map[string]struct {
		headers []schemas.Header
		want    string
		class   schemas.ErrorClass
	}{
		"last header counts":  {headers: []schemas.Header{h("a"), h("b")}, want: "b"},
		"other case":          {headers: []schemas.Header{{Key: "Request-Id", Value: []byte("a")}}, want: "field"},
		"longest":             {headers: []schemas.Header{h(strings.Repeat("é", 256))}, want: strings.Repeat("é", 256)},
		"too long":            {headers: []schemas.Header{h(strings.Repeat("x", 513))}, class: schemas.ErrorClassWrongType},
		"invalid UTF-8":       {headers: []schemas.Header{h("\xff")}, class: schemas.ErrorClassMalformed},
		"control characters":  {headers: []schemas.Header{h("a\x00\nb")}, want: "a\x00\nb"},
		"empty last of two":   {headers: []schemas.Header{h("a"), h("")}, want: "field"},
		"spaces are kept":     {headers: []schemas.Header{h(" a ")}, want: " a "},
		"bad field overruled": {headers: []schemas.Header{h("a")}, want: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			d := decoder(t)
			fault := d.Append(record(body, tc.headers...))
			if tc.class != "" {
				require.NotNil(t, fault)
				require.Equal(t, tc.class, fault.Class)
				return
			}
			require.Nil(t, fault)
			batch := d.NewBatch()
			defer batch.Release()
			require.Equal(t, tc.want, batch.Column(8).(*array.String).Value(0))
		})
	}
}

// Producers may order their keys as they like, and change the order.
func TestKeysInAnyOrder(t *testing.T) {
	members := []string{`"f32":1.5`, `"f64":2.25`, `"i32":-3`, `"i64":7`, `"flag":false`, `"text":"a"`, `"color":"green"`, `"size":"l"`, `"at":123`, `"request_id":"r"`, `"u1":1`, `"u2":"x"`}
	d := decoder(t)
	random := rand.New(rand.NewPCG(1, 2))
	var want map[string]any
	for range 200 {
		random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		require.Nil(t, d.Append(record("{"+strings.Join(members, ",")+"}")))
		batch := d.NewBatch()
		got := row(t, batch, 0)
		batch.Release()
		if want == nil {
			want = got
		}
		require.Equal(t, want, got)
	}
}
