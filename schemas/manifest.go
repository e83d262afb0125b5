package schemas

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ManifestFile is the name of the manifest in a version's folder of the model repository.
const ManifestFile = "manifest.yaml"

// Manifest is the one source of truth about one version of a model. The decoder plan,
// the Arrow schema, the ClickHouse table and the drift plan are derived from it.
type Manifest struct {
	Name        string       `yaml:"name"`            // [a-z][a-z0-9_]*, at most 60 characters
	Version     string       `yaml:"version"`         // [A-Za-z0-9][A-Za-z0-9._-]*, at most 60 characters
	Draft       bool         `yaml:"draft,omitempty"` // it does not serve, unless models.versions of the configuration names it
	Description string       `yaml:"description,omitempty"`
	Runtime     Runtime      `yaml:"runtime"`
	Artifact    Artifact     `yaml:"artifact"`
	Device      Device       `yaml:"device,omitempty"`       // default cpu
	CPUFallback bool         `yaml:"cpu_fallback,omitempty"` // with device cuda: run on the CPU where no CUDA provider is available
	Features    []Feature    `yaml:"features"`               // in the order of the model's input
	NonFinite   NonFinite    `yaml:"non_finite,omitempty"`   // what NaN, Infinity and -Infinity in JSON requests are; default reject
	EventTime   EventTime    `yaml:"event_time,omitempty"`   // default: the Kafka timestamp of the request
	Inputs      []Input      `yaml:"inputs,omitempty"`       // default: see Input
	Outputs     []Output     `yaml:"outputs"`                // at least one
	Batch       Batch        `yaml:"batch,omitempty"`        // defaults: DefaultBatch
	Target      *Target      `yaml:"target,omitempty"`       // what feedback says about a prediction; without it there is no accuracy
	Requires    Requirements `yaml:"requirements,omitempty"` // each must be a possible figure; nothing measures or enforces them yet
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
	Name        string      `yaml:"name"`             // [A-Za-z_][A-Za-z0-9_]*; no system column's name
	Source      string      `yaml:"source,omitempty"` // what requests call it, any text; default Name. See Key and FieldName
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

// NonFinite says what becomes of NaN, Infinity and -Infinity, which JSON does not have and some
// encoders write.
type NonFinite string

// What becomes of them.
const (
	NonFiniteReject  NonFinite = "reject"  // dead-letter the request
	NonFiniteMissing NonFinite = "missing" // as null
)

// EventTime names the field that carries when the request's subject happened. It is
// stored in the column event_time, whatever the field is called.
type EventTime struct {
	Field  string     `yaml:"field,omitempty"`
	Format TimeFormat `yaml:"format,omitempty"` // default rfc3339
	Zone   string     `yaml:"zone,omitempty"`   // of times without one, format rfc3339: a name as Europe/Berlin, or an offset as +02:00; default: they are refused
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
	// MaxBatchSize bounds the rows of one run; 0 does not. 1 scores each row alone, which a model
	// needs whose answers to a row depend on the other rows of its run.
	MaxBatchSize int `yaml:"max_batch_size,omitempty"`
}

// DefaultBatch returns the defaults of Batch.
func DefaultBatch() Batch { return Batch{MaxRows: 8192, MaxBytes: 8 << 20} }

// Requirements are what its maker demands of a version. Zero means no requirement. The monitor holds
// each window to LatencyMS and Accuracy. No window tells the others: throughput is what a lane can
// do, which traffic does not show, and memory is the worker's.
type Requirements struct {
	LatencyMS    float64 `yaml:"latency_ms,omitempty"`       // p99 of latency_us, in milliseconds
	ThroughputPS float64 `yaml:"throughput_per_s,omitempty"` // requests per second of one lane
	Accuracy     float64 `yaml:"accuracy,omitempty"`         // share of right predictions, 0 to 1
	MemoryMB     float64 `yaml:"memory_mb,omitempty"`        // resident size of the worker with the version loaded
}

// Monitoring is the drift and accuracy plan of a version.
type Monitoring struct {
	Window      Duration  `yaml:"window"`                 // length of the tumbling event-time windows, aligned to 1970-01-01T00:00:00Z
	Windows     []Windows `yaml:"windows,omitempty"`      // others beside these, by which the version is judged too
	Lateness    Duration  `yaml:"lateness,omitempty"`     // a window closes when the watermark is this far past its end
	IdleTimeout Duration  `yaml:"idle_timeout,omitempty"` // a partition without requests for this long holds no window open; default 1m
	LabelDelay  Duration  `yaml:"label_delay,omitempty"`  // accuracy is judged this much after a window closed
	MinRows     int64     `yaml:"min_rows,omitempty"`     // below it a window gets no verdict; default 100
	Rate        float64   `yaml:"rate,omitempty"`         // of windows without drift in which chance may breach any drift check; default 0.05
	Reference   *Learned  `yaml:"reference,omitempty"`    // a reference learned from what was served, where the manifest names none
	Checks      []Check   `yaml:"checks"`
	// Breaks are the detectors of sudden changes, by value instead of by window.
	Breaks []BreakDetector `yaml:"breaks,omitempty"`
	// Segments are features by whose values rows are counted too: of type string, category or bool, at
	// most MaxSegments.
	Segments []string `yaml:"segments,omitempty"`

	Retraining RetrainingPolicy `yaml:"retraining,omitempty"`

	// FalseAlarms lets drift raise alarms that open and close; nil: none. Checks of drift are judged per
	// window beside it.
	FalseAlarms *FalseAlarms `yaml:"false_alarms,omitempty"`

	Spread Spread `yaml:"-"` // no key: see Manifest.Spread
}

// RetrainingPolicy says when windows ask for retraining: by a breach of a check with retrain, or as When says.
type RetrainingPolicy struct {
	// When is a condition over the window, such as psi_price > 0.3 or age_days > 90: it decides in the
	// place of the checks' retrain. Its variables are RetrainingVariables.
	When string `yaml:"when,omitempty"`
	// Budget is how many windows of a calendar month (UTC, by event time of their ends) ask at most; 0: any.
	Budget int `yaml:"budget,omitempty"`
	// Span is how far before a window's end the rows that it asks to train with start; default 31 days.
	Span Duration `yaml:"span,omitempty"`
	// Cooldown is how long, by event time, no window asks for retraining after one has; 0: each
	// window that breaches such a check asks. What it breaches is an alert all the same.
	Cooldown Duration `yaml:"cooldown,omitempty"`
}

// Learned says that a version's reference is learned from the rows that it has answered: those of
// the first Windows windows that have closed with at least min_rows rows. Once it is learned it
// does not change. A window that starts before the last of them is not judged for drift.
type Learned struct {
	Windows int `yaml:"windows"` // 1 to MaxLearnedWindows
}

// MaxLearnedWindows bounds Learned.Windows.
const MaxLearnedWindows = 366

// DefaultRate is that of Monitoring.Rate.
const DefaultRate = 0.05

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

// The drift scores breach at or above their threshold, without the part of them that chance
// makes (drift_results.effect); the quality figures below it, or above it: see Figure.
const (
	StattestPSI       Stattest = "psi"         // population stability index over groups of reference bins; missing values are a group of their own
	StattestKS        Stattest = "ks"          // Kolmogorov-Smirnov statistic D; numeric columns
	StattestChiSquare Stattest = "chisquare"   // association of the table of shares, in which reference and window weigh the same: it does not grow with the rows, and is not Cramér's V of the counts
	StattestShare     Stattest = "drift_share" // share of the columns of the version's other checks that drifted in the window

	// Checks of the quality of data: see DataQuality. Each breaches where the share is above its
	// threshold by more than chance; row_count where there are fewer rows.
	StattestMissing     Stattest = "missing_share"      // of a column: rows that are NULL or NaN
	StattestNewCategory Stattest = "new_category_share" // of a column: rows with a category that the reference does not list
	StattestOutOfRange  Stattest = "out_of_range_share" // of a feature: rows outside the manifest's min and max
	StattestDuplicates  Stattest = "duplicate_share"    // of the window: rows whose request id an earlier one has
	StattestRowCount    Stattest = "row_count"          // of the window: rows

	StattestAccuracy            Stattest = "accuracy"
	StattestBalancedAccuracy    Stattest = "balanced_accuracy"
	StattestPrecision           Stattest = "precision" // of the positive class; of multiclass the macro average, like recall, f1 and roc_auc
	StattestRecall              Stattest = "recall"
	StattestF1                  Stattest = "f1"
	StattestMatthews            Stattest = "matthews_corrcoef"
	StattestKappa               Stattest = "cohen_kappa"
	StattestAUC                 Stattest = "roc_auc" // of multiclass each class against the rest
	StattestAveragePrecision    Stattest = "average_precision"
	StattestLogLoss             Stattest = "log_loss"
	StattestBrier               Stattest = "brier_score"
	StattestECE                 Stattest = "expected_calibration_error"
	StattestMAE                 Stattest = "mae"
	StattestMedianAbsoluteError Stattest = "median_absolute_error"
	StattestMSE                 Stattest = "mse"
	StattestRMSE                Stattest = "rmse"
	StattestMAPE                Stattest = "mape"
	StattestSMAPE               Stattest = "smape"
	StattestR2                  Stattest = "r2"
	StattestBias                Stattest = "bias"
)

// Quality tells whether the figure needs labels; FigureOf says when such a figure breaches its
// threshold. A drift score breaches at or above it.
func (s Stattest) Quality() bool {
	_, ok := FigureOf(s)
	return ok
}

// DataQuality tells whether the check is of the quality of data, and not of a difference from the
// reference.
func (s Stattest) DataQuality() bool {
	switch s {
	case StattestMissing, StattestNewCategory, StattestOutOfRange, StattestDuplicates, StattestRowCount:
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
		return nil, fmt.Errorf("manifest %s: %w", name, err)
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
	if m.Target != nil && m.Target.Kind == TargetBinary && m.Target.Threshold == 0 {
		m.Target.Threshold = 0.5
	}
	if mon := m.Monitoring; mon != nil {
		if mon.IdleTimeout == 0 {
			mon.IdleTimeout = Duration(time.Minute)
		}
		if mon.MinRows == 0 {
			mon.MinRows = 100
		}
		if mon.Rate == 0 {
			mon.Rate = DefaultRate
		}
		for i := range mon.Checks {
			if mon.Checks[i].Severity == "" {
				mon.Checks[i].Severity = SeverityWarning
			}
		}
		for i := range mon.Breaks {
			mon.Breaks[i].setDefaults()
		}
		if mon.FalseAlarms != nil {
			mon.FalseAlarms.setDefaults(mon.Window.Std())
		}
	}
}

// Key returns the name that the feature has in requests.
func (f *Feature) Key() string {
	if f.Source != "" {
		return f.Source
	}
	return f.Name
}

// FieldName returns the name that the feature has in requests whose names are identifiers, Avro's and
// Protobuf's: its key, or its own name where the key is no identifier.
func (f *Feature) FieldName() string {
	if columnName.MatchString(f.Source) {
		return f.Source
	}
	return f.Name
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
