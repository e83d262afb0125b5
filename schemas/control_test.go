package schemas_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// written is a message as it is read again.
func written(m schemas.Message) *schemas.Record {
	return &schemas.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers}
}

func TestControlRecordsComeBack(t *testing.T) {
	place := schemas.Place{TopicID: uuid.New(), Partition: 3, Offset: 1 << 40}
	now := time.Now().UTC()
	mark := schemas.ReplayMark{Request: schemas.Coordinates{TopicID: uuid.New(), Partition: 1, Offset: 2, Row: 3}, At: now, Letter: place, Requests: "r", Partition: -1}
	parked := schemas.ParkedEvent{Subscription: "on-call", Event: place, ID: "id", Reason: "422", At: now, Body: []byte(`{"a":1}`)}
	accepts := schemas.Receiver{Subscription: "on-call", Address: "https://host/…", At: now}

	m, err := mark.Message("control")
	require.NoError(t, err)
	gotMark, gone, ok := schemas.ReadReplayMark(written(m))
	require.True(t, ok && !gone)
	require.Equal(t, mark, gotMark)
	deleted, gone, ok := schemas.ReadReplayMark(&schemas.Record{Key: schemas.ReplayMarkKey(mark.Request)})
	require.True(t, ok && gone)
	require.Equal(t, mark.Request, deleted.Request)
	_, _, ok = schemas.ReadParkedEvent(written(m))
	require.False(t, ok)

	got, gone, ok := schemas.ReadParkedEvent(written(parked.Message("control")))
	require.True(t, ok && !gone)
	require.Equal(t, parked, got)
	got, gone, ok = schemas.ReadParkedEvent(&schemas.Record{Key: parked.Key()})
	require.True(t, ok && gone)
	require.Equal(t, schemas.ParkedEvent{Subscription: "on-call", Event: place}, got)
	for _, body := range [][]byte{nil, make([]byte, schemas.MaxSmallRecordBytes)} {
		parked.Body = body
		large := parked.Message("control")
		require.NotNil(t, large.Value, "that would delete it")
		require.Empty(t, large.Value)
	}

	m, err = accepts.Message("control")
	require.NoError(t, err)
	gotAccepts, ok := schemas.ReadReceiver(written(m))
	require.True(t, ok)
	require.Equal(t, accepts, gotAccepts)
}

// FuzzControl: whatever lies on a control topic is read or passed over.
func FuzzControl(f *testing.F) {
	for _, key := range []string{"", "replayed/", "parked/a/", "accepts/a", "replayed/6d2c3c2e-94a1-4ad6-8f2b-0f3e7a3c9b11/0/7/1", "parked/a/6d2c3c2e-94a1-4ad6-8f2b-0f3e7a3c9b11/0/7"} {
		f.Add([]byte(key), []byte(`{"at":"2026-01-01T00:00:00Z"}`))
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		rec := &schemas.Record{Key: key, Value: value}
		if mark, _, ok := schemas.ReadReplayMark(rec); ok {
			again, ok := schemas.ParseCoordinates(string(mark.Request.AppendID(nil)))
			require.True(t, ok)
			require.Equal(t, mark.Request, again)
		}
		if parked, _, ok := schemas.ReadParkedEvent(rec); ok {
			again, gone, ok := schemas.ReadParkedEvent(&schemas.Record{Key: parked.Key()})
			require.True(t, ok && gone)
			require.Equal(t, parked.Event, again.Event)
		}
		if accepts, ok := schemas.ReadReceiver(rec); ok {
			require.NotEmpty(t, accepts.Subscription)
		}
	})
}
