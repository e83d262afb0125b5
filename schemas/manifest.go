package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
)

// ManifestFile is the name of the manifest in a version's folder of the model repository.
const ManifestFile = "manifest.yaml"

// Manifest is the one source of truth about one version of a model. The decoder plan,
// the Arrow schema, the ClickHouse table and the drift plan are derived from it.
type Manifest struct {
	Name        string       `yaml:"name"`    // [a-z][a-z0-9_]*, at most 60 characters
	Version     string       `yaml:"version"` // [A-Za-z0-9][A-Za-z0-9._-]*, at most 60 characters
	Description string       `yaml:"description,omitempty"`
	Runtime     Runtime      `yaml:"runtime"`
	Artifact    Artifact     `yaml:"artifact"`
	Device      Device       `yaml:"device,omitempty"`       // default cpu
	CPUFallback bool         `yaml:"cpu_fallback,omitempty"` // with device cuda: run on the CPU where no CUDA provider is available
	Features    []Feature    `yaml:"features"`               // in the order of the model's input
	EventTime   EventTime    `yaml:"event_time,omitempty"`   // default: the Kafka timestamp of the request
	Inputs      []Input      `yaml:"inputs,omitempty"`       // default: see Input
	Outputs     []Output     `yaml:"outputs"`                // at least one
	Batch       Batch        `yaml:"batch,omitempty"`        // defaults: DefaultBatch
	Target      *Target      `yaml:"target,omitempty"`       // what feedback says about a prediction; without it there is no accuracy
	Requires    Requirements `yaml:"requirements,omitempty"` // recorded with the version; nothing enforces them yet
	Reference   *Artifact    `yaml:"reference,omitempty"`    // a Reference as JSON, made at training; without it there is no drift
	Sample      *Artifact    `yaml:"sample,omitempty"`       // an Arrow IPC file, made at training: see SampleSchema
	Monitoring  *Monitoring  `yaml:"monitoring,omitempty"`   // without it the version is scored and stored, not judged
}

// Runtime is what executes a model.
type Runtime string

// RuntimeONNX executes ONNX graphs with ONNX Runtime.
const RuntimeONNX Runtime = "onnx"

// Device is what a runtime computes on.
type Device string

// The devices.
const (
	DeviceCPU  Device = "cpu"
	DeviceCUDA Device = "cuda"
)

// Artifact is a file beside the manifest, named by its digest so that it cannot change
// unnoticed.
type Artifact struct {
	File   string `yaml:"file"`
	SHA256 string `yaml:"sha256"` // hexadecimal
	// External are the files that the artifact keeps its weights in, where they are not in it.
	External []External `yaml:"external,omitempty"`
}

// External is a file beside the manifest that an artifact reads.
type External struct {
	File   string `yaml:"file"`
	SHA256 string `yaml:"sha256"` // hexadecimal
}

// FeatureType is the type of one feature. The names are Arrow's, but for category.
type FeatureType string

// The feature types.
const (
	TypeBool     FeatureType = "bool"
	TypeInt32    FeatureType = "int32"
	TypeInt64    FeatureType = "int64"
	TypeFloat32  FeatureType = "float32"
	TypeFloat64  FeatureType = "float64"
	TypeString   FeatureType = "string"
	TypeCategory FeatureType = "category" // a string of few distinct values; to numeric tensors it is its index in Categories, -1 when unknown or null
)

// Numeric tells whether values of the type can be ordered and averaged.
func (t FeatureType) Numeric() bool {
	return t == TypeInt32 || t == TypeInt64 || t == TypeFloat32 || t == TypeFloat64
}

// Policy says what happens to a value outside what the manifest allows.
type Policy string

// The policies.
const (
	PolicyKeep   Policy = "keep"   // score it as it is, and let the monitor count it
	PolicyReject Policy = "reject" // dead-letter the request
)

