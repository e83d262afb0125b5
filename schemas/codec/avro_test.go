package codec

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/avro"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// readResult decodes a result with the libraries.
func readResult(tb testing.TB, s Schema, value []byte) map[string]any {
	tb.Helper()
	got := map[string]any{}
	if s.Type == Avro {
		schema, err := avro.Parse(s.Text)
		require.NoError(tb, err)
		rest, err := schema.Decode(value[headerBytes:], &got)
		require.NoError(tb, err)
		require.Empty(tb, rest)
		return got
	}
	file, err := compileProtobuf(tb.Context(), s)
	require.NoError(tb, err)
	m := dynamicpb.NewMessage(file.Messages().Get(0))
	require.NoError(tb, proto.Unmarshal(value[headerBytes+1:], m))
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		got[string(fd.Name())] = m.Get(fd).Interface()
		if fd.Message() == nil {
			continue
		}
		inner := map[string]any{}
		within := m.Get(fd).Message()
		for j := range fd.Message().Fields().Len() {
			of := fd.Message().Fields().Get(j)
			inner[string(of.Name())] = nil
			if within.Has(of) {
				inner[string(of.Name())] = within.Get(of).Interface()
			}
		}
		got[string(fd.Name())] = inner
	}
	return got
}
