package schemas_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

const edited = `# Of the model of May.
name: eggs # the shop's
version: "1"
runtime: onnx
artifact: {file: model.onnx, sha256: TODO, external: [{file: w.bin, sha256: ""}]}
features:
  # Two columns.
  - name: f0 # CHECK: the graph does not name its columns
    type: float32
    description: "grams: of one" # by the scale
  - {name: f1, type: float32}
outputs:
  - {name: late, type: float32}

# The data of May.
reference:
  # made by hand
  file: reference.json
  sha256: # not yet

# CHECK: when it is judged.
# monitoring:
#   window: 24h

# The end.
`

func edit(t *testing.T, text string, f func(*schemas.ManifestEdit) error) string {
	t.Helper()
	e, err := schemas.EditManifest([]byte(text))
	require.NoError(t, err)
	require.NoError(t, f(e))
	return string(e.Text())
}

// TestFixDigests: digests are written into both styles of YAML, and nothing else changes.
func TestFixDigests(t *testing.T) {
	sum := strings.Repeat("a", 64)
	digest := func(file string) (string, error) {
		require.Contains(t, []string{"model.onnx", "w.bin", "reference.json"}, file)
		return sum, nil
	}
	var fixed []string
	got := edit(t, edited, func(e *schemas.ManifestEdit) (err error) {
		fixed, err = e.FixDigests(digest)
		return err
	})
	require.Equal(t, []string{"model.onnx", "w.bin", "reference.json"}, fixed)
	want := strings.NewReplacer("sha256: TODO", "sha256: "+sum, `sha256: ""`, "sha256: "+sum, "sha256: #", "sha256: "+sum+" #").Replace(edited)
	require.Equal(t, want, got)
	require.Equal(t, strings.Replace(want, sum+" # not yet", sum, 1), // a digest that is not there is added
		edit(t, strings.Replace(edited, "  sha256: # not yet\n", "", 1), func(e *schemas.ManifestEdit) error {
			_, err := e.FixDigests(digest)
			return err
		}))
	_, err := schemas.ParseManifest("manifest.yaml", []byte(got))
	require.NoError(t, err)
	require.Equal(t, got, edit(t, got, func(e *schemas.ManifestEdit) (err error) {
		fixed, err = e.FixDigests(digest)
		return err
	}))
	require.Empty(t, fixed, "the second time there is nothing to do")
}

// TestEditManifest: features, sections and scalars are changed where they stand.
func TestEditManifest(t *testing.T) {
	for name, tc := range map[string]struct {
		f        func(*schemas.ManifestEdit) error
		old, new string
	}{
		"block feature": {
			func(e *schemas.ManifestEdit) error { return e.SetFeature("f0", "min", "-1.5") },
			"    type: float32\n", "    type: float32\n    min: -1.5\n",
		},
		"flow feature": {
			func(e *schemas.ManifestEdit) error { return e.SetFeature("f1", "max", "1e+06") },
			"type: float32}\noutputs", "type: float32, max: 1e+06}\noutputs",
		},
		"type": {
			func(e *schemas.ManifestEdit) error { return e.SetFeature("f1", "type", "category") },
			"f1, type: float32", "f1, type: category",
		},
		"name": {
			func(e *schemas.ManifestEdit) error { return e.RenameFeature("f0", "On") },
			"f0 # CHECK: the graph does not name its columns", `"On"`,
		},
		"version": {func(e *schemas.ManifestEdit) error { return e.Set("version", `"2"`, "name") }, `"1"`, `"2"`},
		"draft": {
			func(e *schemas.ManifestEdit) error { return e.Set("draft", "true # soon", "runtime") },
			"runtime: onnx\n", "runtime: onnx\ndraft: true # soon\n",
		},
		"feature gone": {func(e *schemas.ManifestEdit) error { return e.RemoveFeature("f1") }, "  - {name: f1, type: float32}\n", ""},
		"feature added": {
			func(e *schemas.ManifestEdit) error { return e.AddFeature("late", schemas.TypeInt64, "CHECK: new") },
			"type: float32}\noutputs", "type: float32}\n  - name: late # CHECK: new\n    type: int64\noutputs",
		},
		"section gone": {
			func(e *schemas.ManifestEdit) error { return e.Remove("reference") },
			"reference:\n  # made by hand\n  file: reference.json\n  sha256: # not yet\n", "",
		},
		"section, commented": {
			func(e *schemas.ManifestEdit) error { return e.CommentOut("outputs", "why") },
			"outputs:\n  - {", "# why\n# outputs:\n#   - {",
		},
		"section, new": {
			func(e *schemas.ManifestEdit) error { return e.SetSection("event_time", "event_time: {field: at}") },
			"# The end.\n", "# The end.\n\nevent_time: {field: at}\n",
		},
		"section, changed": {
			func(e *schemas.ManifestEdit) error { return e.SetSection("outputs", "outputs: []") },
			"outputs:\n  - {name: late, type: float32}\n", "outputs: []\n",
		},
		"section, of a comment": {
			func(e *schemas.ManifestEdit) error { return e.SetSection("monitoring", "monitoring: {window: 1h}") },
			"# CHECK: when it is judged.\n# monitoring:\n#   window: 24h\n", "monitoring: {window: 1h}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, 1, strings.Count(edited, tc.old))
			require.Equal(t, strings.Replace(edited, tc.old, tc.new, 1), edit(t, edited, tc.f))
		})
	}
}

