package schemas

import (
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Header is one Kafka record header.
type Header struct {
	Key   string
	Value []byte
}

// Coordinates name one request for ever: they are its lineage through results,
// observations, dead letters and feedback. The topic's id is used and not its name,
// since a topic deleted and made again starts a new count.
type Coordinates struct {
	TopicID   uuid.UUID
	Partition int32
	Row       int32 // row within the record; 0 for one-request records
	Offset    int64
}

// AppendID appends the default request id, "<topic id>/<partition>/<offset>", followed by
// "/<row>" for rows after the first.
func (c Coordinates) AppendID(dst []byte) []byte {
	var text [36]byte
	encodeUUID(&text, c.TopicID)
	dst = append(dst, text[:]...)
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, int64(c.Partition), 10)
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, c.Offset, 10)
	if c.Row > 0 {
		dst = append(dst, '/')
		dst = strconv.AppendInt(dst, int64(c.Row), 10)
	}
	return dst
}

func encodeUUID(dst *[36]byte, id uuid.UUID) {
	const hex = "0123456789abcdef"
	at := 0
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst[at] = '-'
			at++
		}
		dst[at], dst[at+1] = hex[b>>4], hex[b&15]
		at += 2
	}
}

// Record is one Kafka record as it was fetched. Key, Value and header values belong to
// the fetch: they are valid until the batch that they came with is ended, and must not
// be changed.
type Record struct {
	Topic     string
	TopicID   uuid.UUID
	Partition int32
	Offset    int64
	Timestamp time.Time // when it was appended (or created, where the topic says so); see Untimed
	Untimed   bool      // its time is unset or outside of 1970 to 2199: Timestamp is when it was read
	Key       []byte
	Value     []byte
	Headers   []Header
	Fault     *RequestError // of a record that stands for a batch that could not be read; nil for all others
}

// Coordinates returns the record's coordinates, row 0.
func (r *Record) Coordinates() Coordinates {
	return Coordinates{TopicID: r.TopicID, Partition: r.Partition, Offset: r.Offset}
}

// Header returns the value of the last header of that key, and whether there is one.
func (r *Record) Header(key string) ([]byte, bool) {
	for _, v := range slices.Backward(r.Headers) {
		if v.Key == key {
			return v.Value, true
		}
	}
	return nil, false
}

// HeaderText returns the same as text, "" if there is none.
func (r *Record) HeaderText(key string) string {
	v, _ := r.Header(key)
	return string(v)
}

// HeaderName returns the same as a name, "" where it could be none: it is longer than a topic's
// may be, or no text.
func (r *Record) HeaderName(key string) string {
	v, _ := r.Header(key)
	if len(v) > 249 || !utf8.Valid(v) {
		return ""
	}
	return string(v)
}

// AnyPartition lets the key choose the partition of a Message.
const AnyPartition int32 = -1

// Message is one Kafka record to be produced. Key, Value and header values must stay
// unchanged until the transaction or produce call that they are part of has ended.
type Message struct {
	Topic     string
	Partition int32 // AnyPartition: chosen by hash of the key
	Key       []byte
	Value     []byte
	Headers   []Header
}
