package pipeline_test

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/schemas"
)

// Many requests in one record: one result of the same rows comes back, a row that is bad is
// a dead letter of its own, and every row that was scored is stored at its place.
func TestArrowRequests(t *testing.T) {
	for _, delivery := range []string{"exactly_once", "at_least_once"} {
		t.Run(delivery, func(t *testing.T) {
			h := newHarness(t, []catalogtest.Model{catalogtest.Prices}, "worker.codecs={prices: arrow}", "worker.delivery="+delivery)
			requests, results := h.cfg.Topics.RequestsOf("prices"), h.cfg.Topics.ResultsOf("prices")
			h.start("worker,recorder")
			h.produce(
				&kgo.Record{Topic: requests, Partition: 1, Key: []byte("k"), Value: catalogtest.Indices(t, 0, 99, 1, -100, 2), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("7")}}},
				&kgo.Record{Topic: requests, Partition: 1, Value: []byte("no Arrow")},
				&kgo.Record{Topic: requests, Partition: 1, Value: catalogtest.Indices(t, -100, 98)},
				&kgo.Record{Topic: requests, Partition: 1, Value: catalogtest.Indices(t, 1, 1)},
			)
			h.settled(requests)

			got := h.read(results)
			require.Len(t, got, 3)
			require.Equal(t, "k", string(got[0].Key))
			require.Equal(t, "7", headerOf(&got[0], "trace"))
			first := catalogtest.Table(t, got[0].Value)
			ids := first["request_id"]
			require.Len(t, ids, 5)
			require.Equal(t, []string{"", "inference_failed", "", "missing_feature", ""}, blank(first["error_class"]))
			require.Equal(t, []bool{true, false, true, false, true}, present(first["price"]))
			require.Equal(t, []string{"missing_feature", "inference_failed"}, catalogtest.Table(t, got[1].Value)["error_class"])
			require.Equal(t, []bool{true, true}, present(catalogtest.Table(t, got[2].Value)["price"]))

			letters := h.read(h.cfg.Topics.DeadLetters)
			require.Len(t, letters, 5)
			var described []string
			for i := range letters {
				l := &letters[i]
				described = append(described, fmt.Sprintf("%s %s %q", headerOf(l, schemas.HeaderErrorClass), headerOf(l, schemas.HeaderOffset), headerOf(l, schemas.HeaderRow)))
				if row := headerOf(l, schemas.HeaderRow); row != "" {
					require.Len(t, catalogtest.Table(t, l.Value)["index"], 1, "a row of its own")
				}
			}
			require.ElementsMatch(t, []string{
				`missing_feature 0 "3"`, `inference_failed 0 "1"`, `malformed 1 ""`, `missing_feature 2 "0"`, `inference_failed 2 "1"`,
			}, described)

			h.eventually("all rows are stored", func() (string, bool) {
				n := h.count("SELECT count() FROM millrace.observations_prices")
				return strconv.Itoa(n), n == 7
			})
			rows := h.sql("SELECT request_offset, request_row, outcome, error_class, request_id FROM millrace.observations_prices ORDER BY request_offset, request_row")
			at := func(offset, row int, outcome, class, id string) []string {
				return []string{strconv.Itoa(offset), strconv.Itoa(row), outcome, class, id}
			}
			last := catalogtest.Table(t, got[2].Value)["request_id"]
			require.Equal(t, [][]string{
				at(0, 0, "ok", "", ids[0]), at(0, 1, "failed", "inference_failed", ids[1]), at(0, 2, "ok", "", ids[2]), at(0, 4, "ok", "", ids[4]),
				at(2, 1, "failed", "inference_failed", catalogtest.Table(t, got[1].Value)["request_id"][1]),
				at(3, 0, "ok", "", last[0]), at(3, 1, "ok", "", last[1]),
			}, rows)
			h.requireMinutes("prices")
			require.Equal(t, 5, h.count("SELECT count() FROM millrace.dead_letters"))
		})
	}
}

func blank(texts []string) []string {
	out := make([]string, len(texts))
	for i, s := range texts {
		if s != array.NullValueStr {
			out[i] = s
		}
	}
	return out
}

func present(texts []string) []bool {
	out := make([]bool, len(texts))
	for i, s := range texts {
		out[i] = s != array.NullValueStr
	}
	return out
}

