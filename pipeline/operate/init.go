package operate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// InitOptions say what InitModel makes a version of.
type InitOptions struct {
	Path    string       // of the ONNX model
	Name    string       // empty: from the file's name
	Version string       // empty: 1, or the number after the last version's
	Data    *DataOptions // nil: the manifest says what the graph says

	MaxBatchSize int // as the manifest's batch.max_batch_size; 0: no such limit
}

// InitResult says what InitModel made.
type InitResult struct {
	Ref      inference.Ref
	Manifest string // path
	Requests string // topic
	Results  string // topic
	Example  string // a request that the manifest accepts
	Before   string // the version that the manifest was carried over from; then this one is a draft
	Changes  []string
	Learned  Learned // from data, where there were any
}

// InitModel copies an ONNX model into the repository, with a manifest made of its graph, and of
// data where there are any. A further version of a model has the manifest of the one before,
// as far as the graph allows, and is a draft. The version appears as a whole, and able to
// serve, or not at all.
func InitModel(ctx context.Context, cfg config.Config, o InitOptions) (InitResult, error) {
	if o.Name == "" {
		o.Name = modelNameOf(o.Path)
	}
	if err := os.MkdirAll(cfg.Models.Repository, 0o750); err != nil {
		return InitResult{}, fmt.Errorf("make the model repository: %w", err)
	}
	before, err := lastVersion(cfg.Models, o.Name)
	if err != nil {
		return InitResult{}, err
	}
	if o.Version == "" {
		if o.Version, err = nextVersion(before); err != nil {
			return InitResult{}, err
		}
	}
	dir := filepath.Join(cfg.Models.Repository, o.Name, o.Version)
	if _, err := os.Lstat(dir); err == nil {
		return InitResult{}, fmt.Errorf("%s is there already, and a version is never changed; choose another version", dir)
	}
	manifest, err := catalog.Init(ctx, cfg.Models, o.Path, o.Name, o.Version, o.MaxBatchSize)
	if err != nil {
		return InitResult{}, err
	}
	result := InitResult{Ref: inference.Ref{Name: o.Name, Version: o.Version}, Before: before}
	var monitored *schemas.Monitoring
	if before != "" {
		if manifest, monitored, result.Changes, err = carryOver(ctx, cfg, inference.Ref{Name: o.Name, Version: before}, o.Version, manifest); err != nil {
			return InitResult{}, err
		}
	}
	var t *table
	if o.Data != nil {
		if t, err = o.Data.read(ctx); err != nil {
			return InitResult{}, err
		}
	}
	m, err := withDraft(cfg, func(temp config.Config) (*inference.Model, error) {
		ref, err := inference.InstallModel(temp.Models.Repository, o.Path, manifest)
		if err != nil {
			return nil, err
		}
		if t != nil {
			l := &learner{o: *o.Data, t: t, monitored: monitored}
			if result.Learned, err = l.complete(ctx, temp, ref); err != nil {
				return nil, err
			}
		}
		m, err := loadTried(ctx, temp, ref)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // models are no secrets
			return nil, err
		}
		return m, os.Rename(m.Dir, dir)
	})
	if err != nil {
		return InitResult{}, err
	}
	result.Manifest = filepath.Join(dir, schemas.ManifestFile)
	result.Requests, result.Results = cfg.Topics.RequestsOf(o.Name), cfg.Topics.ResultsOf(o.Name)
	result.Example = string(codec.ExampleRequest(m.Manifest))
	return result, nil
}

// lastVersion returns the newest version of a model; empty where there is none.
func lastVersion(cfg config.Models, name string) (string, error) {
	models, err := catalog.Open(cfg)
	if err != nil {
		return "", err
	}
	refs, err := models.Models()
	if err != nil {
		return "", err
	}
	last := ""
	for _, ref := range refs {
		if ref.Name == name && models.HasManifest(ref) {
			last = ref.Version
		}
	}
	return last, nil
}

func nextVersion(before string) (string, error) {
	if before == "" {
		return "1", nil
	}
	n, err := strconv.ParseUint(before, 10, 32)
	if err != nil {
		return "", fmt.Errorf("the last version is called %s, which is no number: name the next one by --version", before)
	}
	return strconv.FormatUint(n+1, 10), nil
}

