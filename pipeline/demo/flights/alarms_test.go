package flights_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/alarm"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/pipeline/demo/flights"
	"github.com/millrace/millrace/schemas"
)

const day = 24 * time.Hour

// rows are the flights as the model sees them: cells by column, and the day.
type rows struct {
	columns []schemas.ReferenceColumn
	cells   [][]int16 // by column; -1 missing, -2 another category
	days    []int16
	start   time.Time
}

// readRows reads the features of all flights, numbered by the cells of the committed reference.
func readRows(t *testing.T) *rows {
	t.Helper()
	dir := filepath.Join(example, "models", flights.Model, "1")
	m, err := schemas.ReadManifest(dir)
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(dir, m.Reference.File))
	require.NoError(t, err)
	ref, err := schemas.ParseReference(m.Reference.File, text, m)
	require.NoError(t, err)
	r := &rows{start: time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)}
	names := []string{}
	for _, c := range ref.Columns {
		if _, ok := m.Feature(c.Name); ok {
			r.columns, names = append(r.columns, c), append(names, c.Name)
		}
	}
	r.cells = make([][]int16, len(names))
	numbers := make([]map[string]int16, len(names))
	for i, c := range r.columns {
		numbers[i] = map[string]int16{}
		for k, category := range c.Categories {
			numbers[i][category] = int16(k)
		}
	}
	s, err := flights.Open(data(t), 0)
	require.NoError(t, err)
	var e flights.Event
	var buf []byte
	for {
		var ok bool
		if buf, ok = s.Next(buf[:0], &e); !ok {
			break
		}
		if e.Kind != flights.KindRequest {
			continue
		}
		var request map[string]any
		require.NoError(t, json.Unmarshal(e.Value, &request))
		at := time.UnixMilli(int64(request[m.EventTime.Field].(float64))).UTC()
		r.days = append(r.days, int16(at.Sub(r.start)/day))
		for i, c := range r.columns {
			cell := int16(-1)
			switch v := request[c.Name].(type) {
			case float64:
				cell = int16(sort.Search(len(c.Edges), func(k int) bool { return c.Edges[k] > v }))
			case string:
				if k, ok := numbers[i][v]; ok {
					cell = k
				} else {
					cell = -2
				}
			case nil:
			default:
				require.Failf(t, "unexpected value", "%s: %v", c.Name, v)
			}
			r.cells[i] = append(r.cells[i], cell)
		}
	}
	return r
}

// count counts rows by day; row i lies on the day of row order[i].
func (r *rows) count(order []int32) []alarm.Bucket {
	out := make([]alarm.Bucket, int(slices.Max(r.days))+1)
	for d := range out {
		out[d].Columns = make([]profile.Counts, len(r.columns))
		for i, c := range r.columns {
			out[d].Columns[i].Cells = make([]int64, len(c.Counts))
		}
	}
	for i := range r.days {
		b := &out[r.days[order[i]]]
		b.Rows++
		for k := range r.columns {
			c := &b.Columns[k]
			switch cell := r.cells[k][i]; cell {
			case -1:
				c.Missing++
			case -2:
				c.Other++
			default:
				c.Cells[cell]++
			}
		}
	}
	return out
}

// opened is an alarm of a stream.
type opened struct {
	from, to int // days; to is -1 where it has not closed
	worst    alarm.Check
}

// alarms calibrates by the first days of a stream, and decides the others.
func (r *rows) alarms(t *testing.T, days []alarm.Bucket, reference int, rule alarm.Rule, every time.Duration) (*alarm.Calibration, []opened) {
	t.Helper()
	ref := alarm.Buckets{Start: r.start, Length: day, Buckets: days[:reference]}
	for _, c := range r.columns {
		ref.Columns = append(ref.Columns, alarm.Column{Name: c.Name, Numeric: len(c.Edges) > 0})
	}
	c, err := alarm.Calibrate(ref, alarm.Options{Window: day, Every: every, Rule: rule, Seed: 1, Workers: 2})
	require.NoError(t, err)
	s, err := alarm.NewScorer(&ref, c)
	require.NoError(t, err)
	var state alarm.State
	var out []opened
	for d := reference; d < len(days); d++ {
		start := r.start.Add(time.Duration(d) * day)
		x, err := s.Score(start, days[d])
		require.NoError(t, err)
		var tr alarm.Transition
		state, tr = c.Options.Decide(state, x.Window())
		if tr.Opened {
			out = append(out, opened{from: d, to: -1, worst: c.Checks[x.Worst]})
		}
		if tr.Resolved {
			out[len(out)-1].to = d
		}
	}
	return c, out
}

// TestAlarmsOfFlights prints when alarms open on the flights as they are, by a reference of January,
// and how often where their days are shuffled, so that nothing drifts: no more often than promised.
func TestAlarmsOfFlights(t *testing.T) {
	if os.Getenv("MILLRACE_FLIGHTS_ALARMS") == "" {
		t.Skip("it takes four minutes: make bench-flights runs it")
	}
	r := readRows(t)
	order := make([]int32, len(r.days))
	asTheyAre := func() {
		for i := range order {
			order[i] = int32(i)
		}
	}
	date := func(d int) string { return r.start.Add(time.Duration(d) * day).Format("January 2") }
	const reference, shuffles, every = 31, 12, 90 * day
	for _, rule := range []alarm.Rule{{K: 2, N: 3, Close: 3}, {K: 5, N: 7, Close: 7}} {
		asTheyAre()
		c, found := r.alarms(t, r.count(order), reference, rule, every)
		t.Logf("%d of %d days; one false alarm in %.0f days is asked for and %.0f promised, of a reference that tells as much as %.0f independent days", rule.K, rule.N, every.Hours()/24, c.Promised.Hours()/24, c.Effective)
		for _, a := range found {
			to := "the end"
			if a.to >= 0 {
				to = date(a.to)
			}
			t.Logf("  an alarm from %s to %s, with %s of %s", date(a.from), to, a.worst.Stattest, a.worst.Column)
		}
		alarms, promised := 0, 0.0
		for seed := range uint64(shuffles) {
			asTheyAre()
			rand.New(rand.NewPCG(seed, 3)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			days := r.count(order)
			c, found := r.alarms(t, days, reference, rule, every)
			alarms += len(found)
			promised += float64(len(days)-reference) * day.Hours() / c.Promised.Hours()
		}
		t.Logf("  with shuffled days, %d times (seeds 0 to %d): %d alarms, at most %.1f promised", shuffles, shuffles-1, alarms, promised)
		require.LessOrEqual(t, float64(alarms), promised+3*math.Sqrt(promised))
	}
}
