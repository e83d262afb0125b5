package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
)

const manifestText = `
name: m
version: "1"
runtime: onnx
artifact: {file: model.onnx, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
features:
  - {name: f32, type: float32, min: -10, max: 1000000, out_of_range: reject}
  - {name: f64, type: float64, optional: true}
  - {name: i32, type: int32, default: 7}
  - {name: i64, type: int64}
  - {name: flag, type: bool, default: true}
  - {name: text, type: string, optional: true}
  - {name: color, type: category, categories: [red, green]}
  - {name: size, type: category, categories: [s, m, l], unknown: reject, default: m}
event_time: {field: at, format: unix_ms}
outputs:
  - {name: score, type: float32}
  - {name: label, type: int64}
`

func manifest(tb testing.TB) *schemas.Manifest {
	tb.Helper()
	m, err := schemas.ParseManifest("test", []byte(manifestText))
	require.NoError(tb, err)
	return m
}

var topicID = uuid.MustParse("6d2c3c2e-94a1-4ad6-8f2b-0f3e7a3c9b11")

func record(value string, headers ...schemas.Header) *schemas.Record {
	return &schemas.Record{
		Topic: "millrace.requests.m", TopicID: topicID, Partition: 3, Offset: 42,
		Timestamp: time.UnixMilli(1_700_000_000_000), Value: []byte(value), Headers: headers,
	}
}

func decoder(tb testing.TB) *Decoder {
	tb.Helper()
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	d, err := NewDecoder(manifest(tb), alloc)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		d.Release()
		alloc.AssertSize(tb, 0)
	})
	return d
}

const good = `{"f32":1.5,"f64":2.25,"i32":-3,"i64":9007199254740993,"flag":false,"text":"a\"\u00e9\ud83d\ude00","color":"green","size":"l","at":978307200123,"request_id":"r-1"}`

func row(tb testing.TB, batch arrow.Record, i int) map[string]any {
	tb.Helper()
	slice := batch.NewSlice(int64(i), int64(i)+1)
	defer slice.Release()
	text, err := slice.MarshalJSON()
	require.NoError(tb, err)
	var rows []map[string]any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	require.NoError(tb, dec.Decode(&rows))
	return rows[0]
}

func TestDecodeRow(t *testing.T) {
	d := decoder(t)
	require.Nil(t, d.Append(record(good)))
	require.Nil(t, d.Append(record(` { "i64" : 3e2 , "at":0, "f32":-0, "color":"violet", "text":null, "unheard_of":"x" } `)))
	require.Equal(t, 2, d.Rows())
	batch := d.NewBatch()
	defer batch.Release()
	require.Equal(t, 0, d.Rows())

	require.Equal(t, map[string]any{
		"f32": json.Number("1.5"), "f64": json.Number("2.25"), "i32": json.Number("-3"), "i64": json.Number("9007199254740993"),
		"flag": false, "text": "a\"é😀", "color": "green", "size": "l", "event_time": "2001-01-01 00:00:00.123",
		"request_id": "r-1", "request_topic_id": topicID.String(), "request_partition": json.Number("3"),
		"request_offset": json.Number("42"), "request_row": json.Number("0"),
	}, clean(row(t, batch, 0)))
	second := clean(row(t, batch, 1))
	require.Equal(t, json.Number("300"), second["i64"])
	require.Equal(t, json.Number("7"), second["i32"])
	require.Equal(t, true, second["flag"])
	require.Equal(t, "m", second["size"])
	require.Equal(t, "violet", second["color"])
	require.Nil(t, second["f64"])
	require.Nil(t, second["text"])
	require.Equal(t, topicID.String()+"/3/42", second["request_id"])

	color := batch.Column(6).(*array.Dictionary)
	require.Equal(t, 1, color.GetValueIndex(0), "a category's index is its place in the manifest")
	require.Equal(t, 2, color.GetValueIndex(1), "an unknown value comes behind the manifest's")
}