// TestEditManifestOfInputs: a feature that is renamed is renamed where an input lists it.
func TestEditManifestOfInputs(t *testing.T) {
	text := strings.Replace(edited, "outputs:", "inputs:\n  - name: x\n    features: [f1, f0]\noutputs:", 1)
	got := edit(t, text, func(e *schemas.ManifestEdit) error { return e.RenameFeature("f0", "weight") })
	require.Contains(t, got, "features: [f1, weight]")
	require.Contains(t, got, "- name: weight\n")
}

// TestEditRefuses: a text whose places cannot be found is an error, not another text.
func TestEditRefuses(t *testing.T) {
	for _, text := range []string{"", "{name: a}", "- a", "a: [", "a: b\n---\nc: d"} {
		_, err := schemas.EditManifest([]byte(text))
		require.Error(t, err, "%q", text)
	}
}

// TestFixDigestsOfTheDemo: the demo's manifest, whose digests are right, stays byte for byte.
func TestFixDigestsOfTheDemo(t *testing.T) {
	const path = "../deploy/examples/flights/models/flights_delay/1/manifest.yaml"
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	m, err := schemas.ParseManifest(path, text)
	require.NoError(t, err)
	sums := map[string]string{m.Artifact.File: m.Artifact.SHA256, m.Reference.File: m.Reference.SHA256, m.Sample.File: m.Sample.SHA256}
	require.Equal(t, string(text), edit(t, string(text), func(e *schemas.ManifestEdit) error {
		fixed, err := e.FixDigests(func(file string) (string, error) { return sums[file], nil })
		require.Empty(t, fixed)
		return err
	}))
}

// TestUndecided: what a person has said of monitoring reads back as it was.
func TestUndecided(t *testing.T) {
	for _, of := range []string{
		"", "  retraining: {cooldown: 7d}\n",
		"  windows: [{length: 1d}, {length: 1d, every: 2h}]\n  retraining: {when: 'roc_auc < 0.6 and age_days > 90', budget: 2, span: 60d, cooldown: 36h}\n" +
			"  false_alarms: {every: 90d, windows: 2 of 3, close: 4, season: day, calibration: 60, severity: critical}\n  segments: [c, s]\n" +
			"  breaks: [{on: error}, {on: x, detector: page_hinkley, mode: both, parameters: {threshold: 5.5, delta: 1.0e-7}, severity: info}]\n",
	} {
		text := "name: m\nversion: \"1\"\nruntime: onnx\nartifact: {file: m.onnx, sha256: " + strings.Repeat("0", 64) + "}\n" +
			"features:\n  - {name: x, type: float64}\n  - {name: c, type: category, categories: [a]}\n  - {name: s, type: string}\noutputs: [{name: p, type: float32}]\n" +
			"target: {kind: binary, score: p}\nreference: {file: r.json, sha256: " + strings.Repeat("0", 64) + "}\nmonitoring:\n  window: 1h\n  checks: []\n"
		m, err := schemas.ParseManifest("m.yaml", []byte(text+of))
		require.NoError(t, err)
		again, err := schemas.ParseManifest("m.yaml", []byte(text+strings.Join(m.Monitoring.Undecided(), "\n")+"\n"))
		require.NoError(t, err, strings.Join(m.Monitoring.Undecided(), "\n"))
		require.Equal(t, m, again)
	}
}
