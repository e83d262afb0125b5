package operate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/reference"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// sampleRows is how many rows of the data a sample has at most.
const sampleRows = 500

// Learned is what data said about a version.
type Learned struct {
	Table []string // what was decided and why, a line each
	Look  []string // what a person is to look at
}

// MakeReference makes the reference, the sample and the monitoring of a version that exists, of
// data. The version is changed when all of it has been made and the model loads with it, or not at all,
// wherever the process is killed.
func MakeReference(ctx context.Context, cfg config.Config, name, version string, o DataOptions) (Learned, error) {
	return makeReference(ctx, cfg, inference.Ref{Name: name, Version: version}, o, func(*inference.Model) (*learner, error) {
		t, err := o.read(ctx)
		return &learner{o: o, t: t, served: true}, err
	})
}

// MakeReferenceOfStored is MakeReference of the rows that the version has answered, with event times
// from start to before end, and of their labels.
func MakeReferenceOfStored(ctx context.Context, cfg config.Config, name, version string, start, end time.Time, o DataOptions) (Learned, error) {
	return makeReference(ctx, cfg, inference.Ref{Name: name, Version: version}, o, func(m *inference.Model) (*learner, error) {
		sql := history.New(nil, cfg.ClickHouse.Database).LabelledSQL(m.Manifest, profile.Span{Start: start, End: end})
		var kept keptFiles
		defer kept.remove()
		what := fmt.Sprintf("the rows of %s/%s from %s to %s", name, version, start.Format(time.RFC3339), end.Format(time.RFC3339))
		src, err := openQuery(ctx, sql, what, func() (config.Config, error) { return cfg, nil }, &kept)
		if err != nil {
			return nil, err
		}
		defer src.Close() // was only read
		t, err := readTable(ctx, src, nil)
		if err != nil {
			return nil, err
		}
		l := &learner{o: o, t: t, stored: true, served: true}
		l.o.Time = schemas.ColumnEventTime
		if target := m.Manifest.Target; target != nil {
			l.o.Label = history.LabelledLabel
			if column, err := t.index(history.LabelledClass); err == nil && len(t.summarize(column).words) > 0 {
				l.o.Label = history.LabelledClass
			}
			if column, err := t.index(l.o.Label); err != nil || t.summarize(column).missing == t.rows {
				l.o.Label = ""
				l.note("no row has a label yet: quality is not judged")
			}
		}
		return l, nil
	})
}

func makeReference(ctx context.Context, cfg config.Config, ref inference.Ref, o DataOptions, read func(*inference.Model) (*learner, error)) (Learned, error) {
	dir := filepath.Join(cfg.Models.Repository, ref.Name, ref.Version)
	models, err := catalog.Open(cfg.Models)
	if err != nil {
		return Learned{}, err
	}
	m, err := models.Load(ctx, ref.Name, ref.Version)
	if err != nil {
		return Learned{}, err
	}
	if !o.Replace && (m.Manifest.Reference != nil || m.Manifest.Sample != nil) {
		return Learned{}, fmt.Errorf("model %s has a reference or a sample: --replace writes over them, and what was judged by them cannot be compared with what will be", ref)
	}
	l, err := read(m)
	if err != nil {
		return Learned{}, err
	}
	return withDraft(cfg, func(temp config.Config) (Learned, error) {
		made := filepath.Join(temp.Models.Repository, ref.Name, ref.Version)
		text, err := schemas.ReadManifestText(dir)
		if err != nil {
			return Learned{}, err
		}
		// With what the runtime reads: other files, and folders, are no part of a version.
		err = errors.Join(
			os.MkdirAll(made, 0o755), //nolint:gosec // models are no secrets
			os.WriteFile(filepath.Join(made, schemas.ManifestFile), text, 0o644), //nolint:gosec // models are no secrets
			inference.CopyArtifact(made, filepath.Join(dir, m.Manifest.Artifact.File), &m.Manifest.Artifact))
		if err != nil {
			return Learned{}, fmt.Errorf("copy model %s: %w", ref, err)
		}
		l.was = m.Manifest
		learned, err := l.complete(ctx, temp, ref)
		if err != nil {
			return Learned{}, err
		}
		for _, step := range handOver(dir, made, m.Manifest, l.m) {
			if err := step(); err != nil {
				return Learned{}, fmt.Errorf("change model %s: %w", ref, err)
			}
		}
		return learned, nil
	})
}

// withDraft calls f with a configuration whose repository is an empty folder in the
// repository of cfg, where nothing looks for models, and removes it.
func withDraft[T any](cfg config.Config, f func(config.Config) (T, error)) (T, error) {
	var none T
	temp, err := os.MkdirTemp(cfg.Models.Repository, ".init-")
	if err != nil {
		return none, fmt.Errorf("make a folder in models.repository: %w", err)
	}
	defer os.RemoveAll(temp) // what is left of it is of no use
	cfg.Models.Repository = temp
	return f(cfg)
}