// clean drops the zone that arrow prints behind a time.
func clean(m map[string]any) map[string]any {
	if s, ok := m["event_time"].(string); ok {
		m["event_time"] = strings.TrimSuffix(strings.TrimSuffix(s, "Z"), "+0000")
	}
	return m
}

func TestUnknownCategoriesAreForgottenWithTheirBatch(t *testing.T) {
	d := decoder(t)
	for range 3 {
		require.Nil(t, d.Append(record(`{"i64":1,"at":0,"f32":1,"color":"violet"}`)))
		require.Nil(t, d.Append(record(`{"i64":1,"at":0,"f32":1,"color":"mauve"}`)))
		batch := d.NewBatch()
		require.Equal(t, 4, batch.Column(6).(*array.Dictionary).Dictionary().Len())
		batch.Release()
	}
}

func TestRequestID(t *testing.T) {
	const body = `{"i64":1,"at":0,"f32":1,"color":"red","request_id":%s}`
	for name, tc := range map[string]struct {
		field   string
		headers []schemas.Header
		want    string
	}{
		"header before field": {`"b"`, []schemas.Header{{Key: schemas.HeaderRequestID, Value: []byte("a")}}, "a"},
		"field":               {`"b"`, nil, "b"},
		"number":              {`12`, nil, "12"},
		"null":                {`null`, nil, topicID.String() + "/3/42"},
		"empty":               {`""`, []schemas.Header{{Key: schemas.HeaderRequestID}}, topicID.String() + "/3/42"},
	} {
		t.Run(name, func(t *testing.T) {
			d := decoder(t)
			require.Nil(t, d.Append(record(fmt.Sprintf(body, tc.field), tc.headers...)))
			batch := d.NewBatch()
			defer batch.Release()
			require.Equal(t, tc.want, row(t, batch, 0)["request_id"])
		})
	}
}

