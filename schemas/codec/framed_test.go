package codec

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

var update = flag.Bool("update", false, "write the golden files")

// schemaList is a Schema Registry: the schema of id n is its n-th, counted from 1.
type schemaList struct {
	schemas []Schema
	away    error // what it answers while it is away
	asked   int
}

func (l *schemaList) Schema(_ context.Context, id int) (Schema, error) {
	l.asked++
	switch {
	case l.away != nil:
		return Schema{}, l.away
	case id < 1 || id > len(l.schemas):
		return Schema{}, ErrUnknownSchema
	default:
		return l.schemas[id-1], nil
	}
}

func (l *schemaList) Register(_ context.Context, subject string, s Schema) (int, error) {
	if subject != "results-value" {
		return 0, errors.New("unknown subject " + subject)
	}
	l.schemas = append(l.schemas, s)
	return len(l.schemas), l.away
}

// framed plans a codec whose schema 1 is s and whose results have schema 2.
func framed(tb testing.TB, m *schemas.Manifest, s Schema) (Requests, Results, *schemaList) {
	tb.Helper()
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	list := &schemaList{schemas: []Schema{s}}
	requests, results, err := New(tb.Context(), s.Type, m, Options{Registry: list, Subject: "results-value"}, alloc)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		requests.Release()
		alloc.AssertSize(tb, 0)
	})
	return requests, results, list
}

// offer appends a value with the header of schema 1 and returns the fault.
func offer(tb testing.TB, r Requests, value []byte) *schemas.RequestError {
	tb.Helper()
	got, err := r.Append(tb.Context(), record(string(append(appendHeader(nil, 1), value...))))
	require.NoError(tb, err)
	require.Empty(tb, got.Refused)
	if got.Fault == nil {
		require.Equal(tb, 1, got.Rows)
	} else {
		require.Zero(tb, got.Rows)
	}
	return got.Fault
}

// asJSON decodes a request in JSON, whose rows the other codecs must match.
func asJSON(tb testing.TB, m *schemas.Manifest, request []byte) (arrow.Record, *schemas.RequestError) {
	tb.Helper()
	d, err := NewDecoder(m, memory.NewGoAllocator())
	require.NoError(tb, err)
	defer d.Release()
	if fault := d.Append(record(string(request))); fault != nil {
		return nil, fault
	}
	return d.NewBatch(), nil
}

// goldenWriter is a schema and requests that were written with it.
type goldenWriter struct {
	Codec      Codec
	Name       string
	Schema     string
	References []struct{ Name, Schema string }
	Values     []struct {
		Request json.RawMessage
		Value   string
	}
}

func (g goldenWriter) schema() Schema {
	s := Schema{Type: g.Codec, Text: g.Schema}
	for _, r := range g.References {
		s.References = append(s.References, Reference{Name: r.Name, Schema: Schema{Type: g.Codec, Text: r.Schema}})
	}
	return s
}

type golden struct {
	Requests []goldenWriter
	Results  []struct {
		Result struct {
			RequestID   string `json:"request_id"`
			Predictions struct {
				Score *float32
				Label *int64
			}
			LatencyUS int64 `json:"latency_us"`
			QueueUS   int64 `json:"queue_us"`
		}
		Avro     string
		Protobuf string
	}
}

func goldens(tb testing.TB) (g golden) {
	tb.Helper()
	text, err := os.ReadFile("testdata/goldens.json")
	require.NoError(tb, err, "testdata/goldens.py makes it")
	require.NoError(tb, json.Unmarshal(text, &g))
	require.NotEmpty(tb, g.Requests)
	require.NotEmpty(tb, g.Results)
	return g
}

func unhex(tb testing.TB, text string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(text)
	require.NoError(tb, err)
	return b
}

// Requests that the reference implementations encoded are the rows that they are in JSON.
func TestGoldenRequests(t *testing.T) {
	m := manifest(t)
	for _, g := range goldens(t).Requests {
		t.Run(g.Name, func(t *testing.T) {
			r, _, list := framed(t, m, g.schema())
			for _, v := range g.Values {
				rec := record(string(unhex(t, v.Value)))
				got, err := r.Append(t.Context(), rec)
				require.NoError(t, err)
				require.Nil(t, got.Fault, "%s", v.Request)
				require.Equal(t, 1, r.Rows())
				request, ok := r.AppendRequest(nil, rec, 0, len(rec.Value))
				require.True(t, ok)
				require.Equal(t, rec.Value, request)
				batch := r.NewBatch()
				defer batch.Release()
				want, fault := asJSON(t, m, v.Request)
				require.Nil(t, fault)
				defer want.Release()
				requireSameRows(t, want, batch)
			}
			require.Equal(t, 1, list.asked, "a schema is asked for once")
		})
	}
}

// requireSameRows compares batches by value.
func requireSameRows(tb testing.TB, want, got arrow.Record) {
	tb.Helper()
	require.True(tb, want.Schema().Equal(got.Schema()))
	for i := range int(want.NumCols()) {
		require.Equal(tb, want.Column(i).String(), got.Column(i).String(), want.ColumnName(i))
	}
	require.True(tb, array.RecordEqual(want, got))
}

