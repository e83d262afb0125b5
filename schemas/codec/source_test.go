package codec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// TestFeaturesAreFoundByTheirSource: requests call a feature what they like, and columns have
// identifiers. In Avro and Protobuf, where only identifiers can be names, a source that is none
// stands under the column's name.
func TestFeaturesAreFoundByTheirSource(t *testing.T) {
	m, err := schemas.ParseManifest("test", []byte(strings.NewReplacer(
		"{name: f32, ", `{name: f32, source: "sepal length (cm)", `,
		"{name: i64, ", "{name: i64, source: 年齢, ",
		"{name: color, ", "{name: color, source: Colour, ",
	).Replace(manifestText)))
	require.NoError(t, err)
	want := map[string]any{"f32": "1.5", "i64": "3", "color": "red"}
	requireRow := func(batch arrow.Record) {
		t.Helper()
		defer batch.Release()
		require.EqualValues(t, 1, batch.NumRows())
		require.Equal(t, m.RequestSchema().Field(0).Name, batch.Schema().Field(0).Name)
		got := row(t, batch, 0)
		for name, v := range want {
			require.Equal(t, v, fmt.Sprint(got[name]), name)
		}
	}

	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	d, err := NewDecoder(m, alloc)
	require.NoError(t, err)
	defer d.Release()
	fault := d.Append(record(`{"sepal length (cm)":1.5,"f32":9,"\u5e74齢":3,"i64":"ignored","Colour":"red","at":5}`))
	require.Nil(t, fault)
	requireRow(d.NewBatch())
	fault = d.Append(record(`{"f32":1.5,"年齢":3,"Colour":"red","at":5}`))
	require.EqualError(t, fault, `missing_feature: "sepal length (cm)" is absent, null or NaN and has no default`)
	require.Nil(t, d.Append(record(string(ExampleRequest(m)))))
	d.NewBatch().Release()

	stream := stream(t, 1, []column{
		{"sepal length (cm)", arrow.PrimitiveTypes.Float32, []any{float32(1.5)}},
		{"年齢", arrow.PrimitiveTypes.Int64, []any{3}},
		{"Colour", arrow.BinaryTypes.String, []any{"red"}},
		{"at", arrow.PrimitiveTypes.Int64, []any{5}},
	})
	a := arrowRequests(t, m)
	require.Nil(t, decodeArrow(t, a, record(stream)).Fault)
	requireRow(a.NewBatch())

	s := avroSchema("color", "")
	s.Text = strings.Replace(s.Text, `"fields":[`, `"fields":[{"name":"Colour","type":"string"},`, 1)
	r, _, _ := framed(t, m, s)
	request := avroRequest("Colour", "red")
	require.Nil(t, offer(t, r, encodeAvro(t, s, request)))
	requireRow(r.NewBatch())

	s = protobufSchema(7, "string Colour = 7;")
	r, _, _ = framed(t, m, s)
	require.Nil(t, offer(t, r, message(part(1, float32(1.5)), part(4, 3), part(7, "red"), part(9, 5))))
	requireRow(r.NewBatch())
}