// Avro and Protobuf through a Schema Registry: requests of an unknown schema are dead
// letters, those of a known one are answered in their own encoding.
func TestRegistryRequests(t *testing.T) {
	registry := srfake.New()
	t.Cleanup(registry.Close)
	proto := catalogtest.Ratios
	proto.Name = "shares"
	h := newHarness(t, []catalogtest.Model{catalogtest.Ratios, proto}, "worker.codecs={ratios: avro, shares: protobuf}", "registry.url="+registry.URL())
	client, err := sr.NewClient(sr.URLs(registry.URL()))
	require.NoError(t, err)
	const avroText = `{"type":"record","name":"Ratio","fields":[{"name":"a","type":"double"},{"name":"b","type":["null","float"]}]}`
	ratioSchema, err := client.CreateSchema(t.Context(), "ratios", sr.Schema{Schema: avroText, Type: sr.TypeAvro})
	require.NoError(t, err)
	shareSchema, err := client.CreateSchema(t.Context(), "shares", sr.Schema{
		Schema: "syntax = \"proto3\";\nmessage Share { float a = 1; optional float b = 2; }\n", Type: sr.TypeProtobuf,
	})
	require.NoError(t, err)
	framed := func(id int, rest ...byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), rest...)
	}
	avroSchema := avro.MustParse(avroText)
	encode := func(a float64, b any) []byte {
		body, err := avroSchema.Encode(map[string]any{"a": a, "b": b})
		require.NoError(t, err)
		return framed(ratioSchema.ID, body...)
	}
	share := func(a, b uint32) []byte { // bits of floats
		body := []byte{0} // the first message of the file
		body = protowire.AppendFixed32(protowire.AppendTag(body, 1, protowire.Fixed32Type), a)
		body = protowire.AppendFixed32(protowire.AppendTag(body, 2, protowire.Fixed32Type), b)
		return framed(shareSchema.ID, body...)
	}
	const one, four = 0x3f800000, 0x40800000
	inRatios, inShares := h.cfg.Topics.RequestsOf("ratios"), h.cfg.Topics.RequestsOf("shares")
	h.start("worker,recorder")
	h.produce(
		&kgo.Record{Topic: inRatios, Value: encode(3, float32(4))},
		&kgo.Record{Topic: inRatios, Value: framed(9999, 1, 2, 3)},
		&kgo.Record{Topic: inRatios, Value: encode(3, nil)},
		&kgo.Record{Topic: inRatios, Value: []byte(`{"a":1,"b":2}`)},
		&kgo.Record{Topic: inShares, Value: share(one, four)},
		&kgo.Record{Topic: inShares, Value: framed(shareSchema.ID, 0, 0xff)},
	)
	h.settled(inRatios, inShares)

	for _, tc := range []struct {
		model string
		want  float64
	}{{"ratios", 0.75}, {"shares", 0.25}} {
		got := h.read(h.cfg.Topics.ResultsOf(tc.model))
		require.Len(t, got, 1)
		id := int(binary.BigEndian.Uint32(got[0].Value[1:5]))
		schema, err := client.SchemaByID(t.Context(), id)
		require.NoError(t, err)
		if tc.model == "ratios" {
			var out map[string]any
			parsed, err := avro.Parse(schema.Schema)
			require.NoError(t, err)
			rest, err := parsed.Decode(got[0].Value[5:], &out)
			require.NoError(t, err)
			require.Empty(t, rest)
			require.Contains(t, fmt.Sprint(out["predictions"]), "0.75")
		} else {
			require.Equal(t, sr.TypeProtobuf, schema.Type)
		}
		rows := h.sql("SELECT ratio FROM millrace.observations_" + tc.model)
		require.Len(t, rows, 1)
		v, err := strconv.ParseFloat(rows[0][0], 64)
		require.NoError(t, err)
		require.InDelta(t, tc.want, v, 0)
	}
	classes := map[string]int{}
	h.each(h.cfg.Topics.DeadLetters, func(rec *schemas.Record) { classes[headerOf(rec, schemas.HeaderErrorClass)]++ })
	require.Equal(t, map[string]int{"unknown_schema": 1, "missing_feature": 1, "malformed": 2}, classes)
}
