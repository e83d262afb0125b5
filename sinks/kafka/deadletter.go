package kafka

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/schemas"
)

// WholeRecord is the row of a dead letter that is of the record as a whole.
const WholeRecord = -1

// DeadLetter shapes the dead letter of a record: its bytes and headers, and why it could
// not be answered. model and version are empty where they are not known. It borrows the
// record's bytes.
//
// row is WholeRecord, or says that the letter is of one row of a record of many: rec then
// has that row's request as its value. A request id in the headers becomes the row's.
//
// A record of which the dead letter would exceed what its topic takes, which compression
// lets through to the requests topic, is cut, and says so: its longest parts to the same
// length, so that short headers stay whole.
func DeadLetter(topic string, rec *schemas.Record, row int, fault *schemas.RequestError, model, version string, now time.Time) schemas.Message {
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
				original = append(original, schemas.Header{Key: h.Key, Value: cut(h.Value, limit)})
			}
		} else { // so many headers, or with such keys, that they do not fit whatever they hold
			limit = maxOriginalBytes / 2
			key, value = cut(rec.Key, limit), cut(rec.Value, limit)
		}
		reason += fmt.Sprintf(" (the dead letter is cut: the record has %d bytes)", whole)
	}
	headers := make([]schemas.Header, 0, len(original)+11)
	for _, h := range original {
		if h.Key == schemas.HeaderRequestID && len(h.Value) > 0 && row > 0 {
			h.Value = strconv.AppendInt(append(slices.Clone(h.Value), '/'), int64(row), 10)
		}
		if !strings.HasPrefix(h.Key, "millrace-") || h.Key == schemas.HeaderReplayOf {
			headers = append(headers, h)
		}
	}
	add := func(key, value string) {
		headers = append(headers, schemas.Header{Key: key, Value: []byte(value)})
	}
	add(schemas.HeaderErrorClass, string(fault.Class))
	add(schemas.HeaderReason, reason)
	add(schemas.HeaderTopic, rec.Topic)
	add(schemas.HeaderTopicID, rec.TopicID.String())
	add(schemas.HeaderPartition, strconv.Itoa(int(rec.Partition)))
	add(schemas.HeaderOffset, strconv.FormatInt(rec.Offset, 10))
	if row != WholeRecord {
		add(schemas.HeaderRow, strconv.Itoa(row))
	}
	add(schemas.HeaderModel, model)
	add(schemas.HeaderVersion, version)
	add(schemas.HeaderFailedAt, now.UTC().Format("2006-01-02T15:04:05.000000Z"))
	if whole > maxOriginalBytes {
		add(schemas.HeaderCut, strconv.Itoa(whole))
	}
	return schemas.Message{Topic: topic, Partition: schemas.AnyPartition, Key: key, Value: value, Headers: headers}
}

// maxOriginalBytes is how much of a record a dead letter has room for, beside its own
// headers and what Kafka adds.
const maxOriginalBytes = schemas.MaxDeadLetterBytes - 64<<10

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
func sizeCut(rec *schemas.Record, limit int) int {
	size := min(len(rec.Key), limit) + min(len(rec.Value), limit)
	for _, h := range rec.Headers {
		size += len(h.Key) + min(len(h.Value), limit) + headerBytes
	}
	return size
}

// cut returns the start of b; nil stays nil.
func cut(b []byte, limit int) []byte { return b[:min(len(b), limit)] }

// Replay shapes the request that a dead letter was made of, for the topic and the partition
// that it came from, and marks it as a replay. A letter that does not say where that is gets
// an empty topic, or AnyPartition.
func Replay(letter *schemas.Record) schemas.Message {
	c, known := LetterCoordinates(letter)
	m := schemas.Message{Topic: headerText(letter, schemas.HeaderTopic), Partition: schemas.AnyPartition, Key: letter.Key, Value: letter.Value}
	if known {
		m.Partition = c.Partition
	}
	for _, h := range letter.Headers {
		if !strings.HasPrefix(h.Key, "millrace-") {
			m.Headers = append(m.Headers, h)
		}
	}
	m.Headers = append(m.Headers, schemas.Header{Key: schemas.HeaderReplayOf, Value: c.AppendID(nil)})
	return m
}

// LetterCoordinates returns the coordinates of the request that a dead letter was made of, and
// whether the letter tells them all.
func LetterCoordinates(letter *schemas.Record) (schemas.Coordinates, bool) {
	id := headerText(letter, schemas.HeaderTopicID) + "/" + headerText(letter, schemas.HeaderPartition) + "/" + headerText(letter, schemas.HeaderOffset)
	if row, ok := letter.Header(schemas.HeaderRow); ok {
		id += "/" + string(row)
	}
	return schemas.ParseCoordinates(id)
}

func headerText(rec *schemas.Record, key string) string {
	v, _ := rec.Header(key)
	return string(v)
}
