package schemas

import (
	"fmt"
	"slices"
)

// Compression says how record batches that millrace produces are compressed, by the words of
// Kafka's compression.type.
type Compression string

// The compressions of Kafka. Clients in pure Python and JavaScript read none and gzip without
// further packages.
const (
	CompressionNone   Compression = "none"
	CompressionGzip   Compression = "gzip"
	CompressionSnappy Compression = "snappy"
	CompressionLZ4    Compression = "lz4"
	CompressionZstd   Compression = "zstd"
)

// Validate refuses other words. None at all is CompressionSnappy.
func (c Compression) Validate() error {
	if c == "" || slices.Contains([]Compression{CompressionNone, CompressionGzip, CompressionSnappy, CompressionLZ4, CompressionZstd}, c) {
		return nil
	}
	return fmt.Errorf("must be none, gzip, snappy, lz4 or zstd, got %q", string(c))
}
