// Package storetest gives tests a recorder's way with a Store, and observations for it.
package storetest

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/arrowipc"
	"github.com/millrace/millrace/schemas/observe"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/store"
)

// Recorder is a Store that gives each call a lease.
type Recorder struct {
	*Bare
	Lease time.Duration
}

// Bare is the Store of a Recorder, for calls with a lease of the test's own.
type Bare = store.Store

// The leases of calls.
const (
	CallLease  = time.Minute     // longer than any call of a test takes on any machine: what a repeated call says that it did is less
	HastyLease = 3 * time.Second // of NewHasty
)

// New returns a recorder whose memory the test's end checks.
func New(tb testing.TB, c *clickhouse.Client) Recorder {
	tb.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	tb.Cleanup(func() { mem.AssertSize(tb, 0) })
	return Recorder{store.New(c, schemas.DefaultTopics(), mem), CallLease}
}

// NewHasty is New for where the ends of calls are unknown, and waited for.
func NewHasty(tb testing.TB, c *clickhouse.Client) Recorder {
	tb.Helper()
	s := New(tb, c)
	s.Lease = HastyLease
	return s
}

// Store settles, and repeats a call that was too slow, as a recorder does.
func (s Recorder) Store(ctx context.Context, records []schemas.Record, replay bool) (store.Stats, error) {
	for {
		if replay {
			if err := s.Settle(ctx, schemas.Lease{}); err != nil {
				return store.Stats{}, err
			}
		}
		at, err := s.Now(ctx)
		if err != nil {
			return store.Stats{}, err
		}
		stats, err := s.Bare.Store(ctx, records, replay, schemas.Lease{Announced: at, Deadline: at.Add(s.Lease)})
		if err == nil || !strings.Contains(err.Error(), "the deadline of this insert has passed") {
			return stats, err
		}
		replay = true
	}
}

// LeaseTo is a lease that was announced some time before.
func LeaseTo(deadline time.Time) schemas.Lease {
	return schemas.Lease{Announced: deadline.Add(-2 * time.Hour), Deadline: deadline}
}

// Observations returns n records of rows rows each, of one partition, one after another.
func Observations(tb testing.TB, m *schemas.Manifest, n, rows int, opts ...ipc.Option) []schemas.Record {
	tb.Helper()
	records := make([]schemas.Record, n)
	for i := range records {
		records[i] = observetest.Observations(tb, int64(i), observetest.Batch{
			Manifest: m, Rows: rows, Partition: int32(i % 3), Offset: int64(i * rows), Failed: 100,
		}, opts...)
	}
	return records
}

// ReplayRows is how many rows ReplayRecords hold: those of 12 records of 500.
const ReplayRows = 12 * 500

// ReplayRecords returns records of observations of version v1 of the model flights.
func ReplayRecords(tb testing.TB, opts ...ipc.Option) []schemas.Record {
	tb.Helper()
	return Observations(tb, observetest.Manifest("flights", "v1"), 12, 500, opts...)
}

// RequireExact checks that the rows of the offsets 0 to n-1 of flights are stored once each
// and that the minute states say the same.
func RequireExact(tb testing.TB, c *clickhouse.Client, n int) {
	tb.Helper()
	require.EqualValues(tb, n, clickhousetest.Count(tb, c, "SELECT count() AS n FROM {db}.observations_flights"))
	require.EqualValues(tb, n, clickhousetest.Count(tb, c, "SELECT uniqExact(request_partition, request_offset) AS n FROM {db}.observations_flights"))
	RequireMinutes(tb, c)
}

// RequireMinutes checks minute_statistics against the rows of flights.
func RequireMinutes(tb testing.TB, c *clickhouse.Client) {
	tb.Helper()
	rows := `SELECT version, variant, toStartOfMinute(toDateTime(scored_at, 'UTC')) AS minute, count() AS requests,
		countIf(outcome = 'failed') AS failed, countIf(error_class = 'inference_failed') AS inference_failed, max(latency_us) AS latency_max_us,
		round(avg(latency_us), 1) AS latency_mean_us, round(avg(probability), 6) AS score_mean
		FROM {db}.observations_flights GROUP BY version, variant, minute`
	statistics := `SELECT version, variant, minute, requests, failed, errors['inference_failed'] AS inference_failed, latency_max_us,
		latency_mean_us, round(score_mean, 6) AS score_mean
		FROM {db}.minute_statistics WHERE model = 'flights'`
	require.NotZero(tb, clickhousetest.Count(tb, c, "SELECT count() AS n FROM ("+rows+")"))
	require.Zero(tb, clickhousetest.Count(tb, c, "SELECT count() AS n FROM ("+rows+" EXCEPT "+statistics+")"))
	require.Zero(tb, clickhousetest.Count(tb, c, "SELECT count() AS n FROM ("+statistics+" EXCEPT "+rows+")"))
}

// Splice returns the stream that the records, all of one schema, are inserted as.
func Splice(tb testing.TB, records []schemas.Record) net.Buffers {
	tb.Helper()
	r := observe.NewReader()
	var stream net.Buffers
	for i := range records {
		s, messages, err := r.Read(&records[i], func(schemas.Coordinates, int64) {})
		require.NoError(tb, err)
		if i == 0 {
			stream = append(stream, s.Message())
		}
		stream = append(stream, messages)
	}
	return append(stream, arrowipc.AppendEnd(nil))
}