// Feature is one field of a request that the model reads.
//
// A feature is required unless Optional or a Default says otherwise. An optional feature
// that is absent or null is stored as NULL and reaches a float tensor as NaN, an index
// tensor as -1, a string tensor as "". Features of type bool, int32 and int64 cannot be
// optional: no number could stand for "absent".
type Feature struct {
	Name        string      `yaml:"name"` // [A-Za-z_][A-Za-z0-9_]*; no system column's name
	Type        FeatureType `yaml:"type"`
	Optional    bool        `yaml:"optional,omitempty"`
	Default     any         `yaml:"default,omitempty"`
	Min         *float64    `yaml:"min,omitempty"`          // numeric types; inclusive
	Max         *float64    `yaml:"max,omitempty"`          // numeric types; inclusive
	OutOfRange  Policy      `yaml:"out_of_range,omitempty"` // default keep
	Categories  []string    `yaml:"categories,omitempty,flow"`
	Unknown     Policy      `yaml:"unknown,omitempty"` // a value not in Categories; default keep
	Sensitive   bool        `yaml:"sensitive,omitempty"`
	Description string      `yaml:"description,omitempty"`
}

// EventTime names the field that carries when the request's subject happened. It is
// stored in the column event_time, whatever the field is called.
type EventTime struct {
	Field  string     `yaml:"field,omitempty"`
	Format TimeFormat `yaml:"format,omitempty"` // default rfc3339
}

// TimeFormat is the notation of a time in a request.
type TimeFormat string

// The time formats. Numbers count from 1970-01-01T00:00:00Z.
const (
	TimeRFC3339 TimeFormat = "rfc3339" // a string; up to nanoseconds, kept to the microsecond
	TimeUnix    TimeFormat = "unix_s"  // a number of seconds, fractions allowed
	TimeUnixMS  TimeFormat = "unix_ms" // a whole number
	TimeUnixUS  TimeFormat = "unix_us" // a whole number
)

// Input is one tensor that the graph takes, and the features that fill it: shape
// [rows, len(Features)], or [rows] where the graph wants one dimension.
// Without inputs in the manifest, a graph of one input takes all features, and a graph of
// several takes from each the feature of its name.
type Input struct {
	Name     string   `yaml:"name"`
	Features []string `yaml:"features,flow"`
}

// Output is one prediction column.
type Output struct {
	Name   string      `yaml:"name"`             // column and JSON key; [A-Za-z_][A-Za-z0-9_]*
	Tensor string      `yaml:"tensor,omitempty"` // the graph's output; default Name
	Index  int         `yaml:"index,omitempty"`  // column of a tensor of shape [rows, columns]
	Type   FeatureType `yaml:"type"`             // bool, int32, int64, float32, float64 or string
}

// Batch bounds how requests are gathered. A batch is what has arrived: there is no wait
// to configure.
type Batch struct {
	MaxRows       int `yaml:"max_rows,omitempty"`             // of one request batch; default 8192
	MaxBytes      int `yaml:"max_bytes,omitempty"`            // of the request values of one batch; default 8 MiB
	PreferredRows int `yaml:"preferred_batch_size,omitempty"` // rows of one run of the runtime; 0 lets millrace choose
}

// DefaultBatch returns the defaults of Batch.
func DefaultBatch() Batch { return Batch{MaxRows: 8192, MaxBytes: 8 << 20} }

// Target says how a label that arrives as feedback is compared with a prediction.
// For a binary target, the row is positive when label > PositiveAbove, and is predicted
// positive when score >= Threshold.
type Target struct {
	Kind          TargetKind `yaml:"kind"`
	Score         string     `yaml:"score"`                    // the output compared with the label; for binary, the probability of the positive class
	Threshold     float64    `yaml:"threshold,omitempty"`      // binary; default 0.5
	PositiveAbove float64    `yaml:"positive_above,omitempty"` // binary; default 0, so that 1 is positive
}

// TargetKind is the kind of problem that a model solves.
type TargetKind string

// TargetBinary is two-class classification.
const TargetBinary TargetKind = "binary"

// Requirements are what its maker demands of a version. Zero means no requirement.
type Requirements struct {
	LatencyMS    float64 `yaml:"latency_ms,omitempty"`       // p99 of latency_us, in milliseconds
	ThroughputPS float64 `yaml:"throughput_per_s,omitempty"` // requests per second of one lane
	Accuracy     float64 `yaml:"accuracy,omitempty"`         // share of right predictions, 0 to 1
	MemoryMB     float64 `yaml:"memory_mb,omitempty"`        // resident size of the worker with the version loaded
}