// carryOver makes the manifest of a further version of that of the one before, where fromGraph is
// what the new graph says, and says what differs in the graphs. What belongs to the rows and
// the answers of the version before is left out; monitored is how it was monitored.
func carryOver(ctx context.Context, cfg config.Config, before inference.Ref, version string, fromGraph []byte) (manifest []byte, monitored *schemas.Monitoring, changes []string, err error) {
	fail := func(err error) ([]byte, *schemas.Monitoring, []string, error) {
		return nil, nil, nil, fmt.Errorf("carry over the manifest of model %s: %w", before, err)
	}
	dir := filepath.Join(cfg.Models.Repository, before.Name, before.Version)
	old, err := schemas.ReadManifest(dir)
	if err != nil {
		return fail(err)
	}
	graphText, err := catalog.Init(ctx, cfg.Models, filepath.Join(dir, old.Artifact.File), before.Name, before.Version, old.Batch.MaxBatchSize)
	if err != nil {
		return fail(err)
	}
	c := carrier{before: old}
	if c.oldGraph, err = schemas.ParseManifest(before.String(), graphText); err != nil {
		return fail(err)
	}
	if c.newGraph, err = schemas.ParseManifest(before.Name+"/"+version, fromGraph); err != nil {
		return fail(err)
	}
	text, err := schemas.ReadManifestText(dir)
	if err != nil {
		return fail(err)
	}
	made, err := c.carry(text, fromGraph, version)
	if err == nil {
		_, err = schemas.ParseManifest(before.Name+"/"+version, made)
	}
	if err == nil {
		return made, old.Monitoring, c.changes, nil
	}
	// The graphs differ in what no edit of the manifest follows.
	c.say("the manifest of version %s could not be carried over (%v): this one is of the graph alone", before.Version, err)
	e, err := schemas.EditManifest(fromGraph)
	if err == nil {
		err = e.Set("draft", draftValue, "version")
	}
	if err != nil {
		return fail(err)
	}
	return e.Text(), nil, c.changes, nil
}

const draftValue = "true # does not serve until this line is removed, or models.versions names the version"

// carrier carries a manifest over from one version to the next.
type carrier struct {
	before             *schemas.Manifest
	oldGraph, newGraph *schemas.Manifest // what init says of the graphs
	e                  *schemas.ManifestEdit
	changes            []string
}

func (c *carrier) say(format string, args ...any) {
	c.changes = append(c.changes, fmt.Sprintf(format, args...))
}

func (c *carrier) carry(text, fromGraph []byte, version string) ([]byte, error) {
	fresh, err := schemas.EditManifest(fromGraph)
	if err != nil {
		return nil, err
	}
	if c.e, err = schemas.EditManifest(text); err != nil {
		return nil, err
	}
	const why = "CHECK: of version %s. `millrace reference %s %s --data FILE` writes this section anew."
	draft := draftValue
	if c.e.Has("draft") { // with its comment
		draft = "true"
	}
	err = errors.Join(
		c.e.Set("version", strconv.Quote(version), "name"),
		c.e.Set("draft", draft, "version"),
		c.e.SetSection("artifact", fresh.Section("artifact")...),
		c.e.Remove("reference"), c.e.Remove("sample"),
		c.e.CommentOut("monitoring", fmt.Sprintf(why, c.before.Version, c.before.Name, version)))
	if err == nil {
		err = c.batch()
	}
	if err == nil {
		err = c.features()
	}
	if err == nil {
		err = c.outputs(fresh)
	}
	return c.e.Text(), err
}

// batch takes over the rows of one run that were asked for, where they are not those of before.
func (c *carrier) batch() error {
	most := c.newGraph.Batch.MaxBatchSize
	if most == 0 || most == c.before.Batch.MaxBatchSize {
		return nil
	}
	lines := []string{"batch:"}
	for _, kept := range []struct {
		key         string
		value, none int
	}{
		{"max_rows", c.before.Batch.MaxRows, schemas.DefaultBatch().MaxRows},
		{"max_bytes", c.before.Batch.MaxBytes, schemas.DefaultBatch().MaxBytes},
		{"preferred_batch_size", c.before.Batch.PreferredRows, 0},
		{"max_batch_size", most, 0},
	} {
		if kept.value != kept.none {
			lines = append(lines, fmt.Sprintf("  %s: %d", kept.key, kept.value))
		}
	}
	return c.e.SetSection("batch", lines...)
}

