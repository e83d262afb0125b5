package history

import (
	"context"
	"fmt"
	"time"

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

// Latencies returns the 99th percentile of latency_us of the answered rows of windows: the value of
// rank ⌈n·p⌉, and as its interval those of the ranks n·p ± 1.96·√(n·p·(1-p)), rounded outward (David
// and Nagaraja 2003, 7.1); below 500 rows there is none. starts are the starts of windows,
// ascending. Rows are counted by distinct latency, so that the answer is exact whatever their number.
func (s *Store) Latencies(ctx context.Context, m *schemas.Manifest, starts []time.Time) ([]profile.Latency, error) {
	if len(starts) == 0 {
		return nil, nil
	}
	if steps(m) != nil {
		return apart(m, starts, func(m *schemas.Manifest, starts []time.Time) ([]profile.Latency, error) {
			return s.Latencies(ctx, m, starts)
		})
	}
	t := s.rowsOf(m)
	q := qualityCount{t: t, span: t.span(starts), starts: starts}
	var rows []struct {
		Window uint32 `ch:"w"`
		Rows   uint64 `ch:"requests"`
		P99    int64  `ch:"p99"`
		Low    int64  `ch:"low"`
		High   int64  `ch:"high"`
	}
	if err := s.conn.Select(ctx, &rows, fmt.Sprintf(`SELECT w, sum(c) AS requests, minIf(value, below >= ceil(n * %[1]v)) AS p99,
  minIf(value, below >= greatest(1, floor(n * %[1]v - %[2]v * sqrt(n * %[1]v * (1 - %[1]v))))) AS low,
  minIf(value, below >= least(toFloat64(n), ceil(n * %[1]v + %[2]v * sqrt(n * %[1]v * (1 - %[1]v))))) AS high
FROM (
  SELECT w, value, c, n, sum(c) OVER (PARTITION BY w ORDER BY value ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS below
  FROM (
    SELECT "0w" AS w, "0v" AS value, "0c" AS c, sum("0c") OVER (PARTITION BY "0w") AS n
    FROM (SELECT toUInt32(%[3]s) AS "0w", latency_us AS "0v", count() AS "0c" FROM %[4]s WHERE %[5]s GROUP BY "0w", "0v")
  )
)
GROUP BY w ORDER BY w`, latencyLevel, deviations95, t.index(q.span.Start), t.observations(), t.where(q.span)+t.only(q.span, starts))); err != nil {
		return nil, fmt.Errorf("read the latency of %s version %s: %w", m.Name, m.Version, err)
	}
	out := make([]profile.Latency, len(starts))
	for _, r := range rows {
		at, err := q.index(r.Window)
		if err != nil {
			return nil, fmt.Errorf("latency: %w", err)
		}
		out[at] = profile.Latency{Requests: r.Rows, P99: float64(r.P99)}
		if r.Rows >= minLatencyRows {
			out[at].Low, out[at].High, out[at].Known = float64(r.Low), float64(r.High), true
		}
	}
	return out, nil
}