// Monitoring is the drift and accuracy plan of a version.
type Monitoring struct {
	Window      Duration `yaml:"window"`                 // length of the tumbling event-time windows, aligned to 1970-01-01T00:00:00Z
	Lateness    Duration `yaml:"lateness,omitempty"`     // a window closes when the watermark is this far past its end
	IdleTimeout Duration `yaml:"idle_timeout,omitempty"` // a partition without requests for this long holds no window open; default 1m
	LabelDelay  Duration `yaml:"label_delay,omitempty"`  // accuracy is judged this much after a window closed
	MinRows     int64    `yaml:"min_rows,omitempty"`     // below it a window gets no verdict; default 100
	Checks      []Check  `yaml:"checks"`
}

// Check compares one figure of a window with its threshold. A breach of a check that has
// Retrain set raises the window's retraining event; any other breach raises an alert.
type Check struct {
	Stattest  Stattest `yaml:"stattest"`
	Column    string   `yaml:"column,omitempty"`   // feature or output; of dataset and accuracy checks, none
	Threshold float64  `yaml:"threshold"`          // see Stattest for the direction
	Severity  Severity `yaml:"severity,omitempty"` // default warning
	Retrain   bool     `yaml:"retrain,omitempty"`
}

// Stattest names a drift score or a quality figure; the names are Evidently's and
// scikit-learn's.
type Stattest string

// The drift scores breach at or above their threshold, the quality figures below it.
const (
	StattestPSI       Stattest = "psi"         // population stability index over reference bins
	StattestKS        Stattest = "ks"          // Kolmogorov-Smirnov statistic D; numeric columns
	StattestChiSquare Stattest = "chisquare"   // Cramér's V of the chi-square test; the effect size, since the statistic grows with the rows
	StattestShare     Stattest = "drift_share" // share of the columns of the version's other checks that drifted in the window

	StattestAccuracy  Stattest = "accuracy"
	StattestPrecision Stattest = "precision"
	StattestRecall    Stattest = "recall"
	StattestAUC       Stattest = "roc_auc"
)

// Quality tells whether the figure needs labels; such a figure breaches below its
// threshold, a drift score at or above it.
func (s Stattest) Quality() bool {
	switch s {
	case StattestAccuracy, StattestPrecision, StattestRecall, StattestAUC:
		return true
	default:
		return false
	}
}

// Severity orders alerts.
type Severity string

// The severities.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// AtLeast tells whether s is as severe as other or more.
func (s Severity) AtLeast(other Severity) bool { return severityRank(s) >= severityRank(other) }

func severityRank(s Severity) int {
	return slices.Index([]Severity{SeverityInfo, SeverityWarning, SeverityCritical}, s)
}

// Duration is a time.Duration written as in Go ("90s", "24h"), with "d" for days of 24 hours.
type Duration time.Duration

// Std returns the duration as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// UnmarshalYAML reads a duration.
func (d *Duration) UnmarshalYAML(text []byte) error {
	s := strings.Trim(string(bytes.TrimSpace(text)), `"'`)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days+";", "%d;", &n); err != nil || n < 0 || n > 36500 {
			return fmt.Errorf("%q is no duration: write 30s, 15m, 24h or 7d", s)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is no duration: write 30s, 15m, 24h or 7d", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalYAML writes a duration as UnmarshalYAML reads it.
func (d Duration) MarshalYAML() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// SystemColumns are the columns of every observations table beside features and outputs,
// in their order. No feature or output may bear one of these names.
func SystemColumns() []string {
	return []string{
		ColumnRequestID, ColumnEventTime, ColumnVersion, ColumnVariant, ColumnOutcome, ColumnErrorClass,
		ColumnLatency, ColumnQueue, ColumnScoredAt,
		ColumnTopicID, ColumnPartition, ColumnOffset, ColumnRow,
	}
}

var (
	versionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$`)
	columnName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,119}$`)
	digest      = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ValidModelName tells whether a manifest could bear the name: [a-z][a-z0-9_]*, at most 60
// characters. Each label is asked for it, so it is no regular expression.
func ValidModelName(name string) bool {
	if name == "" || len(name) > 60 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// ParseManifest reads and validates a manifest. An unknown key, a wrong type and a
// duplicate key are errors that show line and column; what is well-formed but makes no
// sense is reported all at once, by key. name is used in errors: the file's path.
func ParseManifest(name string, text []byte) (*Manifest, error) {
	m := &Manifest{Batch: DefaultBatch()}
	if err := DecodeYAML(text, m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", name, describeYAML(err))
	}
	m.setDefaults()
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", name, err)
	}
	return m, nil
}

// ReadManifest reads the manifest of the version whose folder dir is.
func ReadManifest(dir string) (*Manifest, error) {
	text, err := ReadManifestText(dir)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return ParseManifest(filepath.Join(dir, ManifestFile), text)
}

// ReadManifestText reads the text of the manifest of the version whose folder dir is. It is
// not yet checked.
func ReadManifestText(dir string) ([]byte, error) {
	path := filepath.Join(dir, ManifestFile)
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readYAML(f, path)
}

// DecodeYAML checks YAML (see CheckYAML) and reads it YAML strictly. The decoder panics on some broken input.
func DecodeYAML(text []byte, into any) (err error) {
	if err := CheckYAML(text); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("not readable as YAML: %v", p)
		}
	}()
	if file, err := parser.ParseBytes(text, 0); err == nil && len(file.Docs) > 0 && file.Docs[0].Body != nil {
		return yaml.NodeToValue(StringsAsWritten(file.Docs[0].Body, reflect.TypeOf(into)), into, yaml.Strict())
	}
	return yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(into) // says what is wrong
}

