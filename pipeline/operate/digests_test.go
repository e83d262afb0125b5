package operate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// TestFixDigests: what was changed by hand is loaded again after check --fix, and a manifest that
// cannot be mended is named while the others are.
func TestFixDigests(t *testing.T) {
	cfg := config.Default()
	cfg.Models.Repository = t.TempDir()
	for _, m := range []catalogtest.Model{catalogtest.Fares, catalogtest.Prices, catalogtest.Ratios} {
		catalogtest.Install(t, cfg.Models.Repository, m)
	}
	models, err := inference.OpenRepository(cfg.Models.Repository)
	require.NoError(t, err)
	lines, err := operate.FixDigests(cfg)
	require.NoError(t, err)
	require.Empty(t, lines)

	fares := filepath.Join(cfg.Models.Repository, "fares", "1")
	reference := filepath.Join(fares, "reference.json")
	text, err := os.ReadFile(reference)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(reference, []byte(strings.Replace(string(text), "by a test", "by hand", 1)), 0o600))
	require.NoError(t, os.Remove(filepath.Join(cfg.Models.Repository, "prices", "1", "model.onnx")))
	_, err = models.Load(t.Context(), "fares", "1")
	require.ErrorContains(t, err, "the file was changed")
	before, err := schemas.ReadManifestText(fares)
	require.NoError(t, err)

	lines, err = operate.FixDigests(cfg)
	require.ErrorContains(t, err, "model prices/1: ")
	require.NotContains(t, err.Error(), "fares")
	require.Equal(t, []string{"model fares/1: digest of reference.json written"}, lines)
	m, err := models.Load(t.Context(), "fares", "1")
	require.NoError(t, err)
	require.Contains(t, m.Reference.Made, "by hand")
	after, err := schemas.ReadManifestText(fares)
	require.NoError(t, err)
	old, sum := string(before), m.Manifest.Reference.SHA256
	at := strings.LastIndex(old, "sha256: ") + len("sha256: ")
	require.Equal(t, old[:at]+sum+old[at+len(sum):], string(after), "nothing else was changed")
}
