package arrowipc

import (
	"encoding/binary"

	"github.com/millrace/millrace/schemas/arrowipc/flatbuffer"
)

// Kinds of messages: members of the union MessageHeader of Arrow's Message.fbs.
const (
	KindEnd         = 0 // no message, but the end of the stream
	KindSchema      = 1
	KindDictionary  = 2
	KindRecordBatch = 3
)

// Metadata versions. They differ in unions only, which are passed over.
const (
	metadataV4 = 3
	metadataV5 = 4
)

// endOfStream ends a stream.
var endOfStream = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// Message is one encapsulated message. What it holds are slices of what it was read from.
type Message struct {
	Kind      int
	BodyBytes int64 // as the metadata says
	header    flatbuffer.Table
	version   uint64
	raw       []byte // all of it: prefix, metadata, body
	body      []byte
}

// ReadMetadata reads the metadata of a message, which lie between its prefix of eight bytes and
// its body.
func ReadMetadata(metadata []byte) (m Message, err error) {
	root, ok := flatbuffer.Root(metadata)
	if !ok {
		return m, malformed("a message's metadata is no flatbuffer")
	}
	version, ok1 := root.Uint(4, 2, 0)
	kind, ok2 := root.Uint(6, 1, 0)
	header, ok3 := root.Table(8)
	size, ok4 := root.Uint(10, 8, 0)
	if !ok1 || !ok2 || !ok3 || !ok4 || size > 1<<62 {
		return m, malformed("a message's metadata reaches outside of itself")
	}
	if version != metadataV4 && version != metadataV5 {
		return m, malformed("its metadata is of version V%d, want V4 or V5", version+1)
	}
	if kind < KindSchema || kind > KindRecordBatch {
		return m, malformed("it has a message of kind %d", kind)
	}
	return Message{Kind: int(kind), header: header, BodyBytes: int64(size), version: version}, nil
}

// nextMessage takes one message off data.
func nextMessage(data []byte) (m Message, rest []byte, err error) {
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
	if m, err = ReadMetadata(data[8 : 8+size]); err != nil {
		return m, nil, err
	}
	after := data[8+size:]
	if m.BodyBytes > int64(len(after)) {
		return m, nil, malformed("it ends in a message's body: %d bytes of %d are there", len(after), m.BodyBytes)
	}
	end := 8 + size + m.BodyBytes
	m.raw, m.body = data[:end:end], after[:m.BodyBytes:m.BodyBytes]
	return m, data[end:], nil
}

// aligned refuses a message that readers of only the latest version, whose parts lie at multiples
// of eight bytes, may not bear.
func (m *Message) aligned() error {
	if m.version != metadataV5 {
		return malformed("its metadata is of version V%d, want V5", m.version+1)
	}
	if len(m.raw)%8 != 0 || len(m.body)%8 != 0 {
		return malformed("a message of %d bytes, %d of them its body, is not aligned", len(m.raw), len(m.body))
	}
	return nil
}
