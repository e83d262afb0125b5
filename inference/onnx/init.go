package onnx

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/printable"
)

// maxFeatures bounds how many columns of inputs Init writes down.
const maxFeatures = 10_000

// maxInitColumns bounds how many columns of one output tensor Init writes down.
const maxInitColumns = 16

// Init writes the manifest of a graph that has none. What the graph cannot say is marked
// "# CHECK:" where a default stands and commented out where there is none; as it is, the
// manifest parses, and the model loads and predicts. An empty name is made from the file's
// name, an empty version is "1". maxBatchSize is the manifest's batch.max_batch_size, 0 for none.
func Init(path, name, version string, maxBatchSize int) (manifestYAML []byte, err error) {
	g, unusable, err := inspect(path, maxBatchSize == 1)
	if err != nil {
		return nil, err
	}
	digest, err := inference.Digest(path)
	if err != nil {
		return nil, err
	}
	external, err := external(path)
	if err != nil {
		return nil, err
	}
	file := filepath.Base(path)
	if name == "" {
		name = strings.ToLower(schemas.Identifier(strings.Trim(strings.TrimSuffix(file, filepath.Ext(file)), "_-. ")))
	}
	if version == "" {
		version = "1"
	}
	w := &manifestWriter{names: schemas.NewColumnNames(), keys: map[string]bool{schemas.ColumnRequestID: true}}
	w.line("# Written by `millrace init` from the graph in %s.", file)
	w.line("# What the graph does not say is marked CHECK.")
	w.line("name: %s", quote(name))
	w.line("version: %s", quote(version))
	w.line("runtime: %s", schemas.RuntimeONNX)
	w.line("artifact:\n  file: %s\n  sha256: %s", quote(file), digest)
	if len(external) > 0 {
		w.line("  external: # weights that the graph reads")
		for _, e := range external {
			w.line("    - {file: %s, sha256: %s}", quote(e.File), e.SHA256)
		}
	}
	err = errors.Join(w.inputs(g.Inputs, g.known), w.outputs(g.Outputs, unusable))
	if err != nil {
		return nil, fmt.Errorf("write a manifest for %s: %w", path, err)
	}
	if maxBatchSize > 0 {
		w.line("\n# Rows of one run of the graph at most. 1 scores each row alone: its answer may depend on the others.")
		w.line("batch:\n  max_batch_size: %d", maxBatchSize)
	}
	w.rest()
	text := []byte(w.text.String())
	if _, err := schemas.ParseManifest(schemas.ManifestFile, text); err != nil {
		return nil, fmt.Errorf("write a manifest for %s: %w", path, err)
	}
	return text, nil
}

type manifestWriter struct {
	text  strings.Builder
	names *schemas.ColumnNames
	keys  map[string]bool // of requests
	score string          // the first output that is a float
}

func (w *manifestWriter) line(format string, args ...any) {
	fmt.Fprintf(&w.text, format+"\n", args...)
}

// plain writes a column name as YAML.
func plain(name string) string {
	switch strings.ToLower(name) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return quote(name)
	default:
		return name
	}
}

// quote writes text as YAML: a JSON string is one.
func quote(text string) string {
	quoted, _ := json.Marshal(text) // never fails on a string
	return string(quoted)
}

// inputs writes the features and, where that does not follow from their names, which features fill
// which tensor.
func (w *manifestWriter) inputs(tensors []Tensor, known map[graphColumn][]string) error {
	var errs []error
	var inputs []string
	named := true
	count := 0
	wants := wantedNames(tensors)
	names := w.names.GiveAll(wants)
	w.line("\n# Fields of a request that the model reads, in the order of its input.")
	w.line("# CHECK: add min and max, and \"out_of_range: reject\" to refuse what lies outside.")
	w.line("# CHECK: add \"optional: true\" or a default to what a request may leave out; \"sensitive: true\" to personal data.")
	w.line("features:")
	for _, t := range tensors {
		if err := t.readable(); err != nil {
			errs = append(errs, fmt.Errorf("graph input %w", err))
			continue
		}
		if t.width() == 0 {
			errs = append(errs, fmt.Errorf("graph input %q is %s: the number of features is not in the graph; "+
				"export it with a fixed second dimension (skl2onnx: FloatTensorType([None, 20])), or write the manifest by hand, with all features", t.Name, t))
			continue
		}
		if count += t.width(); count > maxFeatures {
			errs = append(errs, fmt.Errorf("graph input %q is %s: more than %d features in all, more than fit a manifest", t.Name, t, maxFeatures))
			continue
		}
		w.line("  # Input %s, %s.", quote(t.Name), t)
		var features []string
		for c := range t.width() {
			want, name := wants[0], names[0]
			wants, names = wants[1:], names[1:]
			features = append(features, plain(name))
			if t.width() == 1 && name != t.Name {
				named = false
			}
			comment := ""
			values := known[graphColumn{t.Name, c}]
			switch {
			case t.Type == elementString && c == 0 && values == nil:
				comment = " # CHECK: if it has few values, make it \"type: category\" and list them under categories, so that drift can be seen"
			case t.width() > 1 && c == 0:
				comment = " # CHECK: the graph does not name its columns; call them as in your requests, in this order"
			}
			w.line("  - name: %s%s", plain(name), comment)
			if want != name && schemas.ValidSource(want) && !w.keys[want] {
				w.keys[want] = true
				w.line("    source: %s # the key of a request", quote(want))
			} else {
				w.keys[name] = true
			}
			if t.Type != elementString || values == nil {
				w.line("    type: %s", featureType(t.element()))
				continue
			}
			quoted := make([]string, len(values))
			for i, v := range values {
				quoted[i] = quote(v)
			}
			w.line("    type: %s\n    categories: [%s] # those that the graph knows; CHECK: \"unknown: reject\" refuses all others",
				schemas.TypeCategory, strings.Join(quoted, ", "))
		}
		named = named && (t.width() == 1 || len(tensors) == 1)
		inputs = append(inputs, fmt.Sprintf("  - name: %s\n    features: [%s]", quote(t.Name), strings.Join(features, ", ")))
	}
	if !named && len(tensors) > 1 {
		w.line("\n# Which features fill which input of the graph.")
		w.line("inputs:\n%s", strings.Join(inputs, "\n"))
	}
	return errors.Join(errs...)
}

