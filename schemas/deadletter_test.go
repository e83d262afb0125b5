package schemas_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func TestDeadLetterFitsItsTopic(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 20<<20)
	short := []schemas.Header{{Key: "short", Value: []byte("stays")}}
	many := make([]schemas.Header, 1_000_000)
	for i := range many {
		many[i].Key = "h"
	}
	for name, tc := range map[string]struct {
		rec     schemas.Record
		cut     bool
		headers int // of the original ones
	}{
		"small":           {schemas.Record{Key: []byte("k"), Value: long[:1000], Headers: short}, false, 1},
		"just fits":       {schemas.Record{Value: long[:schemas.MaxDeadLetterBytes-65<<10], Headers: short}, false, 1},
		"tombstone":       {schemas.Record{Headers: short}, false, 1},
		"long value":      {schemas.Record{Key: []byte("k"), Value: long, Headers: short}, true, 1},
		"long key":        {schemas.Record{Key: long, Value: []byte("v"), Headers: short}, true, 1},
		"long header":     {schemas.Record{Headers: append([]schemas.Header{{Key: "long", Value: long}}, short...)}, true, 2},
		"long header key": {schemas.Record{Value: []byte("v"), Headers: []schemas.Header{{Key: string(long)}}}, true, 0},
		"many headers":    {schemas.Record{Key: long, Value: long, Headers: many}, true, 0},
		"all long":        {schemas.Record{Key: long, Value: long, Headers: append([]schemas.Header{{Key: "long", Value: long}}, short...)}, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			rec := tc.rec
			fault := schemas.Errorf(schemas.ErrorClassTooLarge, "too large")
			m := schemas.NewDeadLetter("letters", &rec, schemas.WholeRecord, fault, "m", "1", time.Now())
			size, own := len(m.Key)+len(m.Value), 0
			var cut, reason string
			for _, h := range m.Headers {
				size += len(h.Key) + len(h.Value) + 10
				switch h.Key {
				case schemas.HeaderCut:
					cut, own = string(h.Value), own+1
				case schemas.HeaderReason:
					reason, own = string(h.Value), own+1
				case "short":
					require.Equal(t, "stays", string(h.Value))
				default:
					if len(h.Key) > 9 && h.Key[:9] == "millrace-" {
						own++
					}
				}
			}
			require.LessOrEqual(t, size, schemas.MaxDeadLetterBytes-60<<10)
			require.Equal(t, tc.headers, len(m.Headers)-own)
			require.True(t, bytes.HasPrefix(rec.Value, m.Value))
			require.True(t, bytes.HasPrefix(rec.Key, m.Key))
			require.Equal(t, rec.Value == nil, m.Value == nil)
			if !tc.cut {
				require.Empty(t, cut)
				require.Equal(t, "too large", reason)
				require.Len(t, m.Value, len(rec.Value))
				return
			}
			n, err := strconv.Atoi(cut)
			require.NoError(t, err)
			require.Greater(t, n, schemas.MaxDeadLetterBytes-64<<10)
			require.Contains(t, reason, "too large (the dead letter is cut")
		})
	}
}

func TestDeadLetterReasonIsShort(t *testing.T) {
	for _, class := range schemas.ErrorClasses() {
		for in, want := range map[string]string{
			strings.Repeat("x", 1024):         strings.Repeat("x", 1024),
			strings.Repeat("x", 1025):         strings.Repeat("x", 1021) + "…",
			strings.Repeat("é", 5000):         strings.Repeat("é", 510) + "…",
			"xx" + strings.Repeat("😀", 1<<20): "xx" + strings.Repeat("😀", 254) + "…",
		} {
			m := schemas.NewDeadLetter("letters", &schemas.Record{}, schemas.WholeRecord, schemas.Errorf(class, "%s", in), "m", "1", time.Now())
			letter := schemas.Record{Headers: m.Headers}
			reason, ok := letter.Header(schemas.HeaderReason)
			require.True(t, ok)
			require.Equal(t, want, string(reason))
			require.True(t, utf8.Valid(reason))
			require.LessOrEqual(t, len(reason), 1024)
		}
	}
}

// The letter of one row names the row, and its request keeps the id that the row had.
func TestDeadLetterOfARow(t *testing.T) {
	rec := schemas.Record{Topic: "t", Partition: 3, Offset: 42, Value: []byte("row"), Headers: []schemas.Header{{Key: "request-id", Value: []byte("r")}, {Key: schemas.HeaderRow, Value: []byte("forged")}}}
	for row, want := range map[int][]string{schemas.WholeRecord: {"r", ""}, 0: {"r", "0"}, 7: {"r/7", "7"}} {
		m := schemas.NewDeadLetter("letters", &rec, row, schemas.Errorf(schemas.ErrorClassMalformed, "x"), "m", "1", time.Now())
		letter := schemas.Record{Key: m.Key, Value: m.Value, Headers: m.Headers}
		id, _ := letter.Header(schemas.HeaderRequestID)
		number, _ := letter.Header(schemas.HeaderRow)
		require.Equal(t, want, []string{string(id), string(number)})
		c, ok := schemas.DeadLetterCoordinates(&letter)
		require.True(t, ok)
		require.EqualValues(t, max(0, row), c.Row)
		d := schemas.ReadDeadLetter(&letter)
		require.WithinDuration(t, time.Now(), d.FailedAt, time.Minute)
		d.FailedAt = time.Time{}
		require.Equal(t, schemas.DeadLetter{Class: schemas.ErrorClassMalformed, Reason: "x", Model: "m", Version: "1", Topic: "t", Request: c, Row: row}, d)
		of, _ := (&schemas.Record{Headers: schemas.ReplayOf(&letter).Headers}).Header(schemas.HeaderReplayOf)
		require.Equal(t, string(schemas.Coordinates{Partition: 3, Offset: 42, Row: int32(max(0, row))}.AppendID(nil)), string(of))
	}
	require.Equal(t, "r", string(rec.Headers[0].Value), "the record's own headers stay")
}

// A letter that says less than it should stands for itself.
func TestDeadLetterWithUnusableHeaders(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	all := []string{schemas.HeaderErrorClass, schemas.HeaderTopic, schemas.HeaderTopicID, schemas.HeaderPartition, schemas.HeaderOffset, schemas.HeaderFailedAt}
	for name, value := range map[string]string{"none": "", "no values": "?\xff"} {
		rec := schemas.Record{Topic: "letters", Partition: 1, Offset: 2, Timestamp: at}
		for _, key := range all {
			if value != "" {
				rec.Headers = append(rec.Headers, schemas.Header{Key: key, Value: []byte(value)})
			}
		}
		require.Equal(t, schemas.DeadLetter{
			Class: schemas.ErrorClassMalformed, Topic: "letters", Request: rec.Coordinates(), Row: schemas.WholeRecord, FailedAt: at, Unusable: all,
		}, schemas.ReadDeadLetter(&rec), name)
		require.True(t, schemas.OfDeadLetter(schemas.HeaderCut))
		require.False(t, schemas.OfDeadLetter(schemas.HeaderReplayOf), "it is the request's")
	}
}
