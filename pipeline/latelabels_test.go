package pipeline_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/drift/quality"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// TestLateLabelsKilled sends labels after their windows were judged without any, and corrections
// through another partition, and kills the recorder and the monitor in between. Every window has
// in the end the figures of the labels as they finally are; package quality, which golden values
// hold to scikit-learn's, says which.
func TestLateLabelsKilled(t *testing.T) {
	parallel(t)
	rnd := seeded(t)
	const hours, perHour = 4, 150 // the last hour stays open
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart, "recorder.flush_rows=100", "recorder.flush_interval=20ms")
	h.start("worker")
	recorder, monitor := h.spawn("recorder"), h.spawn("monitor")

	var requests, labels, corrections []*kgo.Record
	scores, truth := make([][]float64, hours), make([][]bool, hours)
	label := func(id string, partition int32, late bool, observed time.Duration) *kgo.Record {
		return &kgo.Record{Topic: h.cfg.Topics.Feedback, Partition: partition, Key: []byte(id), Value: fmt.Appendf(nil,
			`{"model":"fares","label":%v,"observed_at":%d}`, late, catalogtest.Epoch.Add(observed).UnixMilli())}
	}
	for hour := range hours {
		for i := range perHour {
			f := catalogtest.Fare{
				At:    catalogtest.Epoch.Add(time.Duration(hour)*time.Hour + time.Duration(i)*time.Hour/perHour),
				Price: rnd.Float64(), Count: 1, Carrier: "UA",
			}
			id := fmt.Sprintf("%d-%d", hour, i)
			requests = append(requests, &kgo.Record{
				Topic: h.cfg.Topics.RequestsOf("fares"), Partition: int32(i % 3), Key: []byte(id), Value: f.JSON(),
				Headers: []kgo.RecordHeader{{Key: schemas.HeaderRequestID, Value: []byte(id)}},
			})
			late := rnd.IntN(4) > 0 == (f.Total() > 0.5)
			scores[hour], truth[hour] = append(scores[hour], f.Total()), append(truth[hour], late)
			if i%2 == 0 {
				labels = append(labels, label(id, 0, late, 24*time.Hour))
				continue
			}
			// Its correction has the lower offset; what comes last by Kafka was observed first.
			labels = append(labels, label(id, 0, !late, 24*time.Hour), label(id, 2, !late, time.Hour))
			corrections = append(corrections, label(id, 1, late, 48*time.Hour))
		}
	}
	h.produce(requests...)
	h.eventually("the closed windows are judged without labels", func() (string, bool) {
		n := h.count("SELECT count() FROM millrace.windows FINAL WHERE job = 'accuracy' AND verdict = 'too_few' AND labels = 0")
		return strconv.Itoa(n), n == hours-1
	})

	stored := func() int { return h.count("SELECT count() FROM millrace.feedback") }
	h.produce(labels...)
	h.await(2*time.Millisecond, "some labels are stored", func() (string, bool) { n := stored(); return strconv.Itoa(n), n > 0 })
	// A member that dies while it joins its group would be waited for by the next one.
	member := h.joined(h.cfg.Recorder.Group, "")
	recorder.killAndRestart()
	monitor.killAndRestart() // which looks for labels at once
	h.eventually("a window is judged again", func() (string, bool) {
		n := h.count("SELECT count() FROM millrace.windows WHERE job = 'accuracy' AND revision > 0")
		return strconv.Itoa(n), n > 0
	})
	h.joined(h.cfg.Recorder.Group, member)
	h.produce(corrections...)
	recorder.killAndRestart()
	h.eventually("all labels are stored", func() (string, bool) {
		n := stored()
		return strconv.Itoa(n), n >= len(labels)+len(corrections)
	})
	h.requireRows("feedback", "feedback", len(labels)+len(corrections))

	figures := func() [][]string {
		return h.sql(`SELECT toHour(window_start) AS h, metric, argMax(value, revision) FROM millrace.accuracy_results FINAL
			WHERE metric IN ('accuracy', 'roc_auc') GROUP BY h, metric ORDER BY h, metric`)
	}
	var want [][]string
	for hour := range hours - 1 {
		confusion, err := quality.NewConfusion(2)
		require.NoError(t, err)
		for i, score := range scores[hour] {
			require.NoError(t, confusion.Add([]int{class(truth[hour][i])}, []int{class(score >= 0.5)}, nil))
		}
		ranking := quality.NewRanking()
		require.NoError(t, ranking.Add(truth[hour], scores[hour], nil))
		accuracy, err := confusion.Accuracy()
		require.NoError(t, err)
		auc, err := ranking.ROCAUC()
		require.NoError(t, err)
		for metric, value := range map[string]float64{"accuracy": accuracy, "roc_auc": auc} {
			want = append(want, []string{strconv.Itoa(hour), metric, strconv.FormatFloat(value, 'g', 12, 64)})
		}
	}
	monitor.killAndRestart()
	h.eventually("every window has the figures of its final labels", func() (string, bool) {
		got := figures()
		for i := range got {
			value, err := strconv.ParseFloat(got[i][2], 64)
			require.NoError(t, err)
			got[i][2] = strconv.FormatFloat(value, 'g', 12, 64)
		}
		return fmt.Sprint(got), equalRows(got, want)
	})
	h.eventually("the windows have all labels", func() (string, bool) { // they are written after their figures
		most := h.sqlOne("SELECT max(labels) FROM millrace.windows FINAL WHERE job = 'accuracy'")[0]
		return most, most == strconv.Itoa(perHour)
	})

	// By hand: a dry run finds the same and writes nothing.
	monitor.kill()
	h.eventually("what it has begun to insert is there, or never comes", func() (string, bool) {
		n := h.count("SELECT count() FROM system.processes WHERE query_kind = 'Insert' OR query LIKE 'INSERT%'")
		return strconv.Itoa(n), n == 0
	})
	before := h.count("SELECT count() FROM millrace.windows FINAL")
	judged, err := operate.JudgeAgain(t.Context(), h.cfg, operate.JudgeOptions{
		Model: "fares", From: catalogtest.Epoch.Add(time.Hour), To: catalogtest.Epoch.Add(2 * time.Hour), DryRun: true, Logger: zerolog.Nop(),
	})
	require.NoError(t, err)
	require.Len(t, judged.Windows, 2, "one window, of both jobs")
	require.Equal(t, before, h.count("SELECT count() FROM millrace.windows FINAL"))
	judged, err = operate.JudgeAgain(t.Context(), h.cfg, operate.JudgeOptions{Model: "fares", To: catalogtest.Epoch.Add(time.Hour), Logger: zerolog.Nop()})
	require.NoError(t, err)
	require.Len(t, judged.Windows, 2)
	require.Equal(t, before+2, h.count("SELECT count() FROM millrace.windows FINAL"))
	_, err = operate.JudgeAgain(t.Context(), h.cfg, operate.JudgeOptions{Model: "fares", Version: "9", DryRun: true})
	require.ErrorContains(t, err, "has no version with monitoring of fares/9")
}

func class(positive bool) int {
	if positive {
		return 1
	}
	return 0
}

// equalRows compares rows in any order.
func equalRows(got, want [][]string) bool {
	left := map[string]int{}
	for _, r := range want {
		left[fmt.Sprint(r)]++
	}
	for _, r := range got {
		left[fmt.Sprint(r)]--
	}
	for _, n := range left {
		if n != 0 {
			return false
		}
	}
	return true
}