// Every prefix of a good value is refused, and so is one with a byte more.
func TestBrokenValuesAreMalformed(t *testing.T) {
	m := manifest(t)
	for _, g := range goldens(t).Requests {
		r, _, _ := framed(t, m, g.schema())
		value := unhex(t, g.Values[0].Value)
		for n := range value {
			got, err := r.Append(t.Context(), record(string(value[:n])))
			require.NoError(t, err)
			// A message of Protobuf may end behind any field.
			if g.Codec == Protobuf && (got.Fault == nil || got.Fault.Class == schemas.ErrorClassMissingFeature || got.Fault.Class == schemas.ErrorClassUnknownCategory) {
				continue
			}
			require.NotNil(t, got.Fault, "%s: %d of %d bytes", g.Name, n, len(value))
			require.Equal(t, schemas.ErrorClassMalformed, got.Fault.Class, "%s: %d of %d bytes: %v", g.Name, n, len(value), got.Fault)
		}
		got, err := r.Append(t.Context(), record(string(value)+"\x00"))
		require.NoError(t, err)
		require.NotNil(t, got.Fault)
		require.Equal(t, schemas.ErrorClassMalformed, got.Fault.Class)
	}
}

// The results are what the reference implementations write with the same schemas.
func TestGoldenResults(t *testing.T) {
	m := manifest(t)
	for file, text := range map[string]string{"testdata/result.avsc": AvroResultSchema(m) + "\n", "testdata/result.proto": ProtobufResultSchema(m)} {
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err, "go test -update makes it")
		require.Equal(t, string(want), text)
	}
	for _, c := range []Codec{Avro, Protobuf} {
		d := decoder(t)
		list := &schemaList{}
		requests, results, err := New(t.Context(), c, m, Options{Registry: list, Subject: "results-value"}, memory.NewGoAllocator())
		require.NoError(t, err)
		defer requests.Release()
		for _, g := range goldens(t).Results {
			require.Nil(t, d.Append(record(good, schemas.Header{Key: schemas.HeaderRequestID, Value: []byte(g.Result.RequestID)})))
			batch := d.NewBatch()
			defer batch.Release()
			b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(m.OutputFields(), nil))
			if p := g.Result.Predictions; p.Score != nil {
				b.Field(0).(*array.Float32Builder).Append(*p.Score)
				b.Field(1).(*array.Int64Builder).Append(*p.Label)
			} else {
				b.Field(0).AppendNull()
				b.Field(1).AppendNull()
			}
			preds := b.NewRecord()
			results.Bind(batch, preds)
			got, err := results.Append([]byte("x"), &Answer{Rows: 1, LatencyUS: g.Result.LatencyUS, QueueUS: g.Result.QueueUS})
			require.NoError(t, err)
			want := map[Codec]string{Avro: g.Avro, Protobuf: g.Protobuf}[c]
			require.Equal(t, "78"+want, hex.EncodeToString(got))
		}
	}
}

// Every output type is written as its schema says.
func TestResultsOfEveryType(t *testing.T) {
	before, _, _ := strings.Cut(manifestText, "outputs:")
	m, err := schemas.ParseManifest("test", []byte(before+`outputs:
  - {name: b, type: bool}
  - {name: c, type: bool}
  - {name: i, type: int32}
  - {name: l, type: int64}
  - {name: f, type: float32}
  - {name: d, type: float64}
  - {name: s, type: string}
  - {name: message, type: string}
`))
	require.NoError(t, err)
	d := decoder(t)
	require.Nil(t, d.Append(record(good)))
	batch := d.NewBatch()
	defer batch.Release()
	preds, _, err := array.RecordFromJSON(memory.NewGoAllocator(), arrow.NewSchema(m.OutputFields(), nil),
		strings.NewReader(`[{"b":true,"c":false,"i":-7,"l":-8,"f":1.5,"d":-2.25,"s":"é"}]`))
	require.NoError(t, err)
	want := map[string]any{"b": true, "c": false, "i": int32(-7), "l": int64(-8), "f": float32(1.5), "d": -2.25, "s": "é", "message": nil}
	for _, c := range []Codec{Avro, Protobuf} {
		list := &schemaList{}
		requests, results, err := New(t.Context(), c, m, Options{Registry: list, Subject: "results-value"}, memory.NewGoAllocator())
		require.NoError(t, err)
		defer requests.Release()
		results.Bind(batch, preds)
		a := &Answer{Rows: 1, LatencyUS: 12, QueueUS: 34}
		value, err := results.Append(nil, a)
		require.NoError(t, err)
		got := readResult(t, list.schemas[0], value)
		require.Equal(t, want, got["predictions"], c)
		require.Equal(t, map[string]any{"request_id": "r-1", "model": "m", "version": "1", "predictions": want, "latency_us": int64(12), "queue_us": int64(34)}, got, c)

		a.QueueUS = schemas.UnknownQueue
		value, err = results.Append(nil, a)
		require.NoError(t, err)
		require.Equal(t, int64(-1), readResult(t, list.schemas[0], value)["queue_us"], c)

		a.Failed = []schemas.RowError{{RequestError: schemas.Errorf(schemas.ErrorClassInvalidPrediction, "NaN")}}
		value, err = results.Append([]byte("x"), a)
		require.NoError(t, err)
		require.Equal(t, "x", string(value), "a request that failed has no result")

		dst := make([]byte, 0, 1<<10)
		a.Failed = nil
		require.Zero(t, testing.AllocsPerRun(100, func() { dst, _ = results.Append(dst[:0], a) }), c)
	}
}