func TestRefusals(t *testing.T) {
	rest := `"i64":1,"at":0,"color":"red"`
	for name, tc := range map[string]struct {
		value string
		class schemas.ErrorClass
	}{
		"empty":                {``, schemas.ErrorClassMalformed},
		"spaces":               {`  `, schemas.ErrorClassMalformed},
		"array":                {`[1]`, schemas.ErrorClassMalformed},
		"truncated":            {good[:len(good)/2], schemas.ErrorClassMalformed},
		"trailing":             {good + `x`, schemas.ErrorClassMalformed},
		"trailing comma":       {`{"f32":1,}`, schemas.ErrorClassMalformed},
		"nested":               {`{"f32":{"a":1}}`, schemas.ErrorClassMalformed},
		"unknown unclosed":     {`{"zzz":[1}`, schemas.ErrorClassMalformed},
		"unknown too deep":     {`{"zzz":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, schemas.ErrorClassMalformed},
		"invalid UTF-8":        {"{\"f32\":1,\"text\":\"\xff\"}", schemas.ErrorClassMalformed},
		"lone surrogate":       {`{"text":"\ud800"}`, schemas.ErrorClassMalformed},
		"control character":    {"{\"text\":\"a\nb\"}", schemas.ErrorClassMalformed},
		"bad escape":           {`{"text":"\x"}`, schemas.ErrorClassMalformed},
		"leading zero":         {`{"f32":01}`, schemas.ErrorClassMalformed},
		"plus":                 {`{"f32":+1}`, schemas.ErrorClassMalformed},
		"NaN":                  {`{"f32":NaN}`, schemas.ErrorClassMalformed},
		"bare point":           {`{"f32":1.}`, schemas.ErrorClassMalformed},
		"duplicate":            {`{"f32":1,"f32":1,` + rest + `}`, schemas.ErrorClassDuplicateKey},
		"duplicate by escape":  {`{"f32":1,"f\u00332":1,` + rest + `}`, schemas.ErrorClassDuplicateKey},
		"duplicate after null": {`{"f64":null,"f64":1,"f32":1,` + rest + `}`, schemas.ErrorClassDuplicateKey},
		"duplicate unknown":    {`{"f32":1,"u":1,"u":2,` + rest + `}`, schemas.ErrorClassDuplicateKey},
		"missing":              {`{` + rest + `}`, schemas.ErrorClassMissingFeature},
		"null":                 {`{"f32":null,` + rest + `}`, schemas.ErrorClassMissingFeature},
		"missing time":         {`{"f32":1,"i64":1,"color":"red"}`, schemas.ErrorClassMissingFeature},
		"string for number":    {`{"f32":"1",` + rest + `}`, schemas.ErrorClassWrongType},
		"number for string":    {`{"f32":1,"text":1,` + rest + `}`, schemas.ErrorClassWrongType},
		"huge float32":         {`{"f32":1e39,` + rest + `}`, schemas.ErrorClassWrongType},
		"huge float64":         {`{"f32":1,"f64":1e999,` + rest + `}`, schemas.ErrorClassWrongType},
		"huge int32":           {`{"f32":1,"i32":2147483648,` + rest + `}`, schemas.ErrorClassWrongType},
		"fraction":             {`{"f32":1,"i32":1.5,` + rest + `}`, schemas.ErrorClassWrongType},
		"bool":                 {`{"f32":1,"flag":1,` + rest + `}`, schemas.ErrorClassWrongType},
		"out of range":         {`{"f32":-11,` + rest + `}`, schemas.ErrorClassOutOfRange},
		"unknown category":     {`{"f32":1,"size":"xxl",` + rest + `}`, schemas.ErrorClassUnknownCategory},
		"time out of range":    {`{"f32":1,"i64":1,"at":99999999999999999,"color":"red"}`, schemas.ErrorClassOutOfRange},
		"time of wrong type":   {`{"f32":1,"i64":1,"at":"now","color":"red"}`, schemas.ErrorClassWrongType},
		"id of wrong type":     {`{"f32":1,"request_id":true,` + rest + `}`, schemas.ErrorClassWrongType},
		"id too long":          {`{"f32":1,"request_id":"` + strings.Repeat("x", 513) + `",` + rest + `}`, schemas.ErrorClassWrongType},
	} {
		t.Run(name, func(t *testing.T) {
			d := decoder(t)
			err := d.Append(record(tc.value))
			require.NotNil(t, err)
			require.Equal(t, tc.class, err.Class, err.Reason)
			require.Equal(t, 0, d.Rows())
			require.Nil(t, d.Append(record(good)), "the next record is not affected")
			d.NewBatch().Release()
		})
	}
}

func TestManyUnknownKeys(t *testing.T) {
	d := decoder(t)
	var b strings.Builder
	b.WriteString(`{"f32":1,"i64":1,"at":0,"color":"red"`)
	for i := range 100 {
		fmt.Fprintf(&b, `,"u%d":%d`, i, i)
	}
	require.Nil(t, d.Append(record(b.String()+`}`)))
	require.Equal(t, schemas.ErrorClassDuplicateKey, d.Append(record(b.String()+`,"u50":1}`)).Class)
	d.NewBatch().Release()
}

// maxReasonBytes bounds what a reason repeats of a request.
const maxReasonBytes = 1024

// longRequests are refused, each for something long.
func longRequests() []string {
	var requests []string
	for _, long := range []string{strings.Repeat("x", 2000), strings.Repeat("\u0085", 2000), strings.Repeat(`\u0000`, 2000), strings.Repeat("\U000e0001", 2000)} {
		const rest = `"i64":1,"at":0,"color":"red"`
		requests = append(
			requests,
			`{"`+long+`":{}}`, `{"`+long+`":1,"`+long+`":2}`, `{"`+long+`":x}`, `{"`+long+`"`, `{"`+long,
			`{"f32":"`+long+`",`+rest+`}`, `{"f32":1,"i64":1,"at":0,"color":"red","size":"`+long+`"}`, `{"f32":1,"i64":1,"at":"`+long+`","color":"red"}`,
			`{"f32":1,"request_id":"`+long+`",`+rest+`}`,
		)
	}
	digits := strings.Repeat("9", 2000)
	return append(requests, `{"f32":`+digits+`,"i64":1}`, `{"f32":1,"i64":`+digits+`}`, `{"f32":1,"i64":1,"at":`+digits+`}`)
}

func TestReasonsAreShort(t *testing.T) {
	d := decoder(t)
	for _, in := range longRequests() {
		err := d.Append(record(in))
		require.NotNil(t, err, "%.80s", in)
		require.LessOrEqual(t, len(err.Reason), maxReasonBytes, "%.80s", in)
	}
}

// FuzzDecode: no panic, no row on an error, a class of the closed set, and agreement with
// encoding/json about what is one flat JSON object.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"f32":1e5,"i64":-0,"at":1.0,"color":"\u0041"}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Add([]byte("{\"\xff\":1}"))
	for _, long := range longRequests() {
		f.Add([]byte(long))
	}
	m, err := schemas.ParseManifest("test", []byte(manifestText))
	require.NoError(f, err)
	classes := map[schemas.ErrorClass]bool{}
	for _, c := range schemas.ErrorClasses() {
		classes[c] = true
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		d, err := NewDecoder(m, memory.NewGoAllocator())
		require.NoError(t, err)
		defer d.Release()
		before := bytes.Clone(in)
		fault := d.Append(&schemas.Record{Value: in, TopicID: topicID})
		require.Equal(t, before, in, "the request was changed")
		var object map[string]any
		jsonErr := json.Unmarshal(in, &object)
		if fault == nil {
			require.NoError(t, jsonErr, "accepted what is no JSON")
			require.Equal(t, 1, d.Rows())
			batch := d.NewBatch()
			defer batch.Release()
			if want, ok := object["f32"].(float64); ok {
				got := batch.Column(0).(*array.Float32).Value(0)
				require.InDelta(t, want, float64(got), math.Abs(want)*1e-6+1e-38)
			}
			return
		}
		require.Equal(t, 0, d.Rows())
		require.True(t, classes[fault.Class], "class %q", fault.Class)
		require.NotEmpty(t, fault.Reason)
		require.LessOrEqual(t, len(fault.Reason), maxReasonBytes)
		if jsonErr != nil {
			require.Contains(t, []schemas.ErrorClass{
				schemas.ErrorClassMalformed, schemas.ErrorClassDuplicateKey,
				schemas.ErrorClassWrongType, schemas.ErrorClassMissingFeature, schemas.ErrorClassOutOfRange, schemas.ErrorClassUnknownCategory,
			}, fault.Class)
		}
	})
}