// describeYAML renders a YAML error on one line, position first.
func describeYAML(err error) error {
	var ye yaml.Error
	if errors.As(err, &ye) && ye.GetToken() != nil {
		p := ye.GetToken().Position
		return fmt.Errorf("line %d, column %d: %s", p.Line, p.Column, ye.GetMessage())
	}
	return errors.New(strings.Join(strings.Fields(err.Error()), " "))
}

func (m *Manifest) setDefaults() {
	if m.Device == "" {
		m.Device = DeviceCPU
	}
	if m.EventTime.Field != "" && m.EventTime.Format == "" {
		m.EventTime.Format = TimeRFC3339
	}
	for i := range m.Features {
		f := &m.Features[i]
		if f.OutOfRange == "" {
			f.OutOfRange = PolicyKeep
		}
		if f.Unknown == "" {
			f.Unknown = PolicyKeep
		}
	}
	for i := range m.Outputs {
		if m.Outputs[i].Tensor == "" {
			m.Outputs[i].Tensor = m.Outputs[i].Name
		}
	}
	d := DefaultBatch()
	if m.Batch.MaxRows == 0 {
		m.Batch.MaxRows = d.MaxRows
	}
	if m.Batch.MaxBytes == 0 {
		m.Batch.MaxBytes = d.MaxBytes
	}
	if m.Target != nil && m.Target.Threshold == 0 {
		m.Target.Threshold = 0.5
	}
	if mon := m.Monitoring; mon != nil {
		if mon.IdleTimeout == 0 {
			mon.IdleTimeout = Duration(time.Minute)
		}
		if mon.MinRows == 0 {
			mon.MinRows = 100
		}
		for i := range mon.Checks {
			if mon.Checks[i].Severity == "" {
				mon.Checks[i].Severity = SeverityWarning
			}
		}
	}
}

// Feature returns the feature of that name.
func (m *Manifest) Feature(name string) (*Feature, bool) {
	i := slices.IndexFunc(m.Features, func(f Feature) bool { return f.Name == name })
	if i < 0 {
		return nil, false
	}
	return &m.Features[i], true
}

// Output returns the output of that name.
func (m *Manifest) Output(name string) (*Output, bool) {
	i := slices.IndexFunc(m.Outputs, func(o Output) bool { return o.Name == name })
	if i < 0 {
		return nil, false
	}
	return &m.Outputs[i], true
}