func TestResultsNeedTheRegistry(t *testing.T) {
	m := manifest(t)
	away := errors.New("away")
	for _, c := range []Codec{Avro, Protobuf} {
		_, _, err := New(t.Context(), c, m, Options{Registry: &schemaList{away: away}, Subject: "results-value"}, memory.NewGoAllocator())
		require.ErrorIs(t, err, away)
		_, _, err = New(t.Context(), c, m, Options{Subject: "results-value"}, memory.NewGoAllocator())
		require.ErrorContains(t, err, "needs a Schema Registry")
	}
	m.Outputs[1].Name = "Score" // JSON names of Protobuf differ in case alone, which is allowed
	m.Outputs[0].Name = "score_"
	m.Outputs = append(m.Outputs, schemas.Output{Name: "score", Type: schemas.TypeFloat32})
	_, _, err := New(t.Context(), Protobuf, m, Options{Registry: &schemaList{}, Subject: "results-value"}, memory.NewGoAllocator())
	require.ErrorContains(t, err, "its outputs make no Protobuf message")
}

func TestUnknownSchemas(t *testing.T) {
	m := manifest(t)
	for _, c := range []Codec{Avro, Protobuf} {
		r, _, list := framed(t, m, Schema{Type: c, Text: "{"})
		list.schemas = append(list.schemas, Schema{Type: JSON, Text: "{}"})
		for id, want := range map[int]string{
			1: "schema 1: cannot be read as " + string(c), 3: "schema 3: it is a schema of json, not of " + string(c), 4: "schema 4 of the Schema Registry: unknown schema",
		} {
			for range 2 {
				got, err := r.Append(t.Context(), record(string(appendHeader(nil, id))+"x"))
				require.NoError(t, err)
				require.NotNil(t, got.Fault)
				require.Equal(t, schemas.ErrorClassUnknownSchema, got.Fault.Class)
				require.Contains(t, got.Fault.Reason, want)
			}
		}
		require.Equal(t, 4, list.asked, "what is known is kept, what is not may come")
		for _, id := range []int{math.MaxInt32, math.MaxInt32 + 1, 0x00FFFFFF << 8, math.MaxUint32} {
			got, err := r.Append(t.Context(), record(string(appendHeader(nil, id))+"x"))
			require.NoError(t, err)
			require.Equal(t, schemas.ErrorClassUnknownSchema, got.Fault.Class)
			require.Contains(t, got.Fault.Reason, fmt.Sprint("schema ", id))
		}
		require.Equal(t, 5, list.asked, "a registry cannot be asked for ids of more than 31 bits")
	}
}

// While the registry is away nothing is lost and nothing is refused.
func TestRegistryAway(t *testing.T) {
	m := manifest(t)
	g := goldens(t).Requests[0]
	r, _, list := framed(t, m, Schema{Type: g.Codec, Text: g.Schema})
	list.away = errors.New("away")
	rec := record(string(unhex(t, g.Values[0].Value)))
	for range 3 {
		got, err := r.Append(t.Context(), rec)
		require.ErrorIs(t, err, list.away)
		require.ErrorContains(t, err, "schema 1")
		require.Equal(t, Decoded{}, got)
		require.Zero(t, r.Rows())
	}
	list.away = nil
	got, err := r.Append(t.Context(), rec)
	require.NoError(t, err)
	require.Equal(t, Decoded{Rows: 1}, got)
	list.away = errors.New("away again")
	got, err = r.Append(t.Context(), rec)
	require.NoError(t, err, "what is known needs no registry")
	require.Equal(t, Decoded{Rows: 1}, got)
	r.NewBatch().Release()
}

func TestValuesWithoutHeader(t *testing.T) {
	g := goldens(t).Requests[0]
	r, _, list := framed(t, manifest(t), Schema{Type: g.Codec, Text: g.Schema})
	for _, value := range []string{"", "\x00", "\x00\x00\x00\x00", good, "\x01\x00\x00\x00\x01"} {
		got, err := r.Append(t.Context(), record(value))
		require.NoError(t, err)
		require.Equal(t, schemas.ErrorClassMalformed, got.Fault.Class)
	}
	require.Zero(t, list.asked)
}