func predictions(tb testing.TB, m *schemas.Manifest, alloc memory.Allocator, scores []float32, valid []bool) arrow.Record {
	tb.Helper()
	b := array.NewRecordBuilder(alloc, arrow.NewSchema(m.OutputFields(), nil))
	defer b.Release()
	b.Field(0).(*array.Float32Builder).AppendValues(scores, valid)
	for i := range scores {
		if valid == nil || valid[i] {
			b.Field(1).(*array.Int64Builder).Append(int64(i))
		} else {
			b.Field(1).AppendNull()
		}
	}
	return b.NewRecord()
}

func TestResultIsJSON(t *testing.T) {
	d := decoder(t)
	require.Nil(t, d.Append(record(`{"i64":1,"at":0,"f32":1,"color":"red","request_id":"a\"\\\n\u0001é"}`)))
	batch := d.NewBatch()
	defer batch.Release()
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	preds := predictions(t, manifest(t), alloc, []float32{1e-9}, nil)
	defer preds.Release()
	e := NewResultEncoder(manifest(t))
	e.Bind(batch, preds)
	text := e.AppendRow(nil, 0, 12, 34)
	var got map[string]any
	require.NoError(t, json.Unmarshal(text, &got), "%s", text)
	require.Equal(t, map[string]any{
		"request_id": "a\"\\\n\u0001é", "model": "m", "version": "1",
		"predictions": map[string]any{"score": 1e-9, "label": 0.0}, "latency_us": 12.0, "queue_us": 34.0,
	}, got)
	require.Equal(t, strings.Replace(string(text), `"queue_us":34`, `"queue_us":null`, 1), string(e.AppendRow(nil, 0, 12, schemas.UnknownQueue)))
}

