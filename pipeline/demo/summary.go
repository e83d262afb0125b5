package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/demo/flights"
	"github.com/millrace/millrace/schemas"
)

func (d *demo) query(text string) string {
	return strings.NewReplacer("{db}", d.cfg.ClickHouse.Database, "{model}", flights.Model, "{table}",
		d.cfg.ClickHouse.Database+"."+schemas.ObservationsTable(flights.Model), "{threshold}", strconv.FormatFloat(d.threshold, 'g', -1, 64)).Replace(text)
}

func (d *demo) count(ctx context.Context, query string) (uint64, error) {
	var rows []struct {
		N uint64 `ch:"n"`
	}
	if err := d.client.Select(ctx, &rows, d.query(query)); err != nil {
		return 0, err
	}
	return rows[0].N, nil
}

// summarise counts everything anew, from what is stored and not from what was counted on
// the way.
func (d *demo) summarise(ctx context.Context, took time.Duration) (*summary, error) {
	s := &summary{Requests: d.requests.Load(), ThroughputPerS: float64(d.total) / took.Seconds(), PeakRSSBytes: peakRSS()}
	admin, err := consumers.NewAdmin(d.cfg.Kafka.Connection())
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	seen := make([]bool, d.total) // by number of the flight: a repeat counts against the sum
	if err := admin.Read(ctx, d.cfg.Topics.ResultsOf(flights.Model), func(rec *schemas.Record) error {
		n, err := strconv.Atoi(strings.TrimPrefix(string(rec.Key), "f"))
		if err != nil || n < 0 || n >= len(seen) {
			return fmt.Errorf("a result for request id %q, which was never sent", rec.Key)
		}
		if seen[n] {
			s.Results--
		} else {
			s.Results++
		}
		seen[n] = true
		return nil
	}); err != nil {
		return nil, err
	}
	for _, q := range []struct {
		to    *uint64
		query string
	}{
		{&s.Observations, "SELECT if(count() = uniqExact(request_topic_id, request_partition, request_offset, request_row), count(), 0) AS n FROM {table} WHERE outcome = 'ok'"},
		{&s.Labels, "SELECT if(count() = uniqExact(request_id), count(), 0) AS n FROM {db}.feedback WHERE model = '{model}'"},
		{&s.DeadLetters, "SELECT count() AS n FROM {db}.dead_letters"},
		{&s.DriftWindows, "SELECT uniqExact(window_start) AS n FROM {db}.windows WHERE job = 'drift' AND model = '{model}'"},
		{&s.RetrainingEvents, "SELECT uniqExact(id) AS n FROM {db}.events WHERE kind = 'retraining' AND model = '{model}'"},
	} {
		if *q.to, err = d.count(ctx, q.query); err != nil {
			return nil, err
		}
	}
	var quantiles []struct {
		Q []float64 `ch:"q"`
	}
	if err := d.client.Select(ctx, &quantiles, d.query("SELECT quantilesExact(0.5, 0.99)(toFloat64(latency_us)) AS q FROM {table}")); err != nil {
		return nil, err
	}
	s.LatencyUS = latency{quantiles[0].Q[0], quantiles[0].Q[1]}
	return s, nil
}

// peakRSS returns the largest resident size that this process has had, in bytes; 0 where
// the system does not tell.
func peakRSS() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}

