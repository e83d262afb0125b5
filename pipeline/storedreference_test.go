package pipeline_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// fareOf is the graph of fares, with a target of some kind and nothing that is compared.
func fareOf(name, target string) catalogtest.Model {
	return catalogtest.Model{Name: name, Graph: "multi_input", Manifest: `
features:
  - {name: price, type: float64}
  - {name: count, type: int64}
  - {name: carrier, type: category, categories: [AA, UA, WN]}
  - {name: urgent, type: bool, default: false}
event_time: {field: at}
outputs:
  - {name: total, type: float64}
  - {name: carrier_out, type: string}
  - {name: count_out, type: int32}
` + target}
}

// TestReferenceOfStoredRows makes the reference of versions of each kind of target out of what they have
// answered and of the labels that came; a second one takes the place of the first as a whole.
func TestReferenceOfStoredRows(t *testing.T) {
	parallel(t)
	const hours, perHour = 12, 30
	rnd := seeded(t)
	models := []catalogtest.Model{
		fareOf("carriers", "target: {kind: multiclass, score: carrier_out}\n"), fareOf("costs", "target: {kind: regression, score: total}\n"),
	}
	h := newHarness(t, models)
	h.start("worker,recorder")
	carriers := []string{"AA", "UA", "WN"}
	var records []*kgo.Record
	var wrong struct {
		labelled, carriers int
		costs              float64
	}
	for i := range hours * perHour {
		f := catalogtest.Fare{At: catalogtest.Epoch.Add(time.Duration(i) * time.Hour / perHour), Price: rnd.Float64(), Count: int64(1 + i%3), Carrier: carriers[rnd.IntN(3)]}
		id := strconv.Itoa(i)
		carrier, cost := f.Carrier, f.Total()
		if i%5 == 1 {
			carrier, cost = carriers[rnd.IntN(3)], cost+1
		}
		if i%4 > 0 {
			wrong.labelled++
			wrong.carriers += class(carrier != f.Carrier)
			wrong.costs += cost - f.Total()
		}
		for name, label := range map[string]string{"carriers": fmt.Sprintf("%q", carrier), "costs": fmt.Sprint(cost)} {
			records = append(records, &kgo.Record{
				Topic: h.cfg.Topics.RequestsOf(name), Partition: int32(i % 3), Value: f.JSON(),
				Headers: []kgo.RecordHeader{{Key: schemas.HeaderRequestID, Value: []byte(name + id)}},
			})
			if i%4 > 0 {
				records = append(records, &kgo.Record{Topic: h.cfg.Topics.Feedback, Key: []byte(name + id), Value: fmt.Appendf(nil, `{"model":%q,"label":%s}`, name, label)})
			}
		}
	}
	h.produce(records...)
	h.eventually("all is stored", func() (string, bool) {
		n := h.count("SELECT count() FROM millrace.feedback")
		for _, m := range models {
			n += h.count("SELECT count() FROM millrace.observations_" + m.Name)
		}
		return strconv.Itoa(n), n == len(records)
	})

	want := map[string]map[schemas.Stattest]float64{
		"carriers": {schemas.StattestAccuracy: 1 - float64(wrong.carriers)/float64(wrong.labelled)},
		"costs":    {schemas.StattestMAE: wrong.costs / float64(wrong.labelled)},
	}
	start, end := catalogtest.Epoch, catalogtest.Epoch.Add(hours*time.Hour)
	opened, err := catalog.Open(h.cfg.Models)
	require.NoError(t, err)
	for _, m := range models {
		learned, err := operate.MakeReferenceOfStored(t.Context(), h.cfg, m.Name, "1", start, end, operate.DataOptions{})
		require.NoError(t, err, m.Name)
		require.Contains(t, strings.Join(learned.Look, "\n"), "270 of 360 rows have a label and a prediction")
		made, err := opened.Load(t.Context(), m.Name, "1")
		require.NoError(t, err)
		require.Equal(t, int64(hours*perHour), made.Reference.Rows)
		require.Len(t, made.Reference.Columns, 7)
		for figure, value := range want[m.Name] {
			require.InDelta(t, value, made.Reference.Quality[figure], 1e-6, "%s %s", m.Name, figure)
		}
		require.NotEmpty(t, made.Manifest.Monitoring.Checks)
		require.NotNil(t, made.Manifest.Sample)
		require.Equal(t, "at", made.Manifest.EventTime.Field)
	}

	// Of half of the rows, in windows of an hour, beside what people keep in the folder.
	dir := filepath.Join(h.cfg.Models.Repository, "costs", "1")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "data"), 0o750))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "link")))
	half := start.Add(hours / 2 * time.Hour)
	_, err = operate.MakeReferenceOfStored(t.Context(), h.cfg, "costs", "1", start, half, operate.DataOptions{Window: time.Hour})
	require.ErrorContains(t, err, "--replace writes over them")
	_, err = operate.MakeReferenceOfStored(t.Context(), h.cfg, "costs", "1", start, half, operate.DataOptions{Window: time.Hour, Replace: true})
	require.NoError(t, err)
	made, err := opened.Load(t.Context(), "costs", "1")
	require.NoError(t, err)
	require.Equal(t, int64(hours*perHour/2), made.Reference.Rows)
	require.Equal(t, time.Hour, made.Manifest.Monitoring.Window.Std())
	require.Regexp(t, `^reference-[0-9a-f]{16}\.json$`, made.Manifest.Reference.File)
	require.Regexp(t, `^sample-[0-9a-f]{16}\.arrow$`, made.Manifest.Sample.File)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 6, "the manifest, the graph, what the manifest names now, and what people keep: %v", entries)
	_, err = operate.MakeReferenceOfStored(t.Context(), h.cfg, "costs", "1", end, end.Add(time.Hour), operate.DataOptions{Replace: true})
	require.ErrorContains(t, err, "no rows")
}
