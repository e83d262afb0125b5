package codec

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// floats are the manifest and some requests of a model of 20 features of type float32.
func floats(tb testing.TB) (*schemas.Manifest, []*schemas.Record) {
	tb.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "name: m\nversion: \"1\"\nruntime: onnx\nartifact: {file: m.onnx, sha256: %q}\nfeatures:\n", strings.Repeat("0", 64))
	for i := range 20 {
		fmt.Fprintf(&text, "  - {name: feature_%02d, type: float32}\n", i)
	}
	text.WriteString("outputs:\n  - {name: score, type: float32}\n")
	m, err := schemas.ParseManifest("test", []byte(text.String()))
	require.NoError(tb, err)
	rnd := rand.New(rand.NewPCG(7, 0))
	records := make([]*schemas.Record, 1000)
	for r := range records {
		var b strings.Builder
		for i := range 20 {
			fmt.Fprintf(&b, `%c"feature_%02d":%v`, ",{"[min(1, max(0, 1-i))], i, rnd.Float32())
		}
		b.WriteByte('}')
		records[r] = record(b.String())
		records[r].Offset = int64(r)
	}
	return m, records
}

func BenchmarkDecodeFloats(b *testing.B) {
	m, records := floats(b)
	d, err := NewDecoder(m, memory.NewGoAllocator())
	require.NoError(b, err)
	defer d.Release()
	b.SetBytes(int64(len(records[0].Value)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%4096 == 0 {
			d.NewBatch().Release()
			d.Reserve(4096)
		}
		if fault := d.Append(records[i%len(records)]); fault != nil {
			b.Fatal(fault)
		}
	}
}
