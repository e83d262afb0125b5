package dataset

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/parquet-go/parquet-go/format"

	"github.com/millrace/millrace/schemas/arrowipc"
)

// durations tags the columns of durations, for which Parquet has no type: they are integers whose unit
// stands only in the schema of Arrow that Arrow's writers and Polars keep beside, a message of Arrow IPC in
// base64 by the key ARROW:schema. Pandas writes nanoseconds and Polars microseconds. What of it cannot be
// read says nothing.
func durations(meta *format.FileMetaData, fields []arrow.Field, leaves []*pqLeaf) {
	for _, pair := range meta.KeyValueMetadata {
		if pair.Key != "ARROW:schema" {
			continue
		}
		text, err := base64.StdEncoding.DecodeString(pair.Value)
		if err != nil || len(text) < 8 {
			return
		}
		if binary.LittleEndian.Uint32(text) == 0xffffffff {
			text = text[8:]
		} else {
			text = text[4:] // as Arrow wrote messages before 0.15
		}
		m, err := arrowipc.ReadMetadata(text)
		if err != nil || m.Kind != arrowipc.KindSchema {
			return
		}
		schema, err := m.Schema(maxColumns, false)
		if err != nil {
			return
		}
		units := map[string]arrow.TimeUnit{}
		for _, f := range schema.Fields {
			if f.Stored.ID == arrowipc.Duration {
				units[f.Name] = f.Stored.Unit
			}
		}
		for i, leaf := range leaves {
			if unit, ok := units[fields[i].Name]; ok && leaf != nil && leaf.kind == kindInt64 && leaf.logical == pqPlain {
				tagUnit(&fields[i], unit)
			}
		}
		return
	}
}