// complete completes a version's manifest by data, scores the data, and writes its reference, its
// sample and how it is monitored. The version loads with all of it, or an error says why not.
func (l *learner) complete(ctx context.Context, cfg config.Config, ref inference.Ref) (Learned, error) {
	dir := filepath.Join(cfg.Models.Repository, ref.Name, ref.Version)
	if l.t.rows == 0 {
		return Learned{}, fmt.Errorf("%s: no rows", l.t.name)
	}
	text, err := schemas.ReadManifestText(dir)
	if err != nil {
		return Learned{}, err
	}
	times, err := l.manifest(text)
	if err != nil {
		return Learned{}, err
	}
	write := func(e *schemas.ManifestEdit) error {
		return replaceFile(filepath.Join(dir, schemas.ManifestFile), e.Text())
	}
	if err := write(l.e); err != nil {
		return Learned{}, err
	}
	m, err := loadTried(ctx, cfg, ref)
	if err != nil {
		return Learned{}, err
	}
	answers, sample, err := l.score(ctx, m)
	if err != nil {
		return Learned{}, err
	}
	made, err := l.reference(ctx, answers, times)
	if err != nil {
		return Learned{}, err
	}
	was := cmp.Or(l.was, m.Manifest)
	referenceFile, sampleFile := fileName(was, "reference", ".json", made.json), fileName(was, "sample", ".arrow", sample)
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, referenceFile), made.json, 0o644), //nolint:gosec // models are no secrets
		os.WriteFile(filepath.Join(dir, sampleFile), sample, 0o644),       //nolint:gosec // models are no secrets
		l.e.SetSection("reference", "reference:", "  file: "+referenceFile),
		l.e.SetSection("sample", "sample: # rows with the answers that the version must repeat when it is loaded", "  file: "+sampleFile),
		l.e.RemoveIn("monitoring", "reference")) // which would be learned
	if l.m.Monitoring == nil {
		err = errors.Join(err, l.e.SetSection("monitoring", monitoringLines(made.plan, made.was)...))
	} else {
		l.note("the manifest's own monitoring was left as it is; --replace writes the proposed one")
	}
	if err != nil {
		return Learned{}, err
	}
	if _, err := l.e.FixDigests(func(file string) (string, error) { return inference.Digest(filepath.Join(dir, file)) }); err != nil {
		return Learned{}, err
	}
	if err := write(l.e); err != nil {
		return Learned{}, err
	}
	complete, err := loadTried(ctx, cfg, ref)
	if err != nil {
		return Learned{}, err
	}
	l.m = complete.Manifest
	return Learned{Table: l.table(made), Look: l.look}, nil
}

// manifest completes the text of a manifest by what the columns are, and returns the event times of the
// rows; nil without any.
func (l *learner) manifest(text []byte) (times []int64, err error) {
	for _, n := range l.t.notes {
		l.note("%s: %s", l.t.name, n)
	}
	if l.e, err = schemas.EditManifest(text); err != nil {
		return nil, err
	}
	if l.o.Replace {
		if err := l.parse(); err != nil {
			return nil, err
		}
		l.monitored = l.m.Monitoring
		if err := errors.Join(l.e.Remove("reference"), l.e.Remove("sample"), l.e.Remove("monitoring")); err != nil {
			return nil, err
		}
	}
	if err := l.parse(); err != nil {
		return nil, err
	}
	if err := l.match(); err != nil {
		return nil, err
	}
	if err := l.features(); err != nil {
		return nil, err
	}
	if times, err = l.eventTime(); err != nil {
		return nil, err
	}
	return times, l.target()
}

// loadTried loads a version that a child process has loaded and run.
func loadTried(ctx context.Context, cfg config.Config, ref inference.Ref) (*inference.Model, error) {
	models, err := catalog.Open(cfg.Models)
	if err != nil {
		return nil, err
	}
	m, err := models.Load(ctx, ref.Name, ref.Version)
	if err == nil {
		err = catalog.Try(ctx, cfg.Models, ref)
	}
	return m, err
}