// Validate reports everything that makes no sense, one error each, joined.
func (m *Manifest) Validate() error {
	v := &violations{}
	if !ValidModelName(m.Name) {
		v.add("name", "%q is not a model name: [a-z][a-z0-9_]*, at most 60 characters", m.Name)
	}
	v.match("version", m.Version, versionName, "a version: [A-Za-z0-9][A-Za-z0-9._-]*, at most 60 characters")
	v.oneOf("runtime", string(m.Runtime), string(RuntimeONNX))
	v.oneOf("device", string(m.Device), string(DeviceCPU), string(DeviceCUDA))
	v.artifact("artifact", &m.Artifact)
	v.artifact("reference", m.Reference)
	v.artifact("sample", m.Sample)

	taken := map[string]string{}
	for _, c := range append(SystemColumns(), ColumnStoredAt) {
		taken[strings.ToLower(c)] = "a system column"
	}
	if len(m.Features) == 0 {
		v.add("features", "at least one is needed")
	}
	categories := 0
	for i := range m.Features {
		m.Features[i].validate(v, fmt.Sprintf("features[%d]", i), taken)
		for _, c := range m.Features[i].Categories {
			categories += len(c)
		}
	}
	if categories > MaxCategoryBytes {
		v.add("features", "their categories have %d bytes in all, at most %d are allowed; use type string", categories, MaxCategoryBytes)
	}
	if m.EventTime.Field != "" {
		v.oneOf("event_time.format", string(m.EventTime.Format),
			string(TimeRFC3339), string(TimeUnix), string(TimeUnixMS), string(TimeUnixUS))
		if _, ok := m.Feature(m.EventTime.Field); ok {
			v.add("event_time.field", "%q is also a feature; send it under two names", m.EventTime.Field)
		}
	} else if m.EventTime.Format != "" {
		v.add("event_time.field", "missing, but event_time.format is set")
	}
	for i, in := range m.Inputs {
		key := fmt.Sprintf("inputs[%d]", i)
		if in.Name == "" {
			v.add(key+".name", "missing")
		}
		if len(in.Features) == 0 {
			v.add(key+".features", "at least one is needed")
		}
		for _, name := range in.Features {
			if _, ok := m.Feature(name); !ok {
				v.add(key+".features", "%q is no feature", name)
			}
		}
	}
	if len(m.Outputs) == 0 {
		v.add("outputs", "at least one is needed")
	}
	for i, o := range m.Outputs {
		key := fmt.Sprintf("outputs[%d]", i)
		v.column(key+".name", o.Name, taken)
		v.oneOf(key+".type", string(o.Type), string(TypeBool), string(TypeInt32), string(TypeInt64),
			string(TypeFloat32), string(TypeFloat64), string(TypeString))
		if o.Index < 0 {
			v.add(key+".index", "must be at least 0, got %d", o.Index)
		}
	}
	v.between("batch.max_rows", float64(m.Batch.MaxRows), 1, 1<<20)
	v.between("batch.max_bytes", float64(m.Batch.MaxBytes), 1<<10, 1<<30)
	v.between("batch.preferred_batch_size", float64(m.Batch.PreferredRows), 0, 1<<20)
	if t := m.Target; t != nil {
		v.oneOf("target.kind", string(t.Kind), string(TargetBinary))
		if o, ok := m.Output(t.Score); !ok {
			v.add("target.score", "%q is no output", t.Score)
		} else if !o.Type.Numeric() {
			v.add("target.score", "output %q is %s, not a number", t.Score, o.Type)
		}
		v.between("target.threshold", t.Threshold, math.SmallestNonzeroFloat64, 1)
		v.between("target.positive_above", t.PositiveAbove, -math.MaxFloat64, math.MaxFloat64)
	}
	v.between("requirements.latency_ms", m.Requires.LatencyMS, 0, math.MaxFloat64)
	v.between("requirements.throughput_per_s", m.Requires.ThroughputPS, 0, math.MaxFloat64)
	v.between("requirements.accuracy", m.Requires.Accuracy, 0, 1)
	v.between("requirements.memory_mb", m.Requires.MemoryMB, 0, math.MaxFloat64)
	m.validateMonitoring(v)
	return errors.Join(v.errs...)
}

