package operate_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// TestHandOverStopsAnywhere: a process that is killed behind any of the writes that give a version
// another reference leaves it as it was or as it becomes, with all digests right; and the next one ends
// what it began.
func TestHandOverStopsAnywhere(t *testing.T) {
	reference := func(made string) string {
		return `{"rows":2,"columns":[{"name":"x","edges":[0.5],"counts":[1,1],"missing":0}],"made":"` + made + `"}`
	}
	text := func(files map[string]string, referenceFile, sampleFile string) string {
		named := func(file string) string {
			return fmt.Sprintf("{file: %s, sha256: %x}", file, sha256.Sum256([]byte(files[file])))
		}
		return "name: m\nversion: \"1\"\nruntime: onnx\nartifact: " + named("model.onnx") + "\nfeatures: [{name: x, type: float32}]\noutputs: [{name: y, type: float32}]\n" +
			"reference: " + named(referenceFile) + "\nsample: " + named(sampleFile) + "\n"
	}
	was := map[string]string{"model.onnx": "a graph", "reference.json": reference("before"), "sample.arrow": "rows", "notes.txt": "of people"}
	was["manifest.yaml"] = text(was, "reference.json", "sample.arrow")
	for name, is := range map[string]map[string]string{
		"both other":      {"reference-1.json": reference("after"), "sample-1.arrow": "other rows"},
		"the same sample": {"reference-1.json": reference("after"), "sample.arrow": "rows"},
	} {
		t.Run(name, func(t *testing.T) {
			is["model.onnx"] = was["model.onnx"]
			var referenceFile, sampleFile string
			for file := range is {
				switch {
				case strings.HasPrefix(file, "reference"):
					referenceFile = file
				case strings.HasPrefix(file, "sample"):
					sampleFile = file
				}
			}
			is["manifest.yaml"] = text(is, referenceFile, sampleFile)
			fill := func(files map[string]string) (root string) {
				root = t.TempDir()
				dir := filepath.Join(root, "m", "1")
				require.NoError(t, os.MkdirAll(dir, 0o750))
				for file, contents := range files {
					require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(contents), 0o600))
				}
				return root
			}
			load := func(root string) *inference.Model {
				models, err := inference.OpenRepository(root)
				require.NoError(t, err)
				m, err := models.Load(t.Context(), "m", "1")
				require.NoError(t, err)
				return m
			}
			from := fill(is)
			steps := func(root string) []func() error {
				manifest := func(root string) *schemas.Manifest { return load(root).Manifest }
				return operate.HandOver(filepath.Join(root, "m", "1"), filepath.Join(from, "m", "1"), manifest(root), manifest(from))
			}
			n := len(steps(fill(was)))
			require.GreaterOrEqual(t, n, 4)
			var seen strings.Builder
			for killed := range n + 1 {
				root := fill(was)
				for _, step := range steps(root)[:killed] {
					require.NoError(t, step())
				}
				seen.WriteString(load(root).Reference.Made[:1])
				for _, step := range steps(root) {
					require.NoError(t, step())
				}
				require.Equal(t, "after", load(root).Reference.Made)
				require.FileExists(t, filepath.Join(root, "m", "1", "notes.txt"))
			}
			require.Regexp(t, "^b+a+$", seen.String())
			root := fill(was)
			for _, step := range steps(root) {
				require.NoError(t, step())
			}
			entries, err := os.ReadDir(filepath.Join(root, "m", "1"))
			require.NoError(t, err)
			require.Len(t, entries, 5, "what is no longer named is gone")
		})
	}
}