func TestObservationsSplitAndRoundTrip(t *testing.T) {
	const rows = 5000
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	m := manifest(t)
	d, err := NewDecoder(m, alloc)
	require.NoError(t, err)
	defer d.Release()
	scores, valid := make([]float32, rows), make([]bool, rows)
	for i := range rows {
		rec := record(fmt.Sprintf(`{"i64":%d,"at":%d,"f32":1,"color":"c%d"}`, i, i, i%5))
		rec.Offset = int64(i)
		require.Nil(t, d.Append(rec))
		scores[i], valid[i] = float32(i), i != 4321
	}
	batch := d.NewBatch()
	defer batch.Release()
	preds := predictions(t, m, alloc, scores, valid)
	defer preds.Release()
	const most = 64 << 10
	e := observationEncoder(t, m, most)
	s := &observe.Scored{
		Batch: batch, Predictions: preds, LatencyUS: make([]int64, rows), QueueUS: make([]int64, rows),
		Failed: []schemas.RowError{{Row: 4321, RequestError: schemas.Errorf(schemas.ErrorClassInvalidPrediction, "NaN")}},
	}
	for row := range s.QueueUS {
		if s.QueueUS[row] = int64(row); row%7 == 3 && row > 1000 { // the first streams have no nulls
			s.QueueUS[row] = schemas.UnknownQueue
		}
	}
	seen, streams := 0, 0
	for range 2 { // the second time starts with a good guess of the size
		seen = 0
		eachPart(e, s, time.UnixMicro(77), func(stream []byte, n int) {
			streams++
			require.LessOrEqual(t, len(stream), most)
			r, err := ipc.NewReader(bytes.NewReader(stream), ipc.WithAllocator(alloc))
			require.NoError(t, err)
			defer r.Release()
			require.True(t, r.Schema().Equal(m.ObservationSchema()))
			model, version, err := schemas.SchemaModel(r.Schema())
			require.NoError(t, err)
			require.Equal(t, "m/1", model+"/"+version)
			for r.Next() {
				rec := r.Record()
				require.EqualValues(t, n, rec.NumRows())
				for i := range int(rec.NumRows()) {
					color := rec.Column(6).(*array.Dictionary)
					require.Equal(t, fmt.Sprintf("c%d", seen%5), color.Dictionary().(*array.String).Value(color.GetValueIndex(i)))
					offsets := rec.Column(rec.Schema().FieldIndices(schemas.ColumnOffset)[0]).(*array.Int64)
					require.EqualValues(t, seen, offsets.Value(i))
					outcome := rec.Column(rec.Schema().FieldIndices(schemas.ColumnOutcome)[0]).(*array.Dictionary)
					want := schemas.OutcomeOK
					if seen == 4321 {
						want = schemas.OutcomeFailed
					}
					require.Equal(t, want, outcome.Dictionary().(*array.String).Value(outcome.GetValueIndex(i)))
					queue := rec.Column(rec.Schema().FieldIndices(schemas.ColumnQueue)[0]).(*array.Int64)
					require.Equal(t, s.QueueUS[seen] == schemas.UnknownQueue, queue.IsNull(i))
					require.Equal(t, s.QueueUS[seen], queue.Value(i))
					seen++
				}
			}
			require.NoError(t, r.Err())
		})
		require.Equal(t, rows, seen)
	}
	require.Greater(t, streams, 2)
}

