package consumers

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/millrace/millrace/schemas"
)

// marker is what a recorder writes into the metadata of every commit. An offset without a marker
// is not a recorder's: an operator has set it, or a tool has copied it. A marker that names another
// topic, offset or claim is left over from before. In both cases the commit does not say what is
// stored.
type marker struct {
	topic   uuid.UUID     // the topic's id; zero in a marker of an earlier version
	at      int64         // the offset that it was committed with; -1: what lies behind it may be stored
	claim   int64         // when the group claimed the topic's rows, in microseconds since 1970
	pending int64         // the end of the announced range; 0: none is announced
	lease   schemas.Lease // of who stores up to pending, or may have begun to
}

const (
	markerPrefix = "millrace/2 "
	// earlierPrefix is the prefix of earlier markers, which did not name their topic.
	earlierPrefix = "millrace pending="
	// longestLease is more than any recorder is configured for: a marker with more is damaged.
	longestLease = 24 * time.Hour
)

// String returns the text of the marker, some 200 bytes.
func (m marker) String() string {
	text := fmt.Sprintf("%stopic=%s at=%d claim=%d", markerPrefix, m.topic, m.at, m.claim)
	if m.pending > 0 {
		text += " pending=" + strconv.FormatInt(m.pending, 10)
	}
	if !m.lease.IsZero() {
		text += fmt.Sprintf(" announced=%d deadline=%d", m.lease.Announced.UnixMicro(), m.lease.Deadline.UnixMicro())
	}
	return text
}

// parseMarker reads a commit's metadata. It tells whether it is a marker: what is damaged is none.
func parseMarker(metadata string) (m marker, ok bool) {
	if text, ok := strings.CutPrefix(metadata, earlierPrefix); ok {
		return parseEarlier(text)
	}
	text, ok := strings.CutPrefix(metadata, markerPrefix)
	if !ok {
		return marker{}, false
	}
	values := map[string]int64{}
	for field := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(field, "=")
		var err error
		if key == "topic" {
			m.topic, err = uuid.Parse(value)
		} else {
			values[key], err = strconv.ParseInt(value, 10, 64)
		}
		if err != nil {
			return marker{}, false
		}
	}
	at, hasAt := values["at"]
	if m.topic == uuid.Nil || !hasAt {
		return marker{}, false
	}
	m.at, m.claim, m.pending = at, values["claim"], values["pending"]
	if until, ok := values["deadline"]; ok {
		m.lease = schemas.Lease{Announced: time.UnixMicro(values["announced"]), Deadline: time.UnixMicro(until)}
		if span := m.lease.Deadline.Sub(m.lease.Announced); until <= 0 || span < 0 || span > longestLease {
			return marker{}, false
		}
	}
	return m, true
}

// parseEarlier reads the marker of an earlier version. It proves nothing, but what it
// announces is waited for.
func parseEarlier(text string) (marker, bool) {
	end, until, limited := strings.Cut(text, " deadline=")
	m := marker{at: -1}
	var err error
	if m.pending, err = strconv.ParseInt(end, 10, 64); err != nil {
		return marker{}, false
	}
	if micros, err := strconv.ParseInt(until, 10, 64); limited && err == nil {
		m.lease.Deadline = time.UnixMicro(micros)
		m.lease.Announced = m.lease.Deadline.Add(-maxExtension) // about: it did not say
	}
	return m, true
}
