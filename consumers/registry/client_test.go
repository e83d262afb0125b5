package registry_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/consumers/registry"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake starts a registry that counts what it is asked.
func fake(t *testing.T) (*srfake.Registry, *atomic.Int64) {
	t.Helper()
	r := srfake.New()
	t.Cleanup(r.Close)
	asked := &atomic.Int64{}
	r.Intercept(func(http.ResponseWriter, *http.Request) bool { asked.Add(1); return false })
	return r, asked
}

func client(t *testing.T, url string, options ...func(*registry.Config)) *registry.Client {
	t.Helper()
	cfg := registry.DefaultConfig()
	cfg.URL, cfg.Backoff = url, time.Millisecond
	for _, o := range options {
		o(&cfg)
	}
	c, err := registry.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

const colorSchema = `{"type":"enum","name":"Color","namespace":"shop","symbols":["red","green"]}`

const requestSchema = `{"type":"record","name":"Request","namespace":"shop","fields":[` +
	`{"name":"x","type":"double"},{"name":"color","type":"shop.Color"},{"name":"note","type":["null","string"]}]}`

const colorProto = "syntax = \"proto3\";\npackage shop;\n\nenum Color {\n  red = 0;\n  green = 1;\n}\n"

const requestProto = "syntax = \"proto3\";\npackage shop;\n\nimport \"shop/color.proto\";\n\nmessage Request {\n  double x = 1;\n  Color color = 2;\n}\n"

const manifestText = `
name: m
version: "1"
runtime: onnx
artifact: {file: model.onnx, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
features:
  - {name: x, type: float32}
  - {name: color, type: category, categories: [red, green]}
outputs:
  - {name: score, type: float32}
`

// register puts schemas that refer to others into a registry, as producers do, and returns their ids.
func register(t *testing.T, url, prefix string) map[codec.Codec]int {
	t.Helper()
	cl, err := sr.NewClient(sr.URLs(url))
	require.NoError(t, err)
	ids := map[codec.Codec]int{}
	for kind, s := range map[codec.Codec][]string{codec.Avro: {colorSchema, requestSchema, "shop.Color"}, codec.Protobuf: {colorProto, requestProto, "shop/color.proto"}} {
		of := sr.TypeAvro
		if kind == codec.Protobuf {
			of = sr.TypeProtobuf
		}
		color := fmt.Sprintf("%s-%s-color", prefix, kind)
		_, err := cl.CreateSchema(t.Context(), color, sr.Schema{Schema: s[0], Type: of})
		require.NoError(t, err)
		request, err := cl.CreateSchema(t.Context(), fmt.Sprintf("%s-%s-value", prefix, kind), sr.Schema{
			Schema: s[1], Type: of, References: []sr.SchemaReference{{Name: s[2], Subject: color, Version: 1}},
		})
		require.NoError(t, err)
		ids[kind] = request.ID
	}
	return ids
}

// exercise decodes requests and encodes results with the schemas of a registry, from end to end.
func exercise(t *testing.T, url, prefix string) {
	t.Helper()
	ids := register(t, url, prefix)
	m, err := schemas.ParseManifest("test", []byte(manifestText))
	require.NoError(t, err)
	bodies := map[codec.Codec]string{
		codec.Avro:     "\x00\x00\x00\x00\x00\x00\xf8\x3f\x02\x00",
		codec.Protobuf: "\x00\x09\x00\x00\x00\x00\x00\x00\xf8\x3f\x10\x01",
	}
	c := client(t, url)
	for kind, id := range ids {
		results := fmt.Sprintf("%s-%s-results-value", prefix, kind)
		requests, encoder, err := codec.New(t.Context(), kind, m, codec.Options{Registry: c, Subject: results}, memory.NewGoAllocator())
		require.NoError(t, err)
		defer requests.Release()
		value := binary.BigEndian.AppendUint32([]byte{0}, uint32(id))
		rec := &schemas.Record{Value: append(value, bodies[kind]...)}
		got, err := requests.Append(t.Context(), rec)
		require.NoError(t, err)
		require.Nil(t, got.Fault)
		batch := requests.NewBatch()
		defer batch.Release()
		require.Equal(t, "[1.5]", batch.Column(0).String())
		color := batch.Column(1).(*array.Dictionary)
		require.Equal(t, "green", color.Dictionary().(*array.String).Value(color.GetValueIndex(0)))

		binary.BigEndian.PutUint32(rec.Value[1:], 1<<30)
		got, err = requests.Append(t.Context(), rec)
		require.NoError(t, err)
		require.Equal(t, schemas.ErrorClassUnknownSchema, got.Fault.Class)

		answer, _, err := array.RecordFromJSON(memory.NewGoAllocator(), arrow.NewSchema(m.OutputFields(), nil), strings.NewReader(`[{"score":0.5}]`))
		require.NoError(t, err)
		encoder.Bind(batch, answer)
		result, err := encoder.Append(nil, &codec.Answer{Record: rec, Rows: 1})
		require.NoError(t, err)
		resultID := int(binary.BigEndian.Uint32(result[1:]))
		s, err := c.Schema(t.Context(), resultID)
		require.NoError(t, err)
		require.Equal(t, kind, s.Type)
		require.Contains(t, s.Text, "MResult")

		// A restart, and every other lane, finds the schema that is there.
		again, err := client(t, url).Register(t.Context(), results, codec.Schema{Type: kind, Text: resultSchema(kind, m)})
		require.NoError(t, err)
		require.Equal(t, resultID, again)
	}
}

func resultSchema(kind codec.Codec, m *schemas.Manifest) string {
	if kind == codec.Avro {
		return codec.AvroResultSchema(m)
	}
	return codec.ProtobufResultSchema(m)
}

func TestCodecsWithARegistry(t *testing.T) {
	r, _ := fake(t)
	exercise(t, r.URL(), "shop")
}

func TestSchemasAreFetchedOnce(t *testing.T) {
	r, asked := fake(t)
	ids := register(t, r.URL(), "shop")
	asked.Store(0)
	c := client(t, r.URL())
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			s, err := c.Schema(context.Background(), ids[codec.Avro])
			if err != nil || s.Text != requestSchema || s.References[0].Schema.Text != colorSchema {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 2, asked.Load(), "the schema and what it refers to")
	r.Close()
	s, err := c.Schema(t.Context(), ids[codec.Avro])
	require.NoError(t, err, "what is known needs no registry")
	require.Equal(t, codec.Schema{Type: codec.Avro, Text: requestSchema, References: []codec.Reference{
		{Name: "shop.Color", Schema: codec.Schema{Type: codec.Avro, Text: colorSchema}},
	}}, s)
}

func TestUnknownIDsAreAskedForAgainLater(t *testing.T) {
	r, asked := fake(t)
	c := client(t, r.URL(), func(cfg *registry.Config) { cfg.UnknownFor = time.Hour })
	for range 3 {
		_, err := c.Schema(t.Context(), 7)
		require.ErrorIs(t, err, codec.ErrUnknownSchema)
	}
	require.EqualValues(t, 1, asked.Load())

	c = client(t, r.URL(), func(cfg *registry.Config) { cfg.UnknownFor = 0 })
	_, err := c.Schema(t.Context(), 7)
	require.ErrorIs(t, err, codec.ErrUnknownSchema)
	r.SeedSchema("late-value", 1, 7, sr.Schema{Schema: `"string"`})
	s, err := c.Schema(t.Context(), 7)
	require.NoError(t, err)
	require.Equal(t, `"string"`, s.Text)
}

// Whatever code a registry has for what it does not have, the answer stays the same: the
// schema is unknown, and the record a dead letter. Confluent's cannot even read ids of more
// than 31 bits and answers with the code 404.
func TestRegistryWithoutTheSchema(t *testing.T) {
	for _, code := range []int{40403, 404, 40401} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			r, asked := fake(t)
			r.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
				if req.URL.Path == "/schemas/ids/1" {
					_, _ = w.Write([]byte(`{"schema":"x","references":[{"name":"b","subject":"b","version":3}]}`))
					return true
				}
				w.WriteHeader(http.StatusNotFound)
				_, _ = fmt.Fprintf(w, `{"error_code":%d,"message":"HTTP 404 Not Found"}`, code)
				return true
			})
			c := client(t, r.URL())
			for range 2 {
				_, err := c.Schema(t.Context(), 7)
				require.ErrorIs(t, err, codec.ErrUnknownSchema)
			}
			require.EqualValues(t, 1, asked.Load(), "it is not asked again at once")
			_, err := c.Schema(t.Context(), 1)
			require.ErrorIs(t, err, codec.ErrUnknownSchema, "what it refers to is not there")
		})
	}
}

