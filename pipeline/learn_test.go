package pipeline_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// weighings are rows of the features of linear.onnx, with a time, what came of them, and a
// prediction by another model.
func weighings(t *testing.T) string {
	t.Helper()
	const seed = 11
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	text := strings.Builder{}
	text.WriteString("at,weight (kg),length,pieces,grams,oof,note\n")
	at := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1200 {
		length := fmt.Sprintf("%.3f", rnd.Float64())
		if i%50 == 7 {
			length = ""
		}
		fmt.Fprintf(&text, "%s,%.3f,%s,%d,%.3f,%.3f,x\n", at.Add(time.Duration(i)*30*time.Minute).Format(time.RFC3339),
			1+rnd.Float64(), length, 1+rnd.IntN(3), 10+rnd.Float64(), 10+rnd.Float64())
	}
	path := filepath.Join(t.TempDir(), "weighings.csv")
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
	return path
}

// TestInitLearnsFromData: data make a version that loads with its sample and is monitored; the next
// version has its manifest, is a draft, and says what differs in the graph; and a version that
// exists gets a reference, once.
func TestInitLearnsFromData(t *testing.T) {
	cfg, err := config.Load("", nil, []string{"models.repository=" + filepath.Join(t.TempDir(), "models")})
	require.NoError(t, err)
	graph := func(name string) string { return filepath.Join("..", "inference", "onnx", "testdata", name+".onnx") }
	data := operate.DataOptions{Path: weighings(t), Label: "grams", Time: "at", Score: "oof", Ignore: []string{"note"}}
	models := func() *catalog.Catalog {
		models, err := catalog.Open(cfg.Models)
		require.NoError(t, err)
		return models
	}

	wrong := data
	wrong.Ignore = nil
	_, err = operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: graph("linear"), Name: "scale", Data: &wrong})
	require.ErrorContains(t, err, "input of 3 columns without names, and "+data.Path+" has 4 columns")
	entries, err := os.ReadDir(cfg.Models.Repository)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is left of a version that could not be made")

	made, err := operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: graph("linear"), Name: "scale", Data: &data})
	require.NoError(t, err)
	require.Empty(t, made.Before)
	loaded, err := models().Load(t.Context(), "scale", "1")
	require.NoError(t, err)
	m := loaded.Manifest
	require.Equal(t, []string{"weight_kg", "length", "pieces"}, []string{m.Features[0].Name, m.Features[1].Name, m.Features[2].Name})
	require.Equal(t, "weight (kg)", m.Features[0].Key())
	require.Contains(t, made.Example, `"weight (kg)":`)
	require.Equal(t, []bool{false, true, false}, []bool{m.Features[0].Optional, m.Features[1].Optional, m.Features[2].Optional})
	require.Equal(t, 1.0, *m.Features[2].Min)
	require.Equal(t, 3.0, *m.Features[2].Max)
	require.Equal(t, schemas.EventTime{Field: "at", Format: schemas.TimeRFC3339}, m.EventTime)
	require.Equal(t, schemas.TargetRegression, m.Target.Kind)
	require.Equal(t, schemas.Duration(24*time.Hour), m.Monitoring.Window)
	require.Equal(t, schemas.Duration(7*24*time.Hour), m.Monitoring.Retraining.Cooldown)
	require.False(t, m.Draft)
	require.NotNil(t, m.Sample)
	require.Equal(t, int64(1200-24), loaded.Reference.Rows, "without those that the model fails on, which no window has")
	require.Contains(t, strings.Join(made.Learned.Look, "\n"), "the model fails on 24 of 1200 rows, the first time with invalid_prediction")
	require.True(t, loaded.Reference.OutOfFold)
	length, _ := loaded.Reference.Column("length")
	require.Zero(t, length.Missing)
	names := map[string]float64{}
	for _, c := range m.Monitoring.Checks {
		names[string(c.Stattest)+" "+c.Column] = c.Threshold
	}
	require.Len(t, names, 4+1+3, "a check of each column and of the share, and three of quality: %v", names)
	require.Less(t, names["mae "], 1.0, "predictions out of fold are off by a third; the model's own would be by more")

	// The next version, of the same graph: comments and names are those of the first.
	next, err := operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: graph("linear"), Name: "scale"})
	require.NoError(t, err)
	require.Equal(t, "1", next.Before)
	require.Empty(t, next.Changes)
	second, err := models().Load(t.Context(), "scale", "2")
	require.NoError(t, err)
	require.True(t, second.Manifest.Draft)
	require.Equal(t, m.Features, second.Manifest.Features)
	require.Equal(t, m.EventTime, second.Manifest.EventTime)
	require.Nil(t, second.Manifest.Reference)
	require.Nil(t, second.Manifest.Monitoring)
	text, err := os.ReadFile(next.Manifest)
	require.NoError(t, err)
	require.Contains(t, string(text), "# monitoring:\n#   window: 24h")

	// A reference for it, once.
	learned, err := operate.MakeReference(t.Context(), cfg, "scale", "2", data)
	require.NoError(t, err)
	require.NotEmpty(t, learned.Table)
	second, err = models().Load(t.Context(), "scale", "2")
	require.NoError(t, err)
	require.Equal(t, m.Monitoring, second.Manifest.Monitoring)
	require.Equal(t, loaded.Reference, second.Reference)
	require.True(t, second.Manifest.Draft)
	_, err = operate.MakeReference(t.Context(), cfg, "scale", "2", data)
	require.ErrorContains(t, err, "--replace")

	// What the data do not decide stays where they are given again.
	edited := strings.Replace(string(text), "# monitoring:", "#", 1) + `
monitoring:
  window: 24h
  label_delay: 48h
  retraining: {cooldown: 3d}
  reference:
    windows: 7
  checks:
    - {stattest: ks, column: length, threshold: 0.3}
`
	edited = strings.NewReplacer("version: \"2\"", "version: \"2b\"").Replace(edited)
	kept := filepath.Join(cfg.Models.Repository, "scale", "2b")
	require.NoError(t, os.CopyFS(kept, os.DirFS(filepath.Dir(next.Manifest))))
	require.NoError(t, os.WriteFile(filepath.Join(kept, schemas.ManifestFile), []byte(edited), 0o600))
	_, err = operate.MakeReference(t.Context(), cfg, "scale", "2b", data)
	require.NoError(t, err, "a file takes the place of what would be learned")
	now, err := schemas.ReadManifest(kept)
	require.NoError(t, err)
	require.NotNil(t, now.Reference)
	require.Nil(t, now.Monitoring.Reference)
	require.Len(t, now.Monitoring.Checks, 1)
	again := data
	again.Replace = true
	learned, err = operate.MakeReference(t.Context(), cfg, "scale", "2b", again)
	require.NoError(t, err)
	now, err = schemas.ReadManifest(kept)
	require.NoError(t, err)
	require.Len(t, now.Monitoring.Checks, len(m.Monitoring.Checks))
	require.Equal(t, schemas.Duration(48*time.Hour), now.Monitoring.LabelDelay)
	require.Equal(t, schemas.Duration(3*24*time.Hour), now.Monitoring.Retraining.Cooldown)
	require.Contains(t, strings.Join(learned.Look, "\n"), "not in the proposed ones: ks length")
	require.Contains(t, strings.Join(learned.Look, "\n"), "--score and the model's own have little in common")
	require.NoError(t, os.RemoveAll(kept))

	// One of another graph: 20 columns and other outputs.
	other, err := operate.InitModel(t.Context(), cfg, operate.InitOptions{Path: graph("gbdt"), Name: "scale"})
	require.NoError(t, err)
	changes := strings.Join(other.Changes, "\n")
	require.Contains(t, changes, "feature f3 (float32) is new in the graph")
	require.Contains(t, changes, "output y is no more in the graph")
	third, err := models().Load(t.Context(), "scale", "3")
	require.NoError(t, err)
	require.Len(t, third.Manifest.Features, 20)
	require.Equal(t, m.Features[0], third.Manifest.Features[0])
	require.True(t, third.Manifest.Draft)
	require.Nil(t, third.Manifest.Target, "its score was an output of the other graph")
}

// Columns that are called as others of the graph's are: each stays in its place.
func TestInitRenamesByPlace(t *testing.T) {
	cfg, err := config.Load("", nil, []string{"models.repository=" + filepath.Join(t.TempDir(), "models")})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "rows.csv")
	var text strings.Builder
	text.WriteString("f1,f2,f3\n")
	for i := range 400 {
		fmt.Fprintf(&text, "%d.5,%d.25,%d.125\n", i%7, i%11, i%13)
	}
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
	made, err := operate.InitModel(t.Context(), cfg, operate.InitOptions{
		Path: filepath.Join("..", "inference", "onnx", "testdata", "linear.onnx"), Name: "numbered", Data: &operate.DataOptions{Path: path},
	})
	require.NoError(t, err)
	m, err := schemas.ReadManifest(filepath.Dir(made.Manifest))
	require.NoError(t, err)
	require.Equal(t, []string{"f1", "f2", "f3"}, []string{m.Features[0].Name, m.Features[1].Name, m.Features[2].Name})
	for i, most := range []float64{6.5, 10.25, 12.125} {
		require.InDelta(t, most, *m.Features[i].Max, 0.1)
	}
}
