package history

import (
	"context"
	"fmt"
	"math"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// latencyLevel is the quantile of latency that requirements are about, and deviations95 the number of
// standard errors of its rank on either side of an interval of 95 %.
const (
	latencyLevel = 0.99
	deviations95 = 1.959963984540054
)

// minLatencyRows are those from which the interval has a rank above it: below, n·0.01 is less
// than the standard errors.
const minLatencyRows = 500

// Latency reads from minute_states the 99th percentile of latency_us of the requests that were
// scored in a span, which must begin and end with minutes. Its interval is that of the ranks
// n·p ± 1.96·√(n·p·(1-p)) (David and Nagaraja 2003, 7.1); below 500 requests there is none. The
// quantiles are those of a t-digest.
func (s *Store) Latency(ctx context.Context, m *schemas.Manifest, span profile.Span) (profile.Latency, error) {
	states := fmt.Sprintf("%s.minute_states WHERE %s AND minute >= toDateTime(%d, 'UTC') AND minute < toDateTime(%d, 'UTC')",
		s.database, of(m), span.Start.Unix(), span.End.Unix())
	var counted []struct {
		Requests uint64 `ch:"n"`
	}
	if err := s.conn.Select(ctx, &counted, "SELECT sum(minute_states.requests) AS n FROM "+states); err != nil {
		return profile.Latency{}, fmt.Errorf("count requests: %w", err)
	}
	if len(counted) == 0 || counted[0].Requests == 0 {
		return profile.Latency{}, nil
	}
	n := float64(counted[0].Requests)
	wide := deviations95 * math.Sqrt(latencyLevel*(1-latencyLevel)/n)
	var rows []struct {
		Quantiles []float32 `ch:"quantiles"`
	}
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf("SELECT quantilesTDigestMerge(%v, %v, %v)(latency) AS quantiles FROM %s",
		latencyLevel-wide, latencyLevel, min(latencyLevel+wide, 1), states)); err != nil {
		return profile.Latency{}, fmt.Errorf("read the latency of %s version %s: %w", m.Name, m.Version, err)
	}
	out := profile.Latency{Requests: counted[0].Requests}
	if len(rows) > 0 && len(rows[0].Quantiles) == 3 {
		q := rows[0].Quantiles
		out.P99 = float64(q[1])
		if n >= minLatencyRows {
			out.Low, out.High, out.Known = float64(q[0]), float64(q[2]), true
		}
	}
	return out, nil
}