func (m *Manifest) validateMonitoring(v *violations) {
	mon := m.Monitoring
	if mon == nil {
		return
	}
	v.between("monitoring.window (seconds)", mon.Window.Std().Seconds(), 1, 366*24*3600)
	if mon.Window.Std()%time.Second != 0 {
		v.add("monitoring.window", "must be whole seconds, got %s", mon.Window.Std())
	}
	v.between("monitoring.lateness (seconds)", mon.Lateness.Std().Seconds(), 0, 366*24*3600)
	v.between("monitoring.label_delay (seconds)", mon.LabelDelay.Std().Seconds(), 0, 366*24*3600)
	v.between("monitoring.idle_timeout (seconds)", mon.IdleTimeout.Std().Seconds(), 0.001, 366*24*3600)
	v.between("monitoring.min_rows", float64(mon.MinRows), 1, math.MaxInt64)
	seen := map[string]bool{}
	for i, c := range mon.Checks {
		key := fmt.Sprintf("monitoring.checks[%d]", i)
		id := string(c.Stattest) + " " + c.Column
		if seen[id] {
			v.add(key, "a second check of %s", strings.TrimSpace(id))
		}
		seen[id] = true
		v.oneOf(key+".severity", string(c.Severity), string(SeverityInfo), string(SeverityWarning), string(SeverityCritical))
		if !finite(c.Threshold) || c.Threshold < 0 {
			v.add(key+".threshold", "must be at least 0, got %v", c.Threshold)
		}
		switch c.Stattest {
		case StattestPSI, StattestKS, StattestChiSquare:
			if m.Reference == nil {
				v.add(key, "%s compares with the reference, and the manifest has none", c.Stattest)
			}
			m.validateCheckColumn(v, key, c)
		case StattestShare:
			if c.Column != "" {
				v.add(key+".column", "%s is of the whole data set; leave the column out", c.Stattest)
			}
		case StattestAccuracy, StattestPrecision, StattestRecall, StattestAUC:
			if m.Target == nil {
				v.add(key, "%s needs labels, and the manifest has no target", c.Stattest)
			}
			if c.Column != "" {
				v.add(key+".column", "%s is of the target; leave the column out", c.Stattest)
			}
		default:
			v.oneOf(key+".stattest", string(c.Stattest), string(StattestPSI), string(StattestKS), string(StattestChiSquare),
				string(StattestShare), string(StattestAccuracy), string(StattestPrecision), string(StattestRecall), string(StattestAUC))
		}
	}
}

func (m *Manifest) validateCheckColumn(v *violations, key string, c Check) {
	var typ FeatureType
	if f, ok := m.Feature(c.Column); ok {
		typ = f.Type
	} else if o, ok := m.Output(c.Column); ok {
		typ = o.Type
	} else {
		v.add(key+".column", "%q is neither a feature nor an output", c.Column)
		return
	}
	if c.Stattest == StattestKS && !typ.Numeric() {
		v.add(key+".stattest", "ks needs a numeric column, and %q is %s", c.Column, typ)
	}
}

func (f *Feature) validate(v *violations, key string, taken map[string]string) {
	v.column(key+".name", f.Name, taken)
	v.oneOf(key+".type", string(f.Type), string(TypeBool), string(TypeInt32), string(TypeInt64),
		string(TypeFloat32), string(TypeFloat64), string(TypeString), string(TypeCategory))
	v.oneOf(key+".out_of_range", string(f.OutOfRange), string(PolicyKeep), string(PolicyReject))
	v.oneOf(key+".unknown", string(f.Unknown), string(PolicyKeep), string(PolicyReject))
	if f.Optional && f.Default != nil {
		v.add(key+".default", "a feature with a default is never absent; drop optional or default")
	}
	if f.Optional && (f.Type == TypeBool || f.Type == TypeInt32 || f.Type == TypeInt64) {
		v.add(key+".optional", "a %s has no value for absent; give a default, or make it float64", f.Type)
	}
	if !f.Type.Numeric() && (f.Min != nil || f.Max != nil || f.OutOfRange == PolicyReject) {
		v.add(key, "min, max and out_of_range are for numbers, and %q is %s", f.Name, f.Type)
	}
	if (f.Min != nil && !finite(*f.Min)) || (f.Max != nil && !finite(*f.Max)) {
		v.add(key, "min and max must be finite; leave out the one that is not needed")
	}
	if f.Min != nil && f.Max != nil && *f.Min > *f.Max {
		v.add(key+".min", "%v is above max %v", *f.Min, *f.Max)
	}
	if f.Type != TypeCategory && (len(f.Categories) > 0 || f.Unknown == PolicyReject) {
		v.add(key, "categories and unknown are for type category, and %q is %s", f.Name, f.Type)
	}
	if f.Type == TypeCategory && len(f.Categories) == 0 {
		v.add(key+".categories", "at least one is needed")
	}
	seen := make(map[string]bool, len(f.Categories))
	for _, c := range f.Categories {
		if seen[c] {
			v.add(key+".categories", "%q stands twice", c)
		}
		seen[c] = true
	}
	if f.Default != nil {
		if err := f.checkDefault(); err != nil {
			v.add(key+".default", "%v", err)
		}
	}
}

