package arrowipc

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
)

// A compressed buffer holds what it says, no less and no more.
func TestCompressedBuffersHoldWhatTheySay(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	var frame bytes.Buffer
	w := lz4.NewWriter(&frame)
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	encoder, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	for codec, compressed := range map[Codec][]byte{CodecLZ4: frame.Bytes(), CodecZSTD: encoder.EncodeAll(content, nil)} {
		r := NewReader(1 << 20)
		for _, said := range []int{len(content), 0, len(content) - 1, len(content) + 1, len(content)} {
			got, err := r.decompress(codec, append(binary.LittleEndian.AppendUint64(nil, uint64(said)), compressed...))
			if said == len(content) {
				require.NoError(t, err)
				require.Equal(t, content, got)
			} else {
				require.ErrorIs(t, err, ErrMalformed, "codec %d says %d", codec, said)
			}
		}
		_, err = r.decompress(codec, append(binary.LittleEndian.AppendUint64(nil, uint64(len(content))), compressed[:len(compressed)-8]...))
		require.ErrorIs(t, err, ErrMalformed)
	}
}

// Dictionaries of other streams are dropped between two streams, and never within one.
func TestDictionariesAreDroppedBetweenStreams(t *testing.T) {
	schema, err := NewSchema(arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int8}}, nil))
	require.NoError(t, err)
	for name, tc := range map[string]struct{ dictionaries, size, left int }{
		"few": {3, 1000, 3}, "many": {20_000, 0, 0}, "large": {3, maxKept/2 + 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(1 << 20)
			_, err := r.Reset(schema.Message())
			require.NoError(t, err)
			for id := range tc.dictionaries {
				r.dictionary(int64(id)).data = make([]byte, tc.size)
			}
			require.Len(t, r.dictionaries, tc.dictionaries)
			_, err = r.Reset(schema.Message())
			require.NoError(t, err)
			require.Len(t, r.dictionaries, tc.left)
		})
	}
}
