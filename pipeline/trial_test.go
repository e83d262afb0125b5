package pipeline_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
)

// Messages of onnx.proto3, as far as hostile graphs need them.

func field(n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), v)
}

func text(n protowire.Number, s string) []byte { return field(n, []byte(s)) }

func number(n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
}

const (
	float32Element = 1
	int64Element   = 7
	boolElement    = 9
)

// valueInfo declares a tensor; a dimension below 0 is open, no dimension at all a scalar.
func valueInfo(name string, element uint64, dims ...int64) []byte {
	var shape []byte
	for _, d := range dims {
		if d < 0 {
			shape = append(shape, field(1, text(2, "N"))...)
		} else {
			shape = append(shape, field(1, number(1, uint64(d)))...)
		}
	}
	tensor := slices.Concat(number(1, element), field(2, shape))
	return slices.Concat(text(1, name), field(2, field(1, tensor)))
}

func onnxNode(op string, in, out []string, attributes ...[]byte) []byte {
	var b []byte
	for _, s := range in {
		b = append(b, text(1, s)...)
	}
	for _, s := range out {
		b = append(b, text(2, s)...)
	}
	b = append(b, text(4, op)...)
	for _, a := range attributes {
		b = append(b, field(5, a)...)
	}
	return b
}

// onnxGraph takes its parts as fields of GraphProto.
func onnxGraph(parts ...[]byte) []byte { return slices.Concat(append(parts, text(2, "g"))...) }

func onnxModel(graph []byte) []byte {
	return slices.Concat(number(1, 8), field(7, graph), field(8, slices.Concat(text(1, ""), number(2, 17))))
}

func identity(rows, columns int64) []byte {
	return onnxModel(onnxGraph(field(1, onnxNode("Identity", []string{"x"}, []string{"y"})),
		field(11, valueInfo("x", float32Element, rows, columns)), field(12, valueInfo("y", float32Element, rows, columns))))
}

// endless is a graph that goes round for some centuries.
func endless() []byte {
	body := onnxGraph(
		field(1, onnxNode("Identity", []string{"go"}, []string{"on"})), field(1, onnxNode("Identity", []string{"v"}, []string{"w"})),
		field(11, valueInfo("i", int64Element)), field(11, valueInfo("go", boolElement)), field(11, valueInfo("v", float32Element, -1, 1)),
		field(12, valueInfo("on", boolElement)), field(12, valueInfo("w", float32Element, -1, 1)))
	times := slices.Concat(number(2, int64Element), field(9, binary.LittleEndian.AppendUint64(nil, 1<<62)), text(8, "m"))
	yes := slices.Concat(number(2, boolElement), field(9, []byte{1}), text(8, "c"))
	return onnxModel(onnxGraph(
		field(1, onnxNode("Loop", []string{"m", "c", "x"}, []string{"y"}, slices.Concat(text(1, "body"), number(20, 5), field(6, body)))),
		field(5, times), field(5, yes),
		field(11, valueInfo("x", float32Element, -1, 1)), field(12, valueInfo("y", float32Element, -1, 1))))
}

// swelling is a graph whose answer passes through 2 GiB.
func swelling() []byte {
	shape := slices.Concat(number(1, 2), number(2, int64Element), field(9, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 1<<29), 1)), text(8, "s"))
	zero := slices.Concat(number(2, float32Element), field(9, make([]byte, 4)), number(1, 1), text(8, "z"))
	return onnxModel(onnxGraph(
		field(1, onnxNode("ConstantOfShape", []string{"s"}, []string{"big"})),
		field(1, onnxNode("ReduceSum", []string{"big"}, []string{"sum"}, slices.Concat(text(1, "keepdims"), number(20, 2), number(3, 0)))),
		field(1, onnxNode("Add", []string{"x", "sum"}, []string{"y"})),
		field(5, shape), field(5, zero),
		field(11, valueInfo("x", float32Element, -1, 1)), field(12, valueInfo("y", float32Element, -1, 1))))
}

// Graphs are programs of strangers: what init, check and run try to load may take what it
// wants, and only the process that tries it ends.
func TestHostileGraphsEndTheirOwnProcessOnly(t *testing.T) {
	dir := t.TempDir()
	cfg, err := config.Load("", nil, []string{"models.repository=" + filepath.Join(dir, "models"), "models.load_memory=536870912"})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		graph []byte
		says  string
	}{
		"batch":    {identity(1<<61, 4), "more than 1048576 columns, or 67108864 values in one run"},
		"product":  {identity(1<<20, 1<<19), "values in one run"},
		"width":    {identity(-1, 2_000_000_000), "values in one run"},
		"features": {identity(-1, 1<<20), "more than 10000 features in all"},
		"loop":     {endless(), "it takes longer than 2s to load and run once (models.load_timeout)"},
		"memory":   {swelling(), "it takes more than 512 MiB of memory to load and run once (models.load_memory)"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name+".onnx")
			require.NoError(t, os.WriteFile(path, tc.graph, 0o600))
			cfg := cfg
			if name == "loop" { // the others are refused before their time is up, however slow the machine
				cfg.Models.LoadTimeout = 2 * time.Second
			}
			_, err := operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: path, Name: name, Version: "1"})
			require.ErrorContains(t, err, tc.says)
			require.NoDirExists(t, filepath.Join(cfg.Models.Repository, name, "1"))
		})
	}
}