// score scores all rows and returns the outputs as columns, and the sample as an Arrow IPC file.
// The outputs of data that have them are not scored but for the sample.
func (l *learner) score(ctx context.Context, m *inference.Model) (answers [][]arrow.Array, sample []byte, err error) {
	alloc := memory.NewGoAllocator()
	instance, err := inference.NewInstance(ctx, catalog.Runtimes(zerolog.Nop()), m, alloc)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, instance.Close()) }()
	answers = make([][]arrow.Array, len(l.m.Outputs))
	keep := newSampler(l.m.SampleSchema(), l.t.rows, alloc)
	first := 0
	var why *schemas.RequestError
	for _, batch := range l.t.batches {
		columns := make([]arrow.Array, len(l.from))
		for i, c := range l.from {
			columns[i] = batch.Column(c)
		}
		in, err := m.Rows(ctx, columns, alloc)
		if err != nil {
			return nil, nil, fmt.Errorf("%s, rows from %d: %w", l.t.name, first, err)
		}
		out, bad, err := instance.Predict(ctx, in)
		if err != nil {
			return nil, nil, fmt.Errorf("score %s, rows from %d: %w", l.t.name, first, err)
		}
		for c := range answers {
			answers[c] = append(answers[c], out.Column(c))
		}
		if len(l.failed) == 0 && len(bad) > 0 {
			why = bad[0].RequestError
		}
		for _, b := range bad {
			l.failed = append(l.failed, first+b.Row)
		}
		keep.add(in, out, first)
		first += int(in.NumRows())
	}
	slices.Sort(l.failed)
	if failed := len(l.failed); failed > 0 {
		said := why.Error()
		if without := l.incomplete(); len(without) > 0 {
			said += fmt.Sprintf("; rows have no value of %s, which this graph may not take", few(without))
		}
		if failed == l.t.rows {
			return nil, nil, fmt.Errorf("score %s: the model fails on every row, the first time with %s", l.t.name, said)
		}
		l.note("the model fails on %d of %d rows, the first time with %s", failed, l.t.rows, said)
	}
	sample, err = keep.file()
	return answers, sample, err
}

// incomplete returns the features that some rows have no value of, and that have no default.
func (l *learner) incomplete() []string {
	var names []string
	for i, f := range l.m.Features {
		if l.what[i].missing > 0 && f.Default == nil {
			names = append(names, f.Name)
		}
	}
	return names
}

// madeReference is what was made of the data.
type madeReference struct {
	reference *schemas.Reference
	json      []byte
	plan      *reference.Plan
	windows   reference.Windows
	was       *schemas.Monitoring // that the plan takes the place of; nil: none
}

