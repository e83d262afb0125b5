package pipeline_test

import (
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
)

// TestRegistryAway: a worker waits for the Schema Registry when it starts, and when requests
// come in a schema that it does not know yet. Nothing becomes a dead letter by that. What
// needs no answer of it goes on.
func TestRegistryAway(t *testing.T) {
	registry := srfake.New()
	t.Cleanup(registry.Close)
	target, err := url.Parse(registry.URL())
	require.NoError(t, err)
	forward := httputil.NewSingleHostReverseProxy(target)
	var away atomic.Bool
	var refused atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			refused.Add(1)
			http.Error(w, "no registry today", http.StatusServiceUnavailable)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	client, err := sr.NewClient(sr.URLs(registry.URL()))
	require.NoError(t, err)
	h := newHarness(t, []catalogtest.Model{catalogtest.Ratios}, "worker.codecs={ratios: avro}", "registry.url="+front.URL, "roles=worker")
	requests, results := h.cfg.Topics.RequestsOf("ratios"), h.cfg.Topics.ResultsOf("ratios")
	request := func(field string) *kgo.Record {
		text := `{"type":"record","name":"Ratio","fields":[{"name":"a","type":"double"},{"name":"b","type":"` + field + `"}]}`
		schema, err := client.CreateSchema(t.Context(), "ratios-"+field, sr.Schema{Schema: text, Type: sr.TypeAvro})
		require.NoError(t, err)
		value := map[string]any{"a": 3.0, "b": 4.0}
		if field == "float" {
			value["b"] = float32(4)
		}
		body, err := avro.MustParse(text).Encode(value)
		require.NoError(t, err)
		return &kgo.Record{Topic: requests, Value: append(binary.BigEndian.AppendUint32([]byte{0}, uint32(schema.ID)), body...)}
	}
	answered := func(n int) {
		h.eventually("the requests are answered", func() (string, bool) {
			got := len(h.read(results))
			return strings.Repeat("+", got), got == n && h.lag(h.cfg.Worker.Group, requests) == 0
		})
	}
	waits := func() {
		before := refused.Load()
		h.eventually("the registry is asked", func() (string, bool) { return "", refused.Load() >= before+2 })
	}

	away.Store(true)
	h.produce(request("double"))
	app := pipeline.New(h.cfg, h.log)
	r := h.run(app)
	waits()
	require.False(t, app.Ready())
	away.Store(false)
	answered(1)
	h.eventually("the worker is ready, its other lane too", func() (string, bool) { return "", app.Ready() })

	away.Store(true)
	h.produce(request("double"))
	answered(2)
	h.produce(request("float"))
	waits()
	require.Len(t, h.read(results), 2)
	away.Store(false)
	answered(3)
	r.drain()
	require.Empty(t, h.read(h.cfg.Topics.DeadLetters))
}
