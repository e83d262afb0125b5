package inference_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/schemas"
)

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

const artifact = "the artifact"

// manifest returns that of a model that reads a float and a category. extra is appended.
func manifest(name, version, extra string) string {
	return fmt.Sprintf(`name: %s
version: %q
runtime: onnx
artifact: {file: model.onnx, sha256: %s}
features:
  - {name: x, type: float32, optional: true}
  - {name: color, type: category, categories: [red, green]}
outputs:
  - {name: y, type: float64}
  - {name: seen, type: string}
%s`, name, version, digest(artifact), extra)
}

// writeVersion puts a version's files into its folder.
func writeVersion(tb testing.TB, root, name, version string, files map[string]string) {
	tb.Helper()
	dir := filepath.Join(root, name, version)
	require.NoError(tb, os.MkdirAll(dir, 0o755))
	for file, text := range files {
		require.NoError(tb, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
}

func open(tb testing.TB, root string) *inference.Repository {
	tb.Helper()
	r, err := inference.OpenRepository(root)
	require.NoError(tb, err)
	return r
}

func TestOpenRepository(t *testing.T) {
	_, err := inference.OpenRepository(filepath.Join(t.TempDir(), "missing"))
	require.ErrorContains(t, err, "open model repository")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err = inference.OpenRepository(file)
	require.ErrorContains(t, err, "is not a folder")
}

func TestModelsInOrder(t *testing.T) {
	root := t.TempDir()
	refs, err := open(t, root).Models()
	require.NoError(t, err)
	require.Empty(t, refs)
	for _, dir := range []string{"b/10", "b/2", "b/.install-1", "a/1.0", "a/1.0-rc1", ".git/x", "empty"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "README.md"), nil, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(root, "a", "notes"), nil, 0o644))
	refs, err = open(t, root).Models()
	require.NoError(t, err)
	require.Equal(t, []inference.Ref{{"a", "1.0-rc1"}, {"a", "1.0"}, {"b", "2"}, {"b", "10"}}, refs)
}

// What file systems put at their root is no model, and may be for nobody to read.
func TestModelsPassOverLostAndFound(t *testing.T) {
	root := t.TempDir()
	writeVersion(t, root, "a", "1", nil)
	for _, dir := range []string{root, filepath.Join(root, "a")} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "lost+found", "1"), 0o700))
		require.NoError(t, os.Chmod(filepath.Join(dir, "lost+found"), 0))
	}
	refs, err := open(t, root).Models()
	require.NoError(t, err)
	require.Equal(t, []inference.Ref{{Name: "a", Version: "1"}}, refs)
}

// Opening a pipe would wait for ever, in whatever process does it.
func TestLoadReadsNoPipe(t *testing.T) {
	for _, pipe := range []string{"manifest.yaml", "model.onnx"} {
		t.Run(pipe, func(t *testing.T) {
			root := t.TempDir()
			writeVersion(t, root, "a", "1", map[string]string{"manifest.yaml": manifest("a", "1", ""), "model.onnx": artifact})
			path := filepath.Join(root, "a", "1", pipe)
			require.NoError(t, os.Remove(path))
			require.NoError(t, unix.Mkfifo(path, 0o600))
			_, err := open(t, root).Load(t.Context(), "a", "1")
			require.ErrorContains(t, err, pipe+" is no regular file")
		})
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	_, err := inference.InstallModel(t.TempDir(), path, []byte(manifest("a", "1", "")))
	require.ErrorContains(t, err, "is no regular file")
}

func TestCompareVersions(t *testing.T) {
	ascending := []string{
		"0.9", "1-alpha", "1-rc2", "1-rc10", "1", "1.0-rc1", "1.0", "1.0.1", "1.2", "1.10", "2", "2a", "10",
		"20240131", "v1", "v1.9.0", "v1.10.0-rc.1", "v1.10.0", "v2",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			require.Equal(t, i < j, inference.CompareVersions(a, b) < 0, "%s against %s", a, b)
			require.Equal(t, i == j, inference.CompareVersions(a, b) == 0, "%s against %s", a, b)
		}
	}
	require.NotZero(t, inference.CompareVersions("1", "01"), "two folders are two versions")
	shuffled := slices.Clone(ascending)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, inference.CompareVersions)
	require.Equal(t, ascending, shuffled)
}

func TestLoad(t *testing.T) {
	reference := `{"rows": 3, "columns": [{"name": "x", "edges": [0], "counts": [1, 2], "missing": 0}]}`
	files := func(manifest string, others ...string) map[string]string {
		all := map[string]string{schemas.ManifestFile: manifest, "model.onnx": artifact}
		for i := 0; i < len(others); i += 2 {
			all[others[i]] = others[i+1]
		}
		return all
	}
	referenced := manifest("m", "1", "reference: {file: reference.json, sha256: "+digest(reference)+"}\n")
	for name, tc := range map[string]struct {
		files map[string]string
		want  string // of the error
	}{
		"plain":     {files(manifest("m", "1", "")), ""},
		"reference": {files(referenced, "reference.json", reference), ""},

		"no manifest":       {map[string]string{"model.onnx": artifact}, "load model m/1: read manifest"},
		"bad manifest":      {files(manifest("m", "1", "batch: {size: 3}\n")), "load model m/1: manifest"},
		"other name":        {files(manifest("n", "1", "")), "is of n/1; folder and manifest must agree"},
		"other version":     {files(manifest("m", "2", "")), "is of m/2; folder and manifest must agree"},
		"changed artifact":  {files(manifest("m", "1", ""), "model.onnx", "other"), "model.onnx has sha256 " + digest("other")},
		"missing artifact":  {map[string]string{schemas.ManifestFile: manifest("m", "1", "")}, "model.onnx: no such file"},
		"missing reference": {files(referenced), "reference.json: no such file"},
		"changed reference": {files(referenced, "reference.json", "{}"), "reference.json has sha256"},
		"changed sample":    {files(manifest("m", "1", "sample: {file: s.arrow, sha256: "+digest("a")+"}\n"), "s.arrow", "b"), "s.arrow has sha256"},
		"bad reference": {files(manifest("m", "1", "reference: {file: r.json, sha256: "+digest(`{"rows": 1, "columns": [{"name": "z"}]}`)+"}\n"),
			"r.json", `{"rows": 1, "columns": [{"name": "z"}]}`), `column "z" is neither a feature nor an output`},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			writeVersion(t, root, "m", "1", tc.files)
			m, err := open(t, root).Load(context.Background(), "m", "1")
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, inference.Ref{Name: "m", Version: "1"}, m.Ref())
			require.Equal(t, filepath.Join(root, "m", "1", "model.onnx"), m.ArtifactPath())
			require.Equal(t, name == "reference", m.Reference != nil)
		})
	}
	r := open(t, t.TempDir())
	for _, name := range []string{"", "..", "a/b", ".hidden"} {
		_, err := r.Load(context.Background(), name, "1")
		require.ErrorContains(t, err, "is no folder of a model repository")
	}
	root := t.TempDir()
	writeVersion(t, root, "m", "1", files(manifest("m", "1", "")))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := open(t, root).Load(ctx, "m", "1")
	require.ErrorIs(t, err, context.Canceled)
}

