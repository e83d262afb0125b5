package flatbuffer_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas/arrowipc/flatbuffer"
)

// sample is the flatbuffer of a schema message, as the arrow module writes it.
func sample(tb testing.TB) []byte {
	tb.Helper()
	var stream bytes.Buffer
	w := ipc.NewWriter(&stream, ipc.WithSchema(arrow.NewSchema([]arrow.Field{
		{Name: "distance", Type: arrow.PrimitiveTypes.Int64}, {Name: "origin", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)))
	require.NoError(tb, w.Close())
	size := binary.LittleEndian.Uint32(stream.Bytes()[4:]) // behind the continuation mark
	return stream.Bytes()[8 : 8+size]
}

// The places of fields in the vtables of a message, a schema and a field.
const (
	slotVersion, slotKind, slotHeader = 4, 6, 8
	slotFields                        = 6
	slotName, slotNullable            = 4, 6
)

// names reads the columns of a schema message, as far as it can be read.
func names(root flatbuffer.Table) (out []string, nullable []uint64) {
	schema, ok := root.Table(slotHeader)
	if !ok {
		return nil, nil
	}
	at, n, ok := schema.Vector(slotFields, 4)
	if !ok {
		return nil, nil
	}
	for i := range n {
		if field, ok := flatbuffer.Element(schema.Buf, at, i); ok {
			name, _ := field.Text(slotName)
			null, _ := field.Uint(slotNullable, 1, 0)
			out, nullable = append(out, name), append(nullable, null)
		}
	}
	return out, nullable
}

func TestTableReadsWhatArrowWrote(t *testing.T) {
	t.Parallel()
	root, ok := flatbuffer.Root(sample(t))
	require.True(t, ok)
	version, ok := root.Uint(slotVersion, 2, 0)
	require.True(t, ok)
	require.EqualValues(t, 4, version)
	kind, ok := root.Uint(slotKind, 1, 0)
	require.True(t, ok)
	require.EqualValues(t, 1, kind)
	columns, nullable := names(root)
	require.Equal(t, []string{"distance", "origin"}, columns)
	require.Equal(t, []uint64{0, 1}, nullable)

	for _, slot := range []int{12, 100} { // absent: within the vtable of a message, or beyond it
		n, ok := root.Uint(slot, 8, 5)
		require.True(t, ok)
		require.EqualValues(t, 5, n)
		text, ok := root.Text(slot)
		require.True(t, ok)
		require.Empty(t, text)
		_, present, ok := root.Optional(slot)
		require.True(t, ok)
		require.False(t, present)
		_, ok = root.Table(slot)
		require.False(t, ok, "it must be there")
		_, elements, ok := root.Vector(slot, 4)
		require.True(t, ok)
		require.Zero(t, elements)
	}
}

// Whatever is cut off, no access leaves the buffer: it would panic.
func TestTableThatIsCutOff(t *testing.T) {
	t.Parallel()
	whole := sample(t)
	refused := 0
	for n := range whole {
		root, ok := flatbuffer.Root(whole[:n:n])
		if !ok {
			refused++
			continue
		}
		if columns, _ := names(root); len(columns) < 2 {
			refused++
		}
	}
	require.Greater(t, refused, len(whole)/2)
}

func FuzzTable(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, buf []byte) {
		root, ok := flatbuffer.Root(buf)
		if !ok {
			return
		}
		for _, size := range []int{1, 2, 4, 8} {
			root.Uint(slotVersion, size, 0)
		}
		columns, _ := names(root)
		for _, c := range columns {
			require.LessOrEqual(t, len(c), len(buf))
		}
	})
}