func (f *Feature) checkDefault() error {
	switch f.Type {
	case TypeBool:
		if _, ok := f.Default.(bool); !ok {
			return fmt.Errorf("%v is no bool", f.Default)
		}
	case TypeString, TypeCategory:
		s, ok := f.Default.(string)
		if !ok {
			return fmt.Errorf("%v is no string", f.Default)
		}
		if f.Type == TypeCategory && !slices.Contains(f.Categories, s) {
			return fmt.Errorf("%q is not in categories", s)
		}
	default:
		x, ok := Number(f.Default)
		if !ok || !finite(x) {
			return fmt.Errorf("%v is no number", f.Default)
		}
		if (f.Type == TypeInt32 || f.Type == TypeInt64) && x != math.Trunc(x) {
			return fmt.Errorf("%v is no whole number", f.Default)
		}
		if f.Type == TypeInt32 && (x < math.MinInt32 || x > math.MaxInt32) {
			return fmt.Errorf("%v does not fit int32", f.Default)
		}
		if f.Type == TypeInt64 && math.Abs(x) > 1<<53 {
			return fmt.Errorf("%v is beyond what can be counted exactly here, 2^53", f.Default)
		}
		if f.Type == TypeFloat32 && math.Abs(x) > math.MaxFloat32 {
			return fmt.Errorf("%v does not fit float32", f.Default)
		}
		if (f.Min != nil && x < *f.Min) || (f.Max != nil && x > *f.Max) {
			return fmt.Errorf("%v is outside min and max", f.Default)
		}
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Number converts what YAML gives for a number.
func Number(v any) (float64, bool) {
	switch x := v.(type) {
	case float64:
		return x, true
	case int:
		return float64(x), true
	case int64:
		return float64(x), true
	case uint64:
		return float64(x), true
	default:
		return 0, false
	}
}

// violations collects what is wrong, each with the key that the user wrote.
type violations struct{ errs []error }

func (v *violations) add(key, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
}

func (v *violations) match(key, value string, re *regexp.Regexp, what string) {
	if !re.MatchString(value) {
		v.add(key, "%q is not %s", value, what)
	}
}

func (v *violations) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.add(key, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

func (v *violations) between(key string, value, low, high float64) {
	if !(value >= low && value <= high) {
		v.add(key, "must be from %g to %g, got %g", low, high, value)
	}
}

// column checks the name of a feature or an output, which becomes a ClickHouse column.
func (v *violations) column(key, name string, taken map[string]string) {
	v.match(key, name, columnName, "a column name: [A-Za-z_][A-Za-z0-9_]*, at most 120 characters")
	if by, ok := taken[strings.ToLower(name)]; ok {
		v.add(key, "%q is already %s", name, by)
	}
	taken[strings.ToLower(name)] = key
}

func (v *violations) artifact(key string, a *Artifact) {
	if a == nil {
		return
	}
	v.file(key, a.File, a.SHA256)
	if key != "artifact" && len(a.External) > 0 {
		v.add(key+".external", "only the artifact can have weights elsewhere")
		return
	}
	for i, e := range a.External {
		v.file(fmt.Sprintf("%s.external[%d]", key, i), e.File, e.SHA256)
		if e.File == a.File || e.File == ManifestFile || slices.ContainsFunc(a.External[:i], func(o External) bool { return o.File == e.File }) {
			v.add(fmt.Sprintf("%s.external[%d].file", key, i), "%q is another file already", e.File)
		}
	}
}

func (v *violations) file(key, name, sum string) {
	if name == "" || filepath.Base(name) != name || name == "." || name == ".." {
		v.add(key+".file", "%q is not the name of a file beside the manifest", name)
	}
	v.match(key+".sha256", sum, digest, "a SHA-256 digest: 64 hexadecimal digits, lower case")
}
