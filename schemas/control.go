package schemas

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Records of the control topic. It is compacted: of each key the last record stays, and a
// record without a value deletes its key. The first word of a key is the kind of its record,
// so that readers pass over kinds that they do not know.

// The kinds of control records.
const (
	controlReplayed = "replayed" // a dead letter that was replayed
	controlParked   = "parked"   // an event that a receiver has refused
	controlAccepts  = "accepts"  // a receiver that has accepted an event
)

// ReplayMark says that the request of a dead letter was sent again. It is written in the
// transaction that sends it: a request was sent if and only if it is marked.
type ReplayMark struct {
	Request Coordinates // of the request that became the letter; the key

	At        time.Time // when it was sent
	Letter    Place     // where the letter lies: the mark is of no use when it is gone
	Requests  string    // the topic that it was sent to
	Partition int32     // AnyPartition where the request's own was not there
}

// Place is where a record lies.
type Place struct {
	TopicID   uuid.UUID `json:"topic_id"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
}

// replayMark is the value of a ReplayMark.
type replayMark struct {
	At        time.Time `json:"at"`
	Letter    Place     `json:"letter"`
	Requests  string    `json:"requests,omitempty"`
	Partition int32     `json:"partition"`
}

// ReplayMarkKey returns the key of the mark of a request.
func ReplayMarkKey(request Coordinates) []byte {
	return request.AppendID([]byte(controlReplayed + "/"))
}

// Message returns the mark as a record of a control topic.
func (m ReplayMark) Message(control string) (Message, error) {
	value, err := json.Marshal(replayMark{m.At.UTC(), m.Letter, m.Requests, m.Partition})
	if err != nil {
		return Message{}, fmt.Errorf("encode the mark of a replay: %w", err)
	}
	return Message{Topic: control, Partition: AnyPartition, Key: ReplayMarkKey(m.Request), Value: value}, nil
}

// ReadReplayMark reads a control record. gone tells that the mark was deleted, and then only
// its request is known; ok tells that the record is a mark at all.
func ReadReplayMark(rec *Record) (m ReplayMark, gone, ok bool) {
	kind, id, _ := strings.Cut(string(rec.Key), "/")
	if kind != controlReplayed {
		return m, false, false
	}
	if m.Request, ok = ParseCoordinates(id); !ok {
		return m, false, false
	}
	if rec.Value == nil {
		return m, true, true
	}
	var v replayMark
	if json.Unmarshal(rec.Value, &v) != nil {
		return m, false, false
	}
	m.At, m.Letter, m.Requests, m.Partition = v.At, v.Letter, v.Requests, v.Partition
	return m, false, true
}

// ParseCoordinates reads what Coordinates.AppendID wrote.
func ParseCoordinates(id string) (c Coordinates, ok bool) {
	parts := strings.Split(id, "/")
	if len(parts) != 3 && len(parts) != 4 {
		return Coordinates{}, false
	}
	topic, errTopic := uuid.Parse(parts[0])
	partition, errPartition := strconv.ParseInt(parts[1], 10, 32)
	offset, errOffset := strconv.ParseInt(parts[2], 10, 64)
	row := int64(0)
	var errRow error
	if len(parts) == 4 {
		row, errRow = strconv.ParseInt(parts[3], 10, 32)
	}
	if errTopic != nil || errPartition != nil || errOffset != nil || errRow != nil || partition < 0 || offset < 0 || row < 0 {
		return Coordinates{}, false
	}
	return Coordinates{TopicID: topic, Partition: int32(partition), Offset: offset, Row: int32(row)}, true
}

// ParkedEvent is an event that the receiver of a subscription has refused. It waits for an
// operator to send it again.
type ParkedEvent struct {
	Subscription string // with Event, the key
	Event        Place  // of the event, on the events topic

	ID     string // of the event
	Reason string // what the receiver answered
	At     time.Time
	Body   []byte // empty where it was too large to be kept here
}

// Header keys of parked events.
const (
	headerEventID  = "millrace-event-id"
	headerParkedAt = "millrace-parked-at"
)

// maxParkedBytes leaves room for the key and the headers.
const maxParkedBytes = MaxSmallRecordBytes - 64<<10

// Key returns the key of the event's control record.
func (p ParkedEvent) Key() []byte {
	return Coordinates{TopicID: p.Event.TopicID, Partition: p.Event.Partition, Offset: p.Event.Offset}.
		AppendID([]byte(controlParked + "/" + p.Subscription + "/"))
}

// Message returns the event as a record of a control topic.
func (p ParkedEvent) Message(control string) Message {
	body := p.Body
	if len(body) > maxParkedBytes || body == nil {
		body = []byte{} // nil would delete it
	}
	return Message{Topic: control, Partition: AnyPartition, Key: p.Key(), Value: body, Headers: []Header{
		{Key: headerEventID, Value: []byte(p.ID)},
		{Key: HeaderReason, Value: []byte(p.Reason)},
		{Key: headerParkedAt, Value: []byte(p.At.UTC().Format(time.RFC3339Nano))},
	}}
}

// ReadParkedEvent reads a control record. gone tells that the event is parked no more, and then
// only its key is known; ok tells that the record is one of a parked event at all. The body is
// the record's.
func ReadParkedEvent(rec *Record) (p ParkedEvent, gone, ok bool) {
	kind, rest, _ := strings.Cut(string(rec.Key), "/")
	subscription, id, _ := strings.Cut(rest, "/")
	place, ok := ParseCoordinates(id)
	if kind != controlParked || subscription == "" || !ok || place.Row != 0 {
		return p, false, false
	}
	p.Subscription, p.Event = subscription, Place{TopicID: place.TopicID, Partition: place.Partition, Offset: place.Offset}
	if rec.Value == nil {
		return p, true, true
	}
	text := func(key string) string {
		v, _ := rec.Header(key)
		return string(v)
	}
	p.ID, p.Reason, p.Body = text(headerEventID), text(HeaderReason), rec.Value
	p.At, _ = time.Parse(time.RFC3339Nano, text(headerParkedAt)) // zero where it is not there
	return p, false, true
}

// Receiver says that a subscription's receiver has accepted an event: what it answers then is
// about the events, and not about who asks, or how.
type Receiver struct {
	Subscription string // the key

	Address string // public part of where it was
	At      time.Time
}

// receiver is the value of a Receiver.
type receiver struct {
	Address string    `json:"address"`
	At      time.Time `json:"at"`
}

// Message returns the receiver as a record of a control topic.
func (r Receiver) Message(control string) (Message, error) {
	value, err := json.Marshal(receiver{r.Address, r.At.UTC()})
	if err != nil {
		return Message{}, fmt.Errorf("encode that the receiver of %s accepts events: %w", r.Subscription, err)
	}
	return Message{Topic: control, Partition: AnyPartition, Key: []byte(controlAccepts + "/" + r.Subscription), Value: value}, nil
}

// ReadReceiver reads a control record; ok tells whether it says that a receiver accepts events.
func ReadReceiver(rec *Record) (r Receiver, ok bool) {
	kind, subscription, _ := strings.Cut(string(rec.Key), "/")
	var v receiver
	if kind != controlAccepts || subscription == "" || json.Unmarshal(rec.Value, &v) != nil {
		return Receiver{}, false
	}
	return Receiver{subscription, v.Address, v.At}, true
}