func TestDecodeAndEncodeAllocateNothingPerRecord(t *testing.T) {
	m := manifest(t)
	d, err := NewDecoder(m, memory.NewGoAllocator())
	require.NoError(t, err)
	defer d.Release()
	rec := record(good)
	perBatch := func(rows int) float64 {
		return testing.AllocsPerRun(5, func() {
			d.Reserve(rows)
			for range rows {
				if err := d.Append(rec); err != nil {
					t.Fatal(err)
				}
			}
			d.NewBatch().Release()
		})
	}
	perBatch(4096) // the string buffers reach their size
	// Buffers of strings double: the count may grow by their logarithm, not with the rows.
	require.InDelta(t, perBatch(256), perBatch(4096), 30)

	for range 10 {
		require.Nil(t, d.Append(rec))
	}
	batch := d.NewBatch()
	defer batch.Release()
	preds := predictions(t, m, memory.NewGoAllocator(), make([]float32, 10), nil)
	defer preds.Release()
	e := NewResultEncoder(m)
	e.Bind(batch, preds)
	dst := make([]byte, 0, 1<<10)
	require.Zero(t, testing.AllocsPerRun(100, func() { dst = e.AppendRow(dst[:0], 5, 1, 2) }))
}

func BenchmarkDecode(b *testing.B) {
	m := manifest(b)
	d, err := NewDecoder(m, memory.NewGoAllocator())
	require.NoError(b, err)
	rec := record(good)
	b.SetBytes(int64(len(good)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%4096 == 0 {
			d.NewBatch().Release()
			d.Reserve(4096)
		}
		if err := d.Append(rec); err != nil {
			b.Fatal(err)
		}
	}
}

// Unknown categories that are kept could else fill every stream, or more than one, with a
// dictionary of which its rows need little.
func TestObservationsCarryOnlyTheCategoriesOfTheirRows(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	m := manifest(t)
	d, err := NewDecoder(m, alloc)
	require.NoError(t, err)
	defer d.Release()
	const rows = 4000
	colors := make([]string, rows)
	for i := range rows {
		colors[i] = fmt.Sprintf("%04d%s", i/2, strings.Repeat("x", 1000)) // 2 MB of them
		if i%5 == 0 {
			colors[i] = "red"
		}
		rec := record(fmt.Sprintf(`{"at":1,"f32":1,"i64":%d,"color":%q}`, i, colors[i]))
		rec.Offset = int64(i)
		require.Nil(t, d.Append(rec))
	}
	batch := d.NewBatch()
	defer batch.Release()
	scores, valid := make([]float32, rows), make([]bool, rows)
	answers := predictions(t, m, alloc, scores, valid)
	defer answers.Release()
	e := observationEncoder(t, m, schemas.MaxObservationBytes)
	scored := &observe.Scored{Batch: batch, Predictions: answers, LatencyUS: make([]int64, rows), QueueUS: make([]int64, rows)}
	at := 0
	eachPart(e, scored, time.Now(), func(stream []byte, _ int) {
		require.LessOrEqual(t, len(stream), schemas.MaxObservationBytes)
		r, err := ipc.NewReader(bytes.NewReader(stream), ipc.WithAllocator(alloc))
		require.NoError(t, err)
		defer r.Release()
		for r.Next() {
			color := r.Record().Column(r.Schema().FieldIndices("color")[0]).(*array.Dictionary)
			for i := range color.Len() {
				require.Equal(t, colors[at], color.Dictionary().(*array.String).Value(color.GetValueIndex(i)))
				at++
			}
		}
		require.True(t, m.ObservationSchema().Equal(r.Schema()))
		require.NoError(t, r.Err())
	})
	require.Equal(t, rows, at)
}

func TestTextsAreBounded(t *testing.T) {
	d := decoder(t)
	value := func(n int) string {
		return `{"at":1,"f32":1,"i64":1,"color":"red","text":"` + strings.Repeat("x", n) + `"}`
	}
	require.Nil(t, d.Append(record(value(schemas.MaxTextBytes-len("redm")))))
	fault := d.Append(record(value(schemas.MaxTextBytes)))
	require.NotNil(t, fault)
	require.Equal(t, schemas.ErrorClassTooLarge, fault.Class)
	// What is no feature is not stored, and may be as large as requests may be.
	require.Nil(t, d.Append(record(`{"at":1,"f32":1,"i64":1,"color":"red","note":"`+strings.Repeat("x", 1<<20)+`"}`)))
}