func TestInstallModel(t *testing.T) {
	from := filepath.Join(t.TempDir(), "any name.onnx")
	require.NoError(t, os.WriteFile(from, []byte(artifact), 0o600))
	root := filepath.Join(t.TempDir(), "made", "when", "missing")
	ref, err := inference.InstallModel(root, from, []byte(manifest("m", "1", "")))
	require.NoError(t, err)
	require.Equal(t, inference.Ref{Name: "m", Version: "1"}, ref)
	_, err = open(t, root).Load(context.Background(), "m", "1")
	require.NoError(t, err)

	_, err = inference.InstallModel(root, from, []byte(manifest("m", "1", "")))
	require.ErrorContains(t, err, "is there already")
	require.NoError(t, os.WriteFile(from, []byte("changed"), 0o600))
	_, err = inference.InstallModel(root, from, []byte(manifest("m", "2", "")))
	require.ErrorContains(t, err, "has sha256")
	_, err = inference.InstallModel(root, from+"x", []byte(manifest("m", "2", "")))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = inference.InstallModel(root, from, []byte("name: m"))
	require.ErrorContains(t, err, "install model: manifest")
	_, err = inference.InstallModel(root, from, []byte(manifest("m", "2", "sample: {file: s.arrow, sha256: "+digest("")+"}")))
	require.ErrorContains(t, err, "names a reference or a sample")

	refs, err := open(t, root).Models()
	require.NoError(t, err)
	require.Equal(t, []inference.Ref{{"m", "1"}}, refs, "a failed installation leaves nothing")
	entries, err := os.ReadDir(filepath.Join(root, "m"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestRouter(t *testing.T) {
	root := t.TempDir()
	for dir, manifest := range map[string]string{
		"a/2": "x: 1", "a/10": "broken: [", "b/1": "draft: false\n", "c/1": "x: 1", "c/2": "x: 1\ndraft: true # to be edited\n", "c/3": "draft: true\nx: [", "d/1": "{draft: true}",
		"a/backup": "", "d/old": "", "e/1": "", "e/data": "",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
		if manifest != "" {
			require.NoError(t, os.WriteFile(filepath.Join(root, dir, schemas.ManifestFile), []byte(manifest), 0o600))
		}
	}
	for ref, want := range map[inference.Ref]bool{{Name: "a", Version: "10"}: false, {Name: "a", Version: "backup"}: true, {Name: "b", Version: "1"}: false, {Name: "d", Version: "1"}: true} {
		require.Equal(t, want, open(t, root).Unfinished(ref), ref)
	}
	for name, tc := range map[string]struct {
		pinned map[string]string
		want   map[string]string
		drafts []string
		fault  string
	}{
		"newest that is no draft": {nil, map[string]string{"a": "10", "b": "1", "c": "1", "e": "data"}, []string{"d"}, ""},
		"pinned":                  {map[string]string{"a": "2"}, map[string]string{"a": "2", "b": "1", "c": "1", "e": "data"}, []string{"d"}, ""},
		"a draft that is pinned":  {map[string]string{"d": "1", "c": "2"}, map[string]string{"a": "10", "b": "1", "c": "2", "d": "1", "e": "data"}, nil, ""},
		"unknown version":         {map[string]string{"a": "3"}, map[string]string{"a": "3", "b": "1", "c": "1", "e": "data"}, []string{"d"}, "route model a: version 3, which models.versions names, is not in the repository"},
		"unknown model":           {map[string]string{"z": "1"}, map[string]string{"a": "10", "b": "1", "c": "1", "z": "1", "e": "data"}, []string{"d"}, "route model z: version 1, which models.versions names, is not in the repository"},
	} {
		t.Run(name, func(t *testing.T) {
			router, err := inference.NewRouter(open(t, root), tc.pinned)
			require.NoError(t, err)
			require.Equal(t, slices.Sorted(maps.Keys(tc.want)), router.Models())
			require.Equal(t, tc.drafts, router.Drafts())
			for model, want := range tc.want {
				version, ok := router.Route(model)
				require.True(t, ok)
				require.Equal(t, want, version)
				if err := router.Fault(model); err != nil {
					require.EqualError(t, err, tc.fault)
					require.Contains(t, tc.pinned, model)
				}
			}
			_, ok := router.Route("y")
			require.False(t, ok)
		})
	}
}