func (l *learner) reference(ctx context.Context, answers [][]arrow.Array, times []int64) (*madeReference, error) {
	var columns []reference.Column
	for i := range l.m.Features {
		c, err := l.featureColumn(ctx, i)
		if err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	outOfFold := false
	for i, o := range l.m.Outputs {
		parts := answers[i]
		given := l.o.Score
		if l.stored {
			given = o.Name
		} else if l.m.Target == nil || o.Name != l.m.Target.Score {
			given = ""
		}
		if given != "" {
			column, err := l.t.index(given)
			if err == nil {
				parts, err = l.t.cast(ctx, column, l.m.OutputFields()[i].Type)
			}
			if err != nil && !l.stored {
				err = fmt.Errorf("--score is of output %s, the %s target's score: %w", o.Name, l.m.Target.Kind, err)
				if l.m.Target.Kind == schemas.TargetMulticlass {
					err = fmt.Errorf("%w; where labels are positive or not, say which by --positive-above or --positive", err)
				}
			}
			if err != nil {
				return nil, err
			}
			outOfFold = !l.stored
		}
		columns = append(columns, l.answered(gather(o.Name, parts, nil, l.isClass(o.Name))))
	}
	ref, err := reference.Make(columns)
	if err != nil {
		return nil, err
	}
	var left []string
	for _, c := range columns {
		if _, ok := ref.Column(c.Name); !ok {
			left = append(left, c.Name)
		}
	}
	if len(left) > 0 {
		const why = "most of their rows have a value that few others have, as identifiers are"
		if len(ref.Columns) == 0 {
			return nil, fmt.Errorf("no column is left to compare windows by: of %s, %s; a category (--categorical) is compared by the values that it lists", few(left), why)
		}
		l.note("windows are not compared by %s: %s", few(left), why)
	}
	data := reference.Data{Columns: columns}
	if times = without(times, l.failed); times != nil {
		if data.Windows, err = reference.CutByTime(times, l.o.Window); err != nil {
			return nil, fmt.Errorf("--window: %w", err)
		}
	} else {
		data.Windows = reference.CutByRows(int(ref.Rows))
		if l.o.Window != 0 {
			data.Windows.Window = l.o.Window
		}
	}
	ref.Made = fmt.Sprintf("%s, %d rows", filepath.Base(l.t.name), ref.Rows)
	if times != nil {
		ref.Made += fmt.Sprintf(" from %s to %s", day(slices.Min(times)), day(slices.Max(times)))
	}
	if l.o.Label != "" {
		column, err := l.t.index(l.o.Label)
		if err != nil {
			return nil, err
		}
		label := l.answered(gather(l.o.Label, l.t.parts(column), nil, false))
		if label.Numbers == nil && l.t.schema.Field(column).Type.ID() == arrow.BOOL {
			label = boolNumbers(label)
		}
		at := slices.IndexFunc(columns, func(c reference.Column) bool { return c.Name == l.m.Target.Score })
		data.Labels = reference.LabelsOf(l.m.Target, &label, &columns[at])
		if data.Labels.Rows() == 0 {
			return nil, fmt.Errorf("no row has a prediction and a label that target of the manifest can compare: kind %s, score %s, and column %q of type %s",
				l.m.Target.Kind, l.m.Target.Score, l.o.Label, l.t.schema.Field(column).Type)
		}
		if share := data.Labels.Predicted(); share < 0.5 {
			return nil, fmt.Errorf("--label %s: labels are compared with output %s as classes, and %.3g %% of them are none that the model answers: "+
				"where they are positive or not, say which by --positive-above or --positive; where the model answers other names, give labels in those", l.o.Label, l.m.Target.Score, 100*(1-share))
		}
		ref.Quality, ref.OutOfFold = rounded(data.Labels.Figures()), outOfFold
		ref.Estimator = l.estimator(data.Labels)
		l.doubt(ref, data.Labels)
		if outOfFold {
			score := slices.IndexFunc(l.m.Outputs, func(o schemas.Output) bool { return o.Name == l.m.Target.Score })
			own := l.answered(gather(l.m.Target.Score, answers[score], nil, l.isClass(l.m.Target.Score)))
			l.doubtScores(&columns[at], &own)
		}
	}
	rate := l.o.Rate
	if rate == 0 {
		rate = schemas.DefaultRate
	}
	plan, err := reference.Propose(l.m, ref, data, rate)
	if err != nil {
		return nil, err
	}
	l.remark(plan, data.Windows)
	text, err := json.Marshal(ref)
	if err != nil {
		return nil, fmt.Errorf("write the reference: %w", err)
	}
	text = append(bytes.ReplaceAll(text, []byte(`{"name"`), []byte("\n{\"name\"")), '\n')
	return &madeReference{ref, text, plan, data.Windows, l.monitored}, nil
}

// estimator is what estimates the quality of a binary target before labels come; nil where the rows make none.
func (l *learner) estimator(labels *reference.Labels) *schemas.Estimator {
	if l.m.Target.Kind != schemas.TargetBinary {
		return nil
	}
	e, err := labels.Estimator(l.m.Target.Threshold)
	if err != nil {
		l.note("quality is not estimated before labels come: %v", err)
	}
	return e
}

// featureColumn is a feature as its rows are stored.
func (l *learner) featureColumn(ctx context.Context, i int) (reference.Column, error) {
	f := &l.m.Features[i]
	parts, err := l.t.cast(ctx, l.from[i], l.m.SampleSchema().Field(i).Type)
	if err != nil {
		return reference.Column{}, err
	}
	if f.Default != nil {
		for p, part := range parts {
			if parts[p], err = inference.Filled(f, part); err != nil {
				return reference.Column{}, err
			}
		}
	}
	name := l.t.schema.Field(l.from[i]).Name
	categorical := slices.Contains(l.o.Categorical, name)
	if categorical && (f.Type == schemas.TypeFloat32 || f.Type == schemas.TypeFloat64) && !l.what[i].whole {
		return reference.Column{}, fmt.Errorf("--categorical: column %q holds fractions", name)
	}
	return l.answered(gather(f.Name, parts, f.Categories, categorical)), nil
}

// answered leaves out the rows that the model has failed on, as windows do: such requests are dead
// letters.
func (l *learner) answered(c reference.Column) reference.Column {
	c.Numbers, c.Codes = without(c.Numbers, l.failed), without(c.Codes, l.failed)
	return c
}

// without returns values but those at indices, which ascend.
func without[T any](values []T, indices []int) []T {
	if values == nil || len(indices) == 0 {
		return values
	}
	kept := make([]T, 0, len(values)-len(indices))
	from := 0
	for _, i := range indices {
		kept, from = append(kept, values[from:i]...), i+1
	}
	return append(kept, values[from:]...)
}

func day(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339) }

// boolNumbers are the labels false and true as feedback has them, 0 and 1.
func boolNumbers(c reference.Column) reference.Column {
	out := reference.Column{Name: c.Name, Numbers: make([]float64, len(c.Codes))}
	for i, code := range c.Codes {
		switch {
		case code < 0:
			out.Numbers[i] = math.NaN()
		case c.Words[code] == "true":
			out.Numbers[i] = 1
		}
	}
	return out
}

func rounded(figures map[schemas.Stattest]float64) map[schemas.Stattest]float64 {
	for name, v := range figures {
		figures[name] = math.Round(v*1e6) / 1e6
	}
	return figures
}
