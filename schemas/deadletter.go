package schemas

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// WholeRecord is the row of a dead letter that is of the record as a whole.
const WholeRecord = -1

// deadLetterHeaders are those that a dead letter has beside the headers of its record.
var deadLetterHeaders = []string{
	HeaderModel, HeaderVersion, HeaderErrorClass, HeaderReason, HeaderTopic,
	HeaderTopicID, HeaderPartition, HeaderOffset, HeaderRow, HeaderFailedAt, HeaderCut,
}

// FailedAtFormat is the format of HeaderFailedAt, of a time in UTC.
const FailedAtFormat = "2006-01-02T15:04:05.000000Z"

// DeadLetter is what the headers of a dead letter say. Its key, its value and its other headers are
// those of the record that it was made of.
type DeadLetter struct {
	Class          ErrorClass
	Reason         string // any bytes
	Model, Version string // "" where they are not known, or could be no names
	Topic          string
	Request        Coordinates
	Row            int // WholeRecord, or that of Request
	FailedAt       time.Time
	// Unusable are headers that are missing or damaged. Nothing is lost for that: what they should
	// say is that of the letter itself, and the class malformed.
	Unusable []string
}

// ReadDeadLetter reads a record of the dead-letter topic.
func ReadDeadLetter(rec *Record) DeadLetter {
	d := DeadLetter{
		Class: ErrorClass(rec.HeaderText(HeaderErrorClass)), Reason: rec.HeaderText(HeaderReason),
		Model: rec.HeaderName(HeaderModel), Version: rec.HeaderName(HeaderVersion), Topic: rec.HeaderName(HeaderTopic), Row: WholeRecord,
	}
	if !slices.Contains(ErrorClasses(), d.Class) {
		d.Class = ErrorClassMalformed
		d.Unusable = append(d.Unusable, HeaderErrorClass)
	}
	if d.Topic == "" {
		d.Topic = rec.Topic
		d.Unusable = append(d.Unusable, HeaderTopic)
	}
	var known bool
	if d.Request, known = DeadLetterCoordinates(rec); !known {
		d.Request = rec.Coordinates()
		d.Unusable = append(d.Unusable, HeaderTopicID, HeaderPartition, HeaderOffset)
	} else if _, one := rec.Header(HeaderRow); one {
		d.Row = int(d.Request.Row)
	}
	var err error
	if d.FailedAt, err = time.Parse(time.RFC3339, rec.HeaderText(HeaderFailedAt)); err != nil {
		d.FailedAt = rec.Timestamp
		d.Unusable = append(d.Unusable, HeaderFailedAt)
	}
	return d
}

// OfDeadLetter tells whether a header of that key says something of a dead letter, and is none of
// the record that it was made of.
func OfDeadLetter(header string) bool { return slices.Contains(deadLetterHeaders, header) }