// grouped writes 1234567 as 1,234,567.
func grouped[T int | int64 | uint64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// monthLine is one line of the table by month.
type monthLine struct {
	Month    uint8   `ch:"month"`
	Flights  uint64  `ch:"flights"`
	Late     float64 `ch:"late"`
	Accuracy float64 `ch:"accuracy"`
	AUC      float64 `ch:"auc"`
}

type monthDrift struct {
	Month   uint8   `ch:"month"`
	Column  string  `ch:"column"`
	Score   float64 `ch:"score"`
	Windows uint64  `ch:"windows"`
}

type storedEvent struct {
	Start time.Time `ch:"start"`
	Body  string    `ch:"body"`
}

func (d *demo) print(ctx context.Context, s *summary, took time.Duration) error {
	out := func(format string, args ...any) { fmt.Fprintf(d.stdout, format, args...) }
	out("\n%-22s %12s\n", "requests sent", grouped(s.Requests))
	out("%-22s %12s   distinct request ids read back from Kafka, read_committed\n", "results", grouped(s.Results))
	out("%-22s %12s   distinct request coordinates in ClickHouse\n", "observations", grouped(s.Observations))
	out("%-22s %12s   distinct request ids in ClickHouse\n", "labels", grouped(s.Labels))
	out("%-22s %12s\n", "dead letters", grouped(s.DeadLetters))
	out("%-22s %12s   requests/s, until the last row and label were stored (%.1f s)\n", "throughput", grouped(int64(s.ThroughputPerS)), took.Seconds())
	out("%-22s %9.1f ms   p99 %.1f ms, from fetch to encoded result\n", "latency p50", s.LatencyUS.P50/1e3, s.LatencyUS.P99/1e3)
	out("%-22s %9d MB   of this process, without its two children\n", "peak memory", s.PeakRSSBytes>>20)

	var months []monthLine
	if err := d.client.Select(ctx, &months, d.query(`
SELECT month, count() AS flights, avg(is_late) AS late, avg((score >= {threshold}) = is_late) AS accuracy,
       arrayAUC(groupArray(score), groupArray(is_late)) AS auc
FROM (
    SELECT toMonth(o.event_time) AS month, toUInt8(f.label > 15) AS is_late, assumeNotNull(o.late_probability) AS score
    FROM {table} AS o INNER JOIN (SELECT request_id, label FROM {db}.feedback WHERE model = '{model}') AS f USING (request_id)
)
GROUP BY month ORDER BY month`)); err != nil {
		return err
	}
	var drifted []monthDrift
	if err := d.client.Select(ctx, &drifted, d.query(`
SELECT toMonth(window_start) AS month, toString(column) AS column, max(score / threshold) AS score, countIf(drifted) AS windows
FROM {db}.drift_results FINAL
WHERE model = '{model}' AND threshold > 0 AND column != ''
GROUP BY month, column HAVING windows > 0 ORDER BY month, windows DESC, score DESC LIMIT 3 BY month`)); err != nil {
		return err
	}
	out("\nmonth     flights    late   accuracy     AUC   most drifted (days over threshold)\n")
	for _, m := range months {
		var worst []string
		for _, x := range drifted {
			if x.Month == m.Month {
				worst = append(worst, fmt.Sprintf("%s (%d)", x.Column, x.Windows))
			}
		}
		out("%-7s %9s  %5.1f %%    %5.1f %%  %6.3f   %s\n", time.Month(m.Month).String()[:3], grouped(m.Flights), 100*m.Late, 100*m.Accuracy, m.AUC, strings.Join(worst, ", "))
	}

	var events []storedEvent
	if err := d.client.Select(ctx, &events, d.query(`
SELECT start, any(text) AS body
FROM (
    SELECT body AS text, parseDateTime64BestEffort(JSONExtractString(body, 'data', 'window_start'), 6, 'UTC') AS start
    FROM {db}.events WHERE model = '{model}' AND kind = 'retraining'
)
GROUP BY start ORDER BY start`)); err != nil {
		return err
	}
	out("\n%d windows judged; %d retraining events, each delivered to a webhook (%d received)\n", s.DriftWindows, s.RetrainingEvents, d.receiver.received.Load())
	for i, e := range events {
		if i == 10 {
			out("  … and %d more: SELECT body FROM %s.events WHERE kind = 'retraining'\n", len(events)-i, d.cfg.ClickHouse.Database)
			break
		}
		var event schemas.Event
		if err := json.Unmarshal([]byte(e.Body), &event); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		out("  %s  %s\n", e.Start.Format(time.DateOnly), reasons(event.Data.Breaches))
	}
	out("\nreports    %s\n", filepath.Join(d.cfg.Monitor.ReportsDir, "index.html"))
	if d.opts.Once {
		return nil
	}
	out("try        curl 'http://%s' -d \"…\" with\n", d.services.ClickHouse.Addr())
	out("  %s\n", d.query("SELECT toMonth(event_time) m, avg(late_probability), count() FROM {table} GROUP BY m ORDER BY m"))
	out("  %s\n", d.query("SELECT origin, avg(late_probability) p, count() n FROM {table} GROUP BY origin HAVING n > 1000 ORDER BY p DESC LIMIT 5"))
	out("  %s\n", d.query("SELECT minute, requests, latency_quantiles_us FROM {db}.minute_statistics ORDER BY minute"))
	out("and        ./bin/millrace verify --set kafka.brokers=%s --set clickhouse.addr=%s\n", d.services.Kafka.Addr(), d.services.ClickHouse.Addr())
	return nil
}

// reasons puts breaches into words, the greatest first.
func reasons(breaches []schemas.Breach) string {
	slices.SortStableFunc(breaches, func(a, b schemas.Breach) int {
		return -slices.Index([]schemas.Severity{schemas.SeverityInfo, schemas.SeverityWarning, schemas.SeverityCritical}, a.Severity) +
			slices.Index([]schemas.Severity{schemas.SeverityInfo, schemas.SeverityWarning, schemas.SeverityCritical}, b.Severity)
	})
	var parts []string
	for _, b := range breaches {
		what := string(b.Stattest)
		if b.Column != "" {
			what += " of " + b.Column
		}
		relation := "≥"
		if f, ok := schemas.FigureOf(b.Stattest); ok {
			relation = map[schemas.Direction]string{schemas.BreachesBelow: "<", schemas.BreachesAbove: ">", schemas.BreachesBeyond: "beyond ±"}[f.Direction]
		}
		parts = append(parts, fmt.Sprintf("%s %.3f %s %.3f", what, b.Value, relation, b.Threshold))
	}
	return strings.Join(parts, ", ")
}
