package pipeline_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// A further version that drops what the last one knew is told of; one whose rows could not be stored
// is an error. A draft serves only where it is pinned.
func TestCheckComparesVersions(t *testing.T) {
	repository := t.TempDir()
	catalogtest.Install(t, repository, catalogtest.Prices)
	first := filepath.Join(repository, "prices", "1")
	text, err := os.ReadFile(filepath.Join(first, schemas.ManifestFile))
	require.NoError(t, err)
	graph, err := os.ReadFile(filepath.Join(first, "model.onnx"))
	require.NoError(t, err)
	install := func(version string, edit ...string) {
		dir := filepath.Join(repository, "prices", version)
		require.NoError(t, os.Mkdir(dir, 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "model.onnx"), graph, 0o600))
		edited := strings.NewReplacer(append([]string{`version: "1"`, `version: "` + version + `"`}, edit...)...).Replace(string(text))
		require.NoError(t, os.WriteFile(filepath.Join(dir, schemas.ManifestFile), []byte(edited), 0o600))
	}
	install("2", "features:", "draft: true\nevent_time: {field: at}\nfeatures:")
	install("3", "{name: price, type: float64}", "{name: price, type: float32}")
	cfg, err := config.Load("", nil, []string{"models.repository=" + repository, "clickhouse.addr=127.0.0.1:1"})
	require.NoError(t, err)
	lines, err := operate.CheckModels(t.Context(), cfg)
	require.ErrorContains(t, err, `model prices/3: its rows could not be stored: column "price" is Float32, and Float64 in version 1; give such a feature or output its old type, or another name`)
	require.Equal(t, []string{
		"model prices/1: 1 features, 1 outputs",
		"model prices/2: 1 features, 1 outputs, draft: serves when models.versions names it; to remove the line draft: true is not enough, since 3 is newer by its name",
		"  unlike version 1: event time is at (rfc3339), and was Kafka's timestamp: windows of both are of different times",
		"model prices/3: failed",
	}, lines[:4])
	require.Contains(t, lines[4], "versions are compared with each other only, and not with the tables: ")

	require.NoError(t, os.RemoveAll(filepath.Join(repository, "prices", "3")))
	lines, err = operate.CheckModels(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, "model prices/1: 1 features, 1 outputs, serves", lines[0])
	require.Equal(t, "model prices/2: 1 features, 1 outputs, draft: serves when the line draft: true is removed, or models.versions names it", lines[1])
	cfg.Models.Versions = map[string]string{"prices": "1"}
	lines, err = operate.CheckModels(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, "model prices/2: 1 features, 1 outputs, draft: serves when models.versions names it, as it names 1 now", lines[1])
	cfg.Models.Versions = map[string]string{"prices": "2"}
	lines, err = operate.CheckModels(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, "model prices/2: 1 features, 1 outputs, serves", lines[1])
}
