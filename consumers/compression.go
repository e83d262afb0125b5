package consumers

import (
	"bytes"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// compressor compresses observations by snappy, whatever is configured: they are most of what a
// worker produces, and only millrace reads them. All else is compressed as configured. A client
// has one compressor for all of its topics and does not tell it the topic, so a batch is known by
// the headers of its first record. It is safe for concurrent use.
type compressor struct {
	observations kgo.Compressor
	others       kgo.Compressor // nil is none
}

// compression returns the option of a client that produces. A word that is no compression, which
// the configuration refuses, is none.
func compression(c schemas.Compression) kgo.Opt {
	codec := map[schemas.Compression]kgo.CompressionCodec{
		"":                        kgo.SnappyCompression(),
		schemas.CompressionGzip:   kgo.GzipCompression().WithLevel(1), // half of the CPU of the usual 6, for a tenth more bytes
		schemas.CompressionSnappy: kgo.SnappyCompression(),
		schemas.CompressionLZ4:    kgo.Lz4Compression(),
		schemas.CompressionZstd:   kgo.ZstdCompression().WithLevel(1),
	}[c]
	observations, _ := kgo.DefaultCompressor(kgo.SnappyCompression()) // it fails at codecs that kgo does not have
	others, _ := kgo.DefaultCompressor(codec)
	return kgo.WithCompressor(&compressor{observations: observations, others: others})
}

// Compress implements kgo.Compressor.
func (c *compressor) Compress(dst *bytes.Buffer, src []byte, flags ...kgo.CompressFlag) ([]byte, kgo.CompressionCodecType) {
	chosen := c.others
	if isObservation(src) {
		chosen = c.observations
	}
	if chosen == nil {
		return src, kgo.CodecNone
	}
	return chosen.Compress(dst, src, flags...)
}

// isObservation tells whether the first record of a batch says how many rows it holds, which
// observation records do. The layout is that of Kafka's record batches, magic 2.
func isObservation(records []byte) bool {
	at := 0
	next := func() int { // a varint in zigzag, or -1 where there is none
		v, n := binary.Varint(records[at:])
		if n <= 0 || v > int64(len(records)) {
			return -1
		}
		at += n
		return int(v)
	}
	skip := func() (skipped []byte, ok bool) { // a length of which -1 is null, and the bytes
		n := max(next(), 0)
		if n > len(records)-at {
			return nil, false
		}
		at += n
		return records[at-n : at], true
	}
	next() // length
	at++   // attributes
	if at > len(records) {
		return false
	}
	next() // timestamp
	next() // offset
	if _, ok := skip(); !ok {
		return false // key
	}
	if _, ok := skip(); !ok {
		return false // value
	}
	for range next() {
		key, ok := skip()
		if !ok {
			return false
		}
		if string(key) == schemas.HeaderRows {
			return true
		}
		if _, ok := skip(); !ok {
			return false
		}
	}
	return false
}