func TestVersionsAreTriedBeforeTheyServe(t *testing.T) {
	dir := t.TempDir()
	cfg, err := config.Load("", nil, []string{"models.repository=" + filepath.Join(dir, "models"), "http.addr="})
	require.NoError(t, err)
	path := filepath.Join(dir, "round.onnx")
	require.NoError(t, os.WriteFile(path, identity(-1, 1), 0o600))
	_, err = operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: path, Name: "round", Version: "1"})
	require.NoError(t, err)
	lines, err := operate.CheckModels(t.Context(), cfg)
	require.NoError(t, err)
	require.Len(t, lines, 1)
	refused := cfg // by Validate, which says so; a model is not to blame
	refused.Models.LoadTimeout, refused.Models.LoadMemory = 0, 1
	lines, err = operate.CheckModels(t.Context(), refused)
	require.NoError(t, err)
	require.Len(t, lines, 1)
	// The same version with another graph, as somebody brings it who makes the digest fit.
	version := filepath.Join(cfg.Models.Repository, "round", "1")
	require.NoError(t, os.WriteFile(filepath.Join(version, "round.onnx"), endless(), 0o600))
	manifest, err := os.ReadFile(filepath.Join(version, "manifest.yaml"))
	require.NoError(t, err)
	before, err := inference.Digest(path)
	require.NoError(t, err)
	after, err := inference.Digest(filepath.Join(version, "round.onnx"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(version, "manifest.yaml"), []byte(strings.Replace(string(manifest), before, after, 1)), 0o600))
	cfg.Models.LoadTimeout = 2 * time.Second // only now: what ends by itself has the default, however slow the machine
	const says = "load model round/1: it takes longer than 2s"
	_, err = operate.CheckModels(t.Context(), cfg)
	require.ErrorContains(t, err, says)
	err = pipeline.New(cfg, zerolog.Nop()).Run(t.Context())
	require.ErrorContains(t, err, says)
}

// Weights beside the graph are part of the version: digested, copied, held to.
func TestWeightsInAnotherFile(t *testing.T) {
	dir := t.TempDir()
	cfg, err := config.Load("", nil, []string{"models.repository=" + filepath.Join(dir, "models")})
	require.NoError(t, err)
	graph := func(location string) string {
		weights := slices.Concat(number(1, 1), number(2, float32Element), text(8, "w"), number(14, 1),
			field(13, slices.Concat(text(1, "location"), text(2, location))), field(13, slices.Concat(text(1, "length"), text(2, "4"))))
		path := filepath.Join(dir, "net.onnx")
		require.NoError(t, os.WriteFile(path, onnxModel(onnxGraph(field(1, onnxNode("Mul", []string{"x", "w"}, []string{"y"})), field(5, weights),
			field(11, valueInfo("x", float32Element, -1, 1)), field(12, valueInfo("y", float32Element, -1, 1)))), 0o600))
		return path
	}
	path := graph("net.onnx.data")
	_, err = operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: path, Name: "net", Version: "1"})
	require.ErrorContains(t, err, "net.onnx.data")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "net.onnx.data"), []byte{0, 0, 0, 0x40}, 0o600)) // 2
	_, err = operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: path, Name: "net", Version: "1"})
	require.NoError(t, err)
	version := filepath.Join(cfg.Models.Repository, "net", "1")
	_, err = operate.CheckModels(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(version, "net.onnx.data"), []byte{0, 0, 0, 0x41}, 0o600))
	_, err = operate.CheckModels(t.Context(), cfg)
	require.ErrorContains(t, err, "net.onnx.data has sha256")

	outside := filepath.Join(dir, "outside")
	require.NoError(t, os.WriteFile(outside, []byte{0, 0, 0, 0x40}, 0o600))
	require.NoError(t, os.Remove(filepath.Join(version, "net.onnx.data")))
	require.NoError(t, os.Symlink(outside, filepath.Join(version, "net.onnx.data")))
	_, err = operate.CheckModels(t.Context(), cfg)
	require.ErrorContains(t, err, "net.onnx.data is a link out of")

	// A graph whose weights the manifest does not name.
	manifest, err := os.ReadFile(filepath.Join(version, "manifest.yaml"))
	require.NoError(t, err)
	from := strings.Index(string(manifest), "  external:")
	to := from + strings.Index(string(manifest[from:]), "\n#")
	require.NoError(t, os.WriteFile(filepath.Join(version, "manifest.yaml"), append(manifest[:from:from], manifest[to:]...), 0o600))
	_, err = operate.CheckModels(t.Context(), cfg)
	require.ErrorContains(t, err, "net.onnx keeps weights in net.onnx.data, which the manifest does not name")

	for _, location := range []string{"/etc/hostname", "../outside", "a/../../outside", "weights/net.data", "", ".."} {
		_, err = operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: graph(location), Name: "net", Version: "2"})
		require.ErrorContains(t, err, "which is not a file beside it", location)
	}
}