// features follows what differs in the inputs of the graphs.
func (c *carrier) features() error {
	old, now := c.oldGraph.Features, c.newGraph.Features
	unnamed := true // by the graph: init has numbered them, and data or people have named them since
	for i := range old {
		unnamed = unnamed && old[i].Name == "f"+strconv.Itoa(i)
	}
	name := func(i int) string { // of the i-th feature of the old graph in its manifest
		_, there := c.before.Feature(old[i].Name)
		if len(c.before.Features) == len(old) && (unnamed || !there) {
			return c.before.Features[i].Name
		}
		return old[i].Name
	}
	named := map[string]int{}
	for i, f := range old {
		named[f.Name] = i
	}
	if (len(c.oldGraph.Inputs) > 0 || len(c.newGraph.Inputs) > 0 || len(c.before.Inputs) > 0) && !sameFeatures(old, now) {
		return errors.New("the inputs of the graphs differ, and the manifest says which features fill them")
	}
	kept := map[string]bool{}
	for _, f := range now {
		i, ok := named[f.Name]
		if !ok {
			c.say("feature %s (%s) is new in the graph", f.Name, f.Type)
			if err := c.e.AddFeature(f.Name, f.Type, "CHECK: new in this version; what follows it in the graph's input must follow it here"); err != nil {
				return err
			}
			continue
		}
		kept[f.Name] = true
		if old[i].Type == f.Type {
			continue
		}
		c.say("feature %s is %s in the graph, and was %s", name(i), f.Type, old[i].Type)
		if was, ok := c.before.Feature(name(i)); ok && was.Type == old[i].Type {
			if err := c.e.SetFeature(name(i), "type", string(f.Type)); err != nil {
				return err
			}
		}
	}
	for i, f := range old {
		if kept[f.Name] {
			continue
		}
		c.say("feature %s is no more in the graph", name(i))
		if err := c.e.RemoveFeature(name(i)); err != nil {
			return err
		}
	}
	return nil
}

func sameFeatures(a, b []schemas.Feature) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Type != b[i].Type {
			return false
		}
	}
	return true
}

// outputs follows what differs in the outputs of the graphs: outputs of the manifest that are
// there as they were stay; where one is not, all are those of the new graph.
func (c *carrier) outputs(fresh *schemas.ManifestEdit) error {
	type place struct {
		tensor string
		index  int
	}
	now, old := map[place]schemas.FeatureType{}, map[place]schemas.FeatureType{}
	for _, o := range c.newGraph.Outputs {
		now[place{o.Tensor, o.Index}] = o.Type
	}
	fit := true
	for _, o := range c.oldGraph.Outputs {
		at := place{o.Tensor, o.Index}
		old[at] = o.Type
		switch typ, ok := now[at]; {
		case !ok:
			c.say("output %s is no more in the graph", o.Name)
		case typ != o.Type:
			c.say("output %s is %s in the graph, and was %s", o.Name, typ, o.Type)
		}
	}
	for _, o := range c.newGraph.Outputs {
		if _, ok := old[place{o.Tensor, o.Index}]; !ok {
			c.say("output %s (%s) is new in the graph", o.Name, o.Type)
		}
	}
	for _, o := range c.before.Outputs {
		at := place{o.Tensor, o.Index}
		typ, ok := now[at]
		fit = fit && ok && typ == old[at]
	}
	if fit {
		return nil
	}
	if err := c.e.SetSection("outputs", fresh.Section("outputs")...); err != nil {
		return err
	}
	if t := c.before.Target; t != nil {
		if _, ok := c.newGraph.Output(t.Score); !ok {
			return c.e.CommentOut("target", "CHECK: of version "+c.before.Version+", whose outputs were others.")
		}
	}
	return nil
}