func TestReferencesThatAreNotThere(t *testing.T) {
	r, _ := fake(t)
	answers := map[string]string{
		"/schemas/ids/1":            `{"schema":"x","references":[{"name":"b","subject":"b","version":3}]}`,
		"/schemas/ids/2":            `{"schema":"x","references":[{"name":"self","subject":"self","version":1}]}`,
		"/subjects/self/versions/1": `{"schema":"x","references":[{"name":"self","subject":"self","version":1}]}`,
	}
	r.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		body, ok := answers[req.URL.Path]
		if ok {
			_, _ = w.Write([]byte(body))
		}
		return ok
	})
	c := client(t, r.URL())
	_, err := c.Schema(t.Context(), 1)
	require.ErrorIs(t, err, codec.ErrUnknownSchema)
	require.ErrorContains(t, err, "subject b version 3")
	_, err = c.Schema(t.Context(), 2)
	require.ErrorIs(t, err, codec.ErrUnknownSchema)
	require.ErrorContains(t, err, "refers to itself")
}

// A registry that is away, busy, or hidden by something that answers 404 is no reason to
// call a schema unknown.
func TestRegistryAway(t *testing.T) {
	for name, tc := range map[string]struct {
		status   int
		body     string
		attempts int64
	}{
		"busy": {http.StatusServiceUnavailable, `{"error_code":50003,"message":"busy"}`, 3}, "slow down": {http.StatusTooManyRequests, "", 3},
		"no registry": {http.StatusNotFound, "<html>404</html>", 1}, "no route": {http.StatusNotFound, `{"message":"no Route matched"}`, 1}, "forbidden": {http.StatusForbidden, `{"error_code":40301}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			}))
			defer s.Close()
			c := client(t, s.URL, func(cfg *registry.Config) { cfg.Attempts = 3 })
			_, err := c.Schema(t.Context(), 1)
			require.Error(t, err)
			require.NotErrorIs(t, err, codec.ErrUnknownSchema)
			require.Equal(t, tc.attempts, asked.Load())
		})
	}
	s := httptest.NewServer(nil)
	s.Close()
	_, err := client(t, s.URL).Schema(t.Context(), 1)
	require.ErrorContains(t, err, "ask the Schema Registry for schema 1")
	require.NotErrorIs(t, err, codec.ErrUnknownSchema)
}

func TestRegistryComesBack(t *testing.T) {
	r, asked := fake(t)
	r.SeedSchema("a", 1, 1, sr.Schema{Schema: `"string"`})
	r.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		if asked.Load() > 2 {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	s, err := client(t, r.URL()).Schema(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, `"string"`, s.Text)
}

// Who asked first and gives up does not take the answer from those who wait with them.
func TestGivingUp(t *testing.T) {
	r, asked := fake(t)
	r.SeedSchema("a", 1, 1, sr.Schema{Schema: `"string"`})
	var once sync.Once
	entered, leave := make(chan struct{}), make(chan struct{})
	r.Intercept(func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() { close(entered) })
		<-leave
		return false
	})
	c := client(t, r.URL())
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := c.Schema(ctx, 1); first <- err }()
	<-entered
	go func() { _, err := c.Schema(context.WithoutCancel(ctx), 1); second <- err }()
	cancel(enough)
	require.ErrorIs(t, <-first, enough)
	close(leave)
	require.NoError(t, <-second)
	require.EqualValues(t, 1, asked.Load())
}

func TestBasicAuthAndTLS(t *testing.T) {
	r := srfake.New(srfake.WithAuth("Basic dXNlcjpzZWNyZXQ=")) // user:secret
	defer r.Close()
	r.SeedSchema("a", 1, 1, sr.Schema{Schema: `"string"`})
	_, err := client(t, r.URL(), func(cfg *registry.Config) { cfg.Username, cfg.Password = "user", "secret" }).Schema(t.Context(), 1)
	require.NoError(t, err)
	_, err = client(t, r.URL(), func(cfg *registry.Config) { cfg.Username, cfg.Password = "user", "wrong" }).Schema(t.Context(), 1)
	require.ErrorContains(t, err, "not authorized")
	require.NotContains(t, err.Error(), "wrong")

	s := httptest.NewTLSServer(r.Handler())
	defer s.Close()
	_, err = client(t, s.URL, func(cfg *registry.Config) { cfg.Attempts = 1 }).Schema(t.Context(), 1)
	require.ErrorContains(t, err, "certificate", "https is TLS, and checked")
}

func TestRegisterSaysWhy(t *testing.T) {
	r, asked := fake(t)
	c := client(t, r.URL())
	s := codec.Schema{Type: codec.Avro, Text: `{"type":"record","name":"R","fields":[]}`}
	id, err := c.Register(t.Context(), "results-value", s)
	require.NoError(t, err)
	again, err := c.Register(t.Context(), "results-value", s)
	require.NoError(t, err)
	require.Equal(t, id, again)
	require.EqualValues(t, 1, asked.Load())
	r.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"error_code":409,"message":"incompatible with an earlier schema"}`))
		return true
	})
	_, err = c.Register(t.Context(), "other-value", s)
	require.ErrorContains(t, err, "register a schema under subject other-value: incompatible with an earlier schema")
	s.References = []codec.Reference{{Name: "x"}}
	_, err = c.Register(t.Context(), "other-value", s)
	require.ErrorContains(t, err, "it refers to 1 others")
}

func TestConfig(t *testing.T) {
	for url, want := range map[string]string{
		"http://a:8081": "", "https://a/path, http://b": "", "": `registry.url: "" does not begin with`, "a:8081": "does not begin with http",
		"ftp://a": "does not begin with http", "http://user:secret@a": "set registry.username", "http://a\x7f": "not a URL",
	} {
		cfg := registry.DefaultConfig()
		cfg.URL = url
		_, err := registry.New(cfg)
		if want == "" {
			require.NoError(t, err, url)
			continue
		}
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "secret")
	}
	require.EqualError(t, registry.Config{URL: "http://a", Password: "p"}.Validate(),
		"registry.username: missing, but registry.password or password_file is set\nregistry: attempts must be at least 1, got 0")
}
