package kafka

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
)

// DeadLetter shapes the dead letter of a record: its bytes and headers, and why it could
// not be answered. model and version are empty where they are not known. It borrows the
// record's bytes.
func DeadLetter(topic string, rec *schemas.Record, fault *schemas.RequestError, model, version string, now time.Time) schemas.Message {
	headers := make([]schemas.Header, 0, len(rec.Headers)+9)
	for _, h := range rec.Headers {
		if !strings.HasPrefix(h.Key, "millrace-") || h.Key == schemas.HeaderReplayOf {
			headers = append(headers, h)
		}
	}
	add := func(key, value string) {
		headers = append(headers, schemas.Header{Key: key, Value: []byte(value)})
	}
	add(schemas.HeaderErrorClass, string(fault.Class))
	add(schemas.HeaderReason, fault.Reason)
	add(schemas.HeaderTopic, rec.Topic)
	add(schemas.HeaderTopicID, rec.TopicID.String())
	add(schemas.HeaderPartition, strconv.Itoa(int(rec.Partition)))
	add(schemas.HeaderOffset, strconv.FormatInt(rec.Offset, 10))
	add(schemas.HeaderModel, model)
	add(schemas.HeaderVersion, version)
	add(schemas.HeaderFailedAt, now.UTC().Format("2006-01-02T15:04:05.000000Z"))
	return schemas.Message{Topic: topic, Partition: schemas.AnyPartition, Key: rec.Key, Value: rec.Value, Headers: headers}
}

// Replay shapes the request that a dead letter was made of, for its requests topic, and
// marks it as a replay.
func Replay(letter *schemas.Record) schemas.Message {
	var topic string
	if t, ok := letter.Header(schemas.HeaderTopic); ok {
		topic = string(t)
	}
	m := schemas.Message{Topic: topic, Partition: schemas.AnyPartition, Key: letter.Key, Value: letter.Value}
	for _, h := range letter.Headers {
		if !strings.HasPrefix(h.Key, "millrace-") {
			m.Headers = append(m.Headers, h)
		}
	}
	m.Headers = append(m.Headers, schemas.Header{Key: schemas.HeaderReplayOf, Value: LetterCoordinates(letter).AppendID(nil)})
	return m
}

// LetterCoordinates returns the coordinates of the request that a dead letter was made of.
func LetterCoordinates(letter *schemas.Record) schemas.Coordinates {
	text := func(key string) string {
		v, _ := letter.Header(key)
		return string(v)
	}
	var c schemas.Coordinates
	c.TopicID, _ = uuid.Parse(text(schemas.HeaderTopicID))
	if n, err := strconv.ParseInt(text(schemas.HeaderPartition), 10, 32); err == nil {
		c.Partition = int32(n)
	}
	c.Offset, _ = strconv.ParseInt(text(schemas.HeaderOffset), 10, 64)
	return c
}
