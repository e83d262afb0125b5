package arrowipc

import (
	"encoding/binary"

	"github.com/millrace/millrace/schemas/flatbuffer"
)

// Header types of a message.
const (
	kindSchema          = 1
	kindDictionaryBatch = 2
	kindRecordBatch     = 3
)

// Metadata versions. They differ in unions only, which are passed over.
const (
	metadataV4 = 3
	metadataV5 = 4
)

// endOfStream ends a stream.
var endOfStream = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// message is one encapsulated message. What it holds are slices of the stream.
type message struct {
	kind   uint64 // 0 at the end of the stream
	header flatbuffer.Table
	raw    []byte // all of it: prefix, metadata, body
	body   []byte
}

// nextMessage takes one message off data.
func nextMessage(data []byte) (m message, rest []byte, err error) {
	if len(data) == 0 {
		return m, nil, nil
	}
	if len(data) < 8 || binary.LittleEndian.Uint32(data) != 0xffffffff {
		return m, nil, malformed("no message starts where one should, %d bytes before the end", len(data))
	}
	size := int64(binary.LittleEndian.Uint32(data[4:]))
	if size == 0 {
		return m, data[8:], nil
	}
	if size > int64(len(data)-8) {
		return m, nil, malformed("it ends in a message's metadata: %d bytes of %d are there", len(data)-8, size)
	}
	root, ok := flatbuffer.Root(data[8 : 8+size])
	if !ok {
		return m, nil, malformed("a message's metadata is no flatbuffer")
	}
	version, ok1 := root.Uint(4, 2, 0)
	kind, ok2 := root.Uint(6, 1, 0)
	header, ok3 := root.Table(8)
	bodyLen, ok4 := root.Uint(10, 8, 0)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return m, nil, malformed("a message's metadata reaches outside of itself")
	}
	if version != metadataV4 && version != metadataV5 {
		return m, nil, malformed("its metadata is of version V%d, want V4 or V5", version+1)
	}
	if kind < kindSchema || kind > kindRecordBatch {
		return m, nil, malformed("it has a message of kind %d", kind)
	}
	after := data[8+size:]
	if bodyLen > uint64(len(after)) {
		return m, nil, malformed("it ends in a message's body: %d bytes of %d are there", len(after), bodyLen)
	}
	end := 8 + int(size) + int(bodyLen)
	return message{kind: kind, header: header, raw: data[:end:end], body: after[:bodyLen:bodyLen]}, data[end:], nil
}