// wantedNames returns what the columns of inputs are called by the graph, or numbers them. Of inputs
// that cannot be features it returns none.
func wantedNames(tensors []Tensor) []string {
	var wants []string
	for _, t := range tensors {
		if t.readable() != nil || len(wants)+t.width() > maxFeatures {
			continue
		}
		for c := range t.width() {
			switch {
			case t.width() == 1:
				wants = append(wants, t.Name)
			case len(tensors) > 1:
				wants = append(wants, fmt.Sprintf("%s_%d", t.Name, c))
			default:
				wants = append(wants, fmt.Sprintf("f%d", c))
			}
		}
	}
	return wants
}

// outputs writes one prediction column for each column of each output tensor; of the
// probabilities of two classes, only that of the second. unusable says why outputs are left out.
func (w *manifestWriter) outputs(tensors []Tensor, unusable []error) error {
	if len(tensors) == 0 && len(unusable) > 0 {
		return fmt.Errorf("no output of the graph can be used: %w: %s", errors.Join(unusable...), adviceOnRows)
	}
	var errs []error
	var lines []string
	for _, why := range unusable {
		lines = append(lines, "  # CHECK: an output is left out: "+printable.Text(why.Error()))
	}
	for _, t := range tensors {
		switch {
		case t.readable() != nil:
			errs = append(errs, fmt.Errorf("graph output %w", t.readable()))
			continue
		case t.width() == 0:
			errs = append(errs, fmt.Errorf("graph output %q is %s: its number of columns is unknown; export the graph with its output shapes", t.Name, t))
			continue
		}
		lines = append(lines, fmt.Sprintf("  # Output %s, %s.", quote(t.Name), t))
		float := t.element() == elementFloat || t.element() == elementDouble
		if float && t.width() == 2 && strings.Contains(strings.ToLower(t.Name), "prob") {
			which := "of the second class, the positive one where there are two"
			if len(t.classes) == 2 {
				which = fmt.Sprintf("of class %q, not of class %q", t.classes[1], t.classes[0])
			}
			lines = append(lines, w.output("probability", t, 1, which))
			continue
		}
		for c := range min(t.width(), maxInitColumns) {
			name := t.Name
			if t.width() > 1 {
				name = fmt.Sprintf("%s_%d", t.Name, c)
			}
			if len(t.classes) == t.width() {
				name = t.Name + "_" + t.classes[c]
			}
			lines = append(lines, w.output(name, t, c, ""))
		}
		if t.width() > maxInitColumns {
			lines = append(lines, fmt.Sprintf("  # CHECK: the tensor has %d columns; these are the first %d.", t.width(), maxInitColumns))
		}
	}
	w.line("\n# What the model predicts: one column and one JSON field each.")
	w.line("outputs:\n%s", strings.Join(lines, "\n"))
	return errors.Join(errs...)
}

// output returns the lines of one output and notes the first that can be a score.
func (w *manifestWriter) output(want string, t Tensor, index int, check string) string {
	name := w.names.Give(want)
	if check != "" {
		check = " # CHECK: " + check
	}
	typ := featureType(t.element())
	if w.score == "" && (typ == schemas.TypeFloat32 || typ == schemas.TypeFloat64) {
		w.score = name
	}
	text := fmt.Sprintf("  - name: %s%s\n    type: %s", plain(name), check, typ)
	if name != t.Name {
		text += "\n    tensor: " + quote(t.Name)
	}
	if index > 0 {
		text += fmt.Sprintf("\n    index: %d", index)
	}
	return text
}

// rest writes what the graph says nothing about, as comments.
func (w *manifestWriter) rest() {
	score := w.score
	if score == "" {
		score = "..."
	}
	w.line(`
# CHECK: the field of a request that says when its subject happened; without it, the time
# of the Kafka record counts. Drift windows follow it.
# event_time:
#   field: time
#   format: rfc3339 # or unix_s, unix_ms, unix_us

# CHECK: what feedback says about a prediction; without it there is no accuracy.
# target:
#   kind: binary        # or multiclass, of which score is the class, or regression
#   score: %s
#   threshold: 0.5      # binary: predicted positive from here
#   positive_above: 0   # binary: a label above it is positive

# CHECK: when drift and accuracy are judged; without it, predictions are only stored.
# Checks of drift (psi, ks, chisquare) compare with a reference: one that is learned from the first
# windows, or a file. `+"`millrace reference MODEL VERSION --data FILE`"+` makes that, and this section.
# monitoring:
#   window: 24h
#   reference: {windows: 7}
#   lateness: 10m
#   label_delay: 24h
#   checks:
#     - {stattest: psi, column: %s, threshold: 0.2, severity: critical, retrain: true}
#     - {stattest: roc_auc, threshold: 0.7, severity: critical, retrain: true} # of labels, by target`, score, score)
}

// featureType returns the type that holds an element as it is.
func featureType(element string) schemas.FeatureType {
	switch element {
	case elementFloat:
		return schemas.TypeFloat32
	case elementDouble:
		return schemas.TypeFloat64
	default: // the other names are the same
		return schemas.FeatureType(element)
	}
}
