package consumers_test

import (
	"context"
	"hash/crc32"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/schemas"
)

// fetched returns the only record of what a broker answers, as the client gives it.
func fetched(t *testing.T, raw []byte) *kgo.Record {
	t.Helper()
	p := kmsg.NewFetchResponseTopicPartition()
	p.RecordBatches = raw
	got, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: "t"}, &p, kgo.DefaultDecompressor(), nil)
	require.NoError(t, got.Err)
	require.Len(t, got.Records, 1)
	return got.Records[0]
}

const day = 24 * time.Hour

// Times as producers send them, through the client that wraps them.
var sentTimes = map[string]struct {
	millis int64
	usable bool
}{
	"now":                             {1_795_000_000_123, true},
	"1970":                            {1, true},
	"left out":                        {0, false},
	"the end of 2199":                 {7_258_118_399_999, true},
	"2200":                            {7_258_118_400_000, false},
	"unset":                           {-1, false},
	"1969":                            {-day.Milliseconds(), false},
	"beyond what nanoseconds reach":   {9_223_372_036_855, false},
	"2300":                            {10_413_792_000_000, false},
	"year 9999":                       {253_402_300_799_999, false},
	"microseconds":                    {1_795_000_000_123_456, false},
	"nanoseconds":                     {1_795_000_000_123_456_789, false},
	"nanoseconds, round":              {1_795_000_000_000_000_000, false},
	"a double read as an integer":     {int64(math.Float64bits(1.795e12)), false},
	"the least":                       {math.MinInt64, false},
	"the most":                        {math.MaxInt64, false},
	"nanoseconds of 2024-10-19, 20 h": {6<<58 - (4 * time.Hour).Nanoseconds(), false},
	"nanoseconds of 2024-10-20, 03 h": {6<<58 + (3 * time.Hour).Nanoseconds(), false},
	// Two hours in nine years look as some time from 1970 to 2199: nothing tells.
	"nanoseconds of 2024-10-20, 01 h": {6<<58 + time.Hour.Nanoseconds(), true},
}

func TestUsableTimesOfEveryFormat(t *testing.T) {
	t.Parallel()
	for name, sent := range sentTimes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			batch := kafkatest.TimedBatch(kafkatest.TimedRecord{Millis: sent.millis, Value: []byte("v")})
			check := func(raw []byte) {
				t.Helper()
				rec := fetched(t, raw)
				require.Equal(t, sent.usable, consumers.UsableTime(rec.Timestamp), "%s", rec.Timestamp)
			}
			check(kafkatest.Sealed(batch))
			batch.Attributes |= 1 << 3 // the time is the broker's, one for all of the batch
			check(kafkatest.Sealed(batch))
			batch.FirstTimestamp, batch.MaxTimestamp = sent.millis, 1_795_000_000_123 // what the producer said is overruled
			require.True(t, consumers.UsableTime(fetched(t, kafkatest.Sealed(batch)).Timestamp))

			message := kmsg.MessageV1{MessageSize: 4 + 1 + 1 + 8 + 4 + 4 + 1, Magic: 1, Timestamp: sent.millis, Value: []byte("v")}
			const checked = 16 // offset, size and checksum lie before it
			message.CRC = int32(crc32.ChecksumIEEE(message.AppendTo(nil)[checked:]))
			check(message.AppendTo(nil))
		})
	}
	oldest := kmsg.MessageV0{MessageSize: 4 + 1 + 1 + 4 + 4 + 1, Value: []byte("v")}
	oldest.CRC = int32(crc32.ChecksumIEEE(oldest.AppendTo(nil)[16:]))
	require.False(t, consumers.UsableTime(fetched(t, oldest.AppendTo(nil)).Timestamp), "it has no time")
}

// What is told of a product that may have wrapped is what modular arithmetic says.
func TestUsableTimesAreThoseOfTheirResidue(t *testing.T) {
	const modulus, most = 1 << 58, 7_258_118_400_000
	rapid.Check(t, func(t *rapid.T) {
		millis := rapid.OneOf(
			rapid.Int64(),
			rapid.Custom(func(t *rapid.T) int64 { // about the places where it changes
				return rapid.Int64Range(-32, 31).Draw(t, "k")*modulus + rapid.SampledFrom([]int64{0, most}).Draw(t, "edge") + rapid.Int64Range(-3, 3).Draw(t, "by")
			}),
		).Draw(t, "millis")
		residue := millis & (modulus - 1)
		if got := consumers.UsableTime(time.Unix(0, millis*1e6)); got != (residue > 0 && residue < most) {
			t.Fatalf("UsableTime of %d ms = %v, of which the residue is %d", millis, got, residue)
		}
	})
}

// A record without a usable time has that of its arrival, whoever reads it, and is counted.
func TestUntimedRecordsHaveTheTimeOfArrival(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedAddr)
	topic, unset := f.topic("requests.times", 1, nil), f.topic("unset", 1, nil)
	began := time.Now()
	var records []kafkatest.TimedRecord
	good, bad := map[string]int64{}, 0
	for name, sent := range sentTimes {
		records = append(records, kafkatest.TimedRecord{Millis: sent.millis, Key: []byte(name), Value: []byte(strconv.Itoa(len(records)))})
		if sent.usable {
			good[name] = sent.millis
		} else {
			bad++
		}
	}
	operator, err := kafkatest.NewOperator(f.conn.Brokers)
	require.NoError(t, err)
	defer operator.Close()
	require.NoError(t, operator.ProduceTimed(t.Context(), topic, 0, records...))
	check := func(got []schemas.Record) {
		t.Helper()
		require.Len(t, got, len(records))
		for i := range got {
			millis, ok := good[string(got[i].Key)]
			require.Equal(t, !ok, got[i].Untimed, "%s", got[i].Key)
			if ok && millis < 7_258_118_400_000 {
				require.Equal(t, millis, got[i].Timestamp.UnixMilli(), "%s", got[i].Key)
			} else if !ok {
				require.WithinRange(t, got[i].Timestamp, began, time.Now(), "%s", got[i].Key)
			}
		}
	}
	check(f.read(topic))
	// Kafka finds nothing by time where the last ones have none.
	var before []schemas.Record
	require.NoError(t, operator.ProduceTimed(t.Context(), unset, 0, kafkatest.TimedRecord{Millis: -1, Value: []byte("1")}))
	require.NoError(t, f.admin.ReadBefore(t.Context(), unset, 0, time.Time{}, 0, 1, func(rec *schemas.Record) error {
		before = append(before, *rec)
		return nil
	}))
	require.Len(t, before, 1)

	answered := make(chan []schemas.Record, 1)
	run, lane := f.lane(f.laneConfig("requests.", 0), handlerFunc(func(_ context.Context, records []schemas.Record, _ consumers.Publisher) error {
		copies := make([]schemas.Record, len(records))
		for i, r := range records {
			copies[i] = schemas.Record{Key: []byte(string(r.Key)), Timestamp: r.Timestamp, Untimed: r.Untimed}
		}
		answered <- copies
		return nil
	}))
	check(receive(t, answered, "a batch"))
	counted := map[string]int64{}
	lane.Untimed(func(topic string, n int64) { counted[topic] = n })
	require.Equal(t, map[string]int64{topic: int64(bad)}, counted)
	require.NoError(t, run.stop())

	m := newMemory()
	stored, recorder := f.recorder(f.recorderConfig(topic), m)
	f.stored(topic)
	clear(counted)
	recorder.Untimed(func(topic string, n int64) { counted[topic] = n })
	require.Equal(t, map[string]int64{topic: int64(bad)}, counted)
	require.NoError(t, stored.stop())
}
