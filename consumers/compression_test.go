package consumers_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// TestCompression: what is produced is compressed as configured, and by snappy where nothing is;
// observations are always compressed by snappy.
func TestCompression(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	for i, compression := range []schemas.Compression{schemas.CompressionNone, schemas.CompressionGzip, schemas.CompressionSnappy, schemas.CompressionLZ4, schemas.CompressionZstd, ""} {
		want := uint8(i)
		if compression == "" {
			want = uint8(kgo.CodecSnappy)
		}

		results, observations := f.topic(fmt.Sprint("results", i), 1, nil), f.topic(fmt.Sprint("observations", i), 1, nil)
		conn := f.conn
		conn.Compression = compression
		client, err := conn.Dial(kgo.ConsumeTopics(results, observations), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		require.NoError(t, err)
		defer client.Close()
		value := []byte(strings.Repeat("compressible ", 1000))
		for _, rec := range []*kgo.Record{
			{Topic: results, Key: []byte("key"), Value: value, Headers: []kgo.RecordHeader{{Key: "request-id", Value: []byte("1")}, {Key: "null"}}},
			{Topic: observations, Key: []byte("model"), Value: value, Headers: []kgo.RecordHeader{{Key: schemas.HeaderModel, Value: []byte("model")}, {Key: schemas.HeaderRows, Value: []byte("3")}}},
		} {
			require.NoError(t, client.ProduceSync(t.Context(), rec).FirstErr())
		}
		for read := 0; read < 2; {
			fetches := client.PollFetches(t.Context())
			require.NoError(t, fetches.Err())
			fetches.EachRecord(func(rec *kgo.Record) {
				read++
				require.Equal(t, value, rec.Value)
				if rec.Topic == results {
					require.Equal(t, want, rec.Attrs.CompressionType(), "%q", compression)
				} else {
					require.EqualValues(t, kgo.CodecSnappy, rec.Attrs.CompressionType(), "%q", compression)
				}
			})
		}
	}
}

// TestCompressionOfAnything: whatever the bytes of a batch are, they are compressed.
func TestCompressionOfAnything(t *testing.T) {
	const seed = 1
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 20_000 {
		b := make([]byte, rnd.IntN(24))
		for i := range b {
			b[i] = byte(rnd.IntN(256)) >> rnd.IntN(8)
		}
		require.False(t, consumers.IsObservation(b), "seed %d: %x", seed, b)
	}
}

// TestCompressionConfigured refuses words that Kafka does not have.
func TestCompressionConfigured(t *testing.T) {
	require.NoError(t, schemas.CompressionLZ4.Validate())
	require.NoError(t, schemas.Compression("").Validate())
	require.EqualError(t, schemas.Compression("brotli").Validate(), `must be none, gzip, snappy, lz4 or zstd, got "brotli"`)
}
