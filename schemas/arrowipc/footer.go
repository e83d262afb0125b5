package arrowipc

import (
	"encoding/binary"

	"github.com/millrace/millrace/schemas/arrowipc/flatbuffer"
)

// Footer is what stands at the end of a file: the schema, and where the messages lie. By the format
// it counts alone, and what stands before the first of the messages need not be one (Arrow's
// File.fbs; Polars writes the schema there without the prefix of a message).
type Footer struct {
	Schema   Message // of KindSchema
	Messages []int64 // where they begin, dictionaries first
}

// ReadFooter reads the flatbuffer of a footer.
func ReadFooter(buf []byte) (f Footer, err error) {
	root, ok := flatbuffer.Root(buf)
	if !ok {
		return f, malformed("the file's footer is no flatbuffer")
	}
	version, ok1 := root.Uint(4, 2, 0)
	schema, ok2 := root.Table(6)
	if !ok1 || !ok2 {
		return f, malformed("the file's footer reaches outside of itself")
	}
	if version != metadataV4 && version != metadataV5 {
		return f, malformed("its footer is of version V%d, want V4 or V5", version+1)
	}
	f.Schema = Message{Kind: KindSchema, header: schema, version: version}
	const block = 24 // bytes: where it begins, 8; of metadata, 4, and padding; of the body, 8
	for _, slot := range []int{8, 10} {
		at, n, ok := root.Vector(slot, block)
		if !ok {
			return f, malformed("the file's footer reaches outside of itself")
		}
		for i := range n {
			f.Messages = append(f.Messages, int64(binary.LittleEndian.Uint64(buf[at+i*block:])))
		}
	}
	return f, nil
}
