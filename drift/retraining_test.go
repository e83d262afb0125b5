package drift_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// policy sets the version's.
func (w *world) policy(p schemas.RetrainingPolicy) {
	m, monitoring := *w.version.Manifest, *w.version.Manifest.Monitoring
	monitoring.Retraining = p
	m.Monitoring = &monitoring
	w.version.Manifest = &m
}

func (w *world) forget() {
	w.t.Helper()
	for _, table := range []string{"drift_results", "accuracy_results", "windows", "label_looks"} {
		require.NoError(w.t, w.Exec(w.t.Context(), "TRUNCATE TABLE "+w.Database()+"."+table))
	}
}

// asked judges everything anew and returns the windows that asked.
func (w *world) asked() (asked []string, events []schemas.Event) {
	w.t.Helper()
	w.forget()
	pub := &topic{}
	w.tick(w.monitor(w, pub), historytest.WallClock)
	for _, e := range pub.events {
		if e.Data.Kind == schemas.EventRetraining {
			asked = append(asked, e.Data.WindowStart.Format("15:04")+" "+string(e.Data.Job))
			events = append(events, e)
		}
	}
	return asked, events
}

func TestRetrainingPolicy(t *testing.T) {
	w := newWorld(t)
	w.Label(w.Hour(0, 300, 0), 5, true)
	w.Label(w.Hour(1, 300, 9), 5, false) // drift, and labels are noise
	w.Label(w.Hour(2, 300, 2), 5, true)  // drift alone
	w.Label(w.Hour(3, 300, 0), 5, false) // noise alone
	w.Hour(6, 300, 0)

	// Both together: it is not known before labels are.
	const both = "breached_psi_items and accuracy < 0.7"
	w.policy(schemas.RetrainingPolicy{When: both, Span: schemas.Duration(3 * time.Hour)})
	asked, events := w.asked()
	require.Equal(t, []string{"01:00 accuracy"}, asked)
	r := events[0].Data.Retraining
	require.Equal(t, events[0].ID, r.ID)
	require.Equal(t, historytest.Start.Add(2*time.Hour), r.TrainTo)
	require.Equal(t, historytest.Start.Add(-time.Hour), r.TrainFrom)
	require.Contains(t, events[0].Data.TrainingSQL, "SELECT")
	require.Equal(t, both, r.When)
	require.Equal(t, true, r.Evidence["breached_psi_items"])
	require.Less(t, r.Evidence["accuracy"], 0.7)
	require.Equal(t, events[0].Data.Rows, uint64(r.Evidence["rows"].(float64)))
	require.InDelta(t, 2.0/24, r.Evidence["age_days"], 1e-12)
	require.Equal(t, events[0].Data.Labels, uint64(r.Evidence["labels"].(float64)))
	require.NotContains(t, r.Evidence, "days_since_retraining", "nobody has asked before")

	// A rule alone asks, without a breach; the budget and the cool-down hold it back.
	w.policy(schemas.RetrainingPolicy{When: "age_days >= 3 / 24"})
	asked, events = w.asked()
	require.Equal(t, []string{"02:00 drift", "03:00 drift"}, asked)
	require.Empty(t, events[1].Data.Breaches)
	require.Equal(t, schemas.SeverityInfo, events[1].Data.Severity)
	require.InDelta(t, 1.0/24, events[1].Data.Retraining.Evidence["days_since_retraining"], 1e-12)
	w.policy(schemas.RetrainingPolicy{When: "rows > 0", Budget: 2})
	asked, _ = w.asked()
	require.Equal(t, []string{"00:00 drift", "01:00 drift"}, asked)
	w.policy(schemas.RetrainingPolicy{When: "rows > 0", Cooldown: schemas.Duration(2 * time.Hour)})
	asked, _ = w.asked()
	require.Equal(t, []string{"00:00 drift", "02:00 drift"}, asked)

	// Labels since the last one.
	w.policy(schemas.RetrainingPolicy{When: "new_labels > 400 and labels > 0"})
	asked, events = w.asked()
	require.NotEmpty(t, asked)
	for _, e := range events {
		require.Greater(t, e.Data.Retraining.Evidence["new_labels"], 400.0)
	}
	// As the checks say, where there is no rule: it has the window to train with, too.
	w.policy(schemas.RetrainingPolicy{})
	asked, events = w.asked()
	require.Contains(t, asked, "01:00 drift")
	require.Equal(t, 31*24*time.Hour, events[0].Data.Retraining.TrainTo.Sub(events[0].Data.Retraining.TrainFrom))
	require.Empty(t, events[0].Data.Retraining.Evidence)
}

// A monitor with a rule that is killed at any of its writes asks for what it would have asked for.
func TestRetrainingPolicyKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	w.Label(w.Hour(0, 300, 9), 5, false)
	w.Label(w.Hour(1, 300, 9), 5, false)
	w.Label(w.Hour(2, 300, 9), 5, false)
	w.Hour(5, 300, 0)
	w.policy(schemas.RetrainingPolicy{When: "breached_psi_items and (accuracy < 0.9 or days_since_retraining > 0.02)", Budget: 2})
	ids := func(p *topic) map[string]any {
		out := map[string]any{}
		for _, e := range p.events {
			out[e.ID] = e.Data.Retraining
		}
		return out
	}
	w.forget()
	writes := writing{&flaky{Conn: w, Publisher: &topic{}, failAt: -1}}
	w.tick(w.monitor(writes, writes), historytest.WallClock)
	want := ids(writes.Publisher.(*topic))
	require.NotEmpty(t, want)
	for failAt := 0; failAt < writes.calls; failAt += stride(2) {
		for _, after := range []bool{false, true} {
			if (failAt%3 == 0) != after && os.Getenv("MILLRACE_TEST_LONG") == "" {
				continue
			}
			w.forget()
			p := &topic{}
			f := writing{&flaky{Conn: w, Publisher: p, failAt: failAt, after: after}}
			_, err := w.monitor(f, f).Tick(t.Context(), historytest.WallClock, []drift.Version{w.version})
			require.ErrorIs(t, err, errKilled)
			w.tick(w.monitor(w, p), historytest.WallClock)
			require.Equal(t, want, ids(p), "killed at call %d, after %v", failAt, after)
		}
	}
}