// NewDeadLetter returns the dead letter of a record: its bytes and headers, and why it could
// not be answered. model and version are empty where they are not known. It borrows the
// record's bytes.
//
// row is WholeRecord, or says that the letter is of one row of a record of many: rec then
// has that row's request as its value. A request id in the headers becomes the row's.
//
// A record of which the dead letter would exceed what its topic takes, which compression
// lets through to the requests topic, is cut, and says so: its longest parts to the same
// length, so that short headers stay whole.
func NewDeadLetter(topic string, rec *Record, row int, fault *RequestError, model, version string, now time.Time) Message {
	key, value, original, reason := rec.Key, rec.Value, rec.Headers, shorten(fault.Reason)
	whole := sizeCut(rec, math.MaxInt)
	if whole > maxOriginalBytes {
		limit := maxOriginalBytes
		for sizeCut(rec, limit) > maxOriginalBytes && limit > 0 {
			limit = limit * 3 / 4
		}
		key, value, original = cut(rec.Key, limit), cut(rec.Value, limit), nil
		if limit > 0 {
			for _, h := range rec.Headers {
				original = append(original, Header{Key: h.Key, Value: cut(h.Value, limit)})
			}
		} else { // so many headers, or with such keys, that they do not fit whatever they hold
			limit = maxOriginalBytes / 2
			key, value = cut(rec.Key, limit), cut(rec.Value, limit)
		}
		reason += fmt.Sprintf(" (the dead letter is cut: the record has %d bytes)", whole)
	}
	headers := make([]Header, 0, len(original)+11)
	for _, h := range original {
		if h.Key == HeaderRequestID && len(h.Value) > 0 && row > 0 {
			h.Value = strconv.AppendInt(append(slices.Clone(h.Value), '/'), int64(row), 10)
		}
		if !strings.HasPrefix(h.Key, "millrace-") || h.Key == HeaderReplayOf {
			headers = append(headers, h)
		}
	}
	add := func(key, value string) {
		headers = append(headers, Header{Key: key, Value: []byte(value)})
	}
	add(HeaderErrorClass, string(fault.Class))
	add(HeaderReason, reason)
	add(HeaderTopic, rec.Topic)
	add(HeaderTopicID, rec.TopicID.String())
	add(HeaderPartition, strconv.Itoa(int(rec.Partition)))
	add(HeaderOffset, strconv.FormatInt(rec.Offset, 10))
	if row != WholeRecord {
		add(HeaderRow, strconv.Itoa(row))
	}
	add(HeaderModel, model)
	add(HeaderVersion, version)
	add(HeaderFailedAt, now.UTC().Format(FailedAtFormat))
	if whole > maxOriginalBytes {
		add(HeaderCut, strconv.Itoa(whole))
	}
	return Message{Topic: topic, Partition: AnyPartition, Key: key, Value: value, Headers: headers}
}

// maxOriginalBytes is how much of a record a dead letter has room for, beside its own
// headers and what Kafka adds.
const maxOriginalBytes = MaxDeadLetterBytes - 64<<10

// maxReasonBytes bounds a fault's reason in the headers of its dead letter.
const maxReasonBytes = 1024

// shorten cuts a longer reason between two runes and says so with an ellipsis.
func shorten(reason string) string {
	const ellipsis = "…"
	if len(reason) <= maxReasonBytes {
		return reason
	}
	end := maxReasonBytes - len(ellipsis)
	for end > 0 && !utf8.RuneStart(reason[end]) {
		end--
	}
	return reason[:end] + ellipsis
}

// headerBytes is what Kafka adds to a header, at most.
const headerBytes = 10

// sizeCut is the size of a record of which each part is cut to a limit. The keys of
// headers are not cut.
func sizeCut(rec *Record, limit int) int {
	size := min(len(rec.Key), limit) + min(len(rec.Value), limit)
	for _, h := range rec.Headers {
		size += len(h.Key) + min(len(h.Value), limit) + headerBytes
	}
	return size
}

// cut returns the start of b; nil stays nil.
func cut(b []byte, limit int) []byte { return b[:min(len(b), limit)] }

// ReplayOf returns the request that a dead letter was made of, for the topic and the partition
// that it came from, and marks it as a replay. A letter that does not say where that is gets
// an empty topic, or AnyPartition.
func ReplayOf(letter *Record) Message {
	c, known := DeadLetterCoordinates(letter)
	m := Message{Topic: letter.HeaderText(HeaderTopic), Partition: AnyPartition, Key: letter.Key, Value: letter.Value}
	if known {
		m.Partition = c.Partition
	}
	for _, h := range letter.Headers {
		if !strings.HasPrefix(h.Key, "millrace-") {
			m.Headers = append(m.Headers, h)
		}
	}
	m.Headers = append(m.Headers, Header{Key: HeaderReplayOf, Value: c.AppendID(nil)})
	return m
}

// DeadLetterCoordinates returns the coordinates of the request that a dead letter was made of, and
// whether the letter tells them all.
func DeadLetterCoordinates(letter *Record) (Coordinates, bool) {
	id := letter.HeaderText(HeaderTopicID) + "/" + letter.HeaderText(HeaderPartition) + "/" + letter.HeaderText(HeaderOffset)
	if row, ok := letter.Header(HeaderRow); ok {
		id += "/" + string(row)
	}
	return ParseCoordinates(id)
}