// The runtime's parser reads 32 bits of an enumeration and of a field's number. A graph that is
// written with more must not keep weights where nothing digests them.
func TestWeightsThatAnotherParserWouldFind(t *testing.T) {
	weights := func(external uint64) []byte {
		return slices.Concat(number(1, 1), number(2, float32Element), text(8, "w"), number(14, external),
			field(13, slices.Concat(text(1, "location"), text(2, "w.bin"))), field(13, slices.Concat(text(1, "length"), text(2, "4"))))
	}
	graph := func(parts ...[]byte) []byte {
		return onnxModel(onnxGraph(append(parts, field(1, onnxNode("Mul", []string{"x", "w"}, []string{"y"})),
			field(11, valueInfo("x", float32Element, -1, 1)), field(12, valueInfo("y", float32Element, -1, 1)))...))
	}
	tagged := func(bit int, n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendVarint(nil, 1<<bit|uint64(n)<<3|uint64(protowire.BytesType)), v)
	}
	for name, tc := range map[string]struct {
		graph []byte
		says  string
	}{
		"enumeration":  {graph(field(5, weights(1<<32|1))), ""},
		"field":        {graph(tagged(32, 5, weights(1))), "no ONNX graph"},
		"larger field": {graph(tagged(34, 5, weights(1))), "no ONNX graph"},
		"field before": {graph(tagged(34, 100, nil), field(5, weights(1))), "no ONNX graph"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cfg, err := config.Load("", nil, []string{"models.repository=" + filepath.Join(dir, "models")})
			require.NoError(t, err)
			path := filepath.Join(dir, "net.onnx")
			require.NoError(t, os.WriteFile(path, tc.graph, 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "w.bin"), []byte{0, 0, 0, 0x40}, 0o600))
			_, err = operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: path, Name: "net", Version: "1"})
			if tc.says != "" {
				require.ErrorContains(t, err, tc.says)
				return
			}
			require.NoError(t, err)
			manifest, err := os.ReadFile(filepath.Join(cfg.Models.Repository, "net", "1", "manifest.yaml"))
			require.NoError(t, err)
			require.Contains(t, string(manifest), `{file: "w.bin"`)
		})
	}
}

// TestInitAndCheckAgree: a graph that init puts into the repository loads and scores in check as it
// did, and one that neither could serve is not left there.
func TestInitAndCheckAgree(t *testing.T) {
	graphs := filepath.Join("..", "inference", "onnx", "testdata", "exporters")
	dir := t.TempDir()
	cfg, err := config.Load("", nil, []string{"models.repository=" + filepath.Join(dir, "models")})
	require.NoError(t, err)
	for _, name := range []string{"cat_reg", "skl_zip", "torch_net", "hidden1"} {
		_, err := operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: filepath.Join(graphs, name+".onnx"), Name: name})
		require.NoError(t, err, name)
	}
	path := filepath.Join(graphs, "softmax0.onnx")
	_, err = operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: path, Name: "softmax0"})
	require.ErrorContains(t, err, "model softmax0/1: its answers depend on the other rows of the batch")
	require.NoDirExists(t, filepath.Join(cfg.Models.Repository, "softmax0", "1"))
	_, err = operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: path, Name: "softmax0", MaxBatchSize: 1})
	require.NoError(t, err)
	lines, err := operate.CheckModels(t.Context(), cfg)
	require.NoError(t, err)
	require.Len(t, lines, 5)

	manifest := filepath.Join(cfg.Models.Repository, "softmax0", "1", "manifest.yaml")
	text, err := os.ReadFile(manifest)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(manifest, []byte(strings.Replace(string(text), "max_batch_size: 1", "max_batch_size: 8", 1)), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(cfg.Models.Repository, "torch_net", "1", "torch_net.onnx.data"), []byte("changed"), 0o600))
	_, err = operate.CheckModels(t.Context(), cfg)
	require.ErrorContains(t, err, "its answers depend on the other rows of the batch")
	require.ErrorContains(t, err, "torch_net.onnx.data has sha256")
}
