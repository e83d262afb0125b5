package schemas

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

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
	m.validateFields(v)
	m.validateEventTime(v)
	if m.NonFinite != "" {
		v.oneOf("non_finite", string(m.NonFinite), string(NonFiniteReject), string(NonFiniteMissing))
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
	v.between("batch.max_batch_size", float64(m.Batch.MaxBatchSize), 0, 1<<20)
	if most := m.Batch.MaxBatchSize; most > 0 && m.Batch.PreferredRows > most {
		v.add("batch.preferred_batch_size", "%d is above batch.max_batch_size, %d", m.Batch.PreferredRows, most)
	}
	if t := m.Target; t != nil {
		t.validate(v, m)
	}
	v.between("requirements.latency_ms", m.Requires.LatencyMS, 0, math.MaxFloat64)
	v.between("requirements.throughput_per_s", m.Requires.ThroughputPS, 0, math.MaxFloat64)
	v.between("requirements.accuracy", m.Requires.Accuracy, 0, 1)
	v.between("requirements.memory_mb", m.Requires.MemoryMB, 0, math.MaxFloat64)
	m.validateMonitoring(v)
	return errors.Join(v.errs...)
}

// validateFields checks that each field of a request has a name of its own: its key in JSON and
// Arrow, and an identifier in Avro and Protobuf.
func (m *Manifest) validateFields(v *violations) {
	keys := map[string]string{ColumnRequestID: "the request id"} // whose they are
	fields := map[string]string{ColumnRequestID: "the request id"}
	claim := func(at, key, field, whose string) {
		by, taken := keys[key]
		byField, fieldTaken := fields[field]
		switch {
		case taken:
			v.add(at, "%q is the key of %s already: give %s another", key, by, whose)
			return
		case fieldTaken:
			v.add(at, "%q is %s in Avro and Protobuf, whose names are identifiers, and would be %s too: rename one of the two", field, byField, whose)
		}
		keys[key], fields[field] = whose, whose
	}
	names := map[string]bool{ColumnRequestID: true} // two of one name are said by their name
	for i := range m.Features {
		f := &m.Features[i]
		at, whose := fmt.Sprintf("features[%d].source", i), fmt.Sprintf("feature %q", f.Name)
		switch {
		case f.Source != "" && !ValidSource(f.Source):
			v.add(at, "%.300q is no key of a request: at most %d bytes of UTF-8 without control characters", f.Source, maxSourceBytes)
		case !names[f.Name]:
			claim(at, f.Key(), f.FieldName(), whose)
		}
		names[f.Name] = true
	}
	if m.EventTime.Field != "" {
		claim("event_time.field", m.EventTime.Field, m.EventTime.Field, "the event time")
	}
}

func (m *Manifest) validateEventTime(v *violations) {
	switch {
	case m.EventTime.Field != "":
		v.oneOf("event_time.format", string(m.EventTime.Format),
			string(TimeRFC3339), string(TimeUnix), string(TimeUnixMS), string(TimeUnixUS))
		if n := len(m.EventTime.Field); n > MaxEventTimeField {
			v.add("event_time.field", "it has %d bytes; at most %d are allowed", n, MaxEventTimeField)
		}
		if m.EventTime.Zone != "" && m.EventTime.Format != TimeRFC3339 {
			v.add("event_time.zone", "is of times as text, and event_time.format is %s, which counts in UTC", m.EventTime.Format)
		}
	case m.EventTime.Format != "":
		v.add("event_time.field", "missing, but event_time.format is set")
	case m.EventTime.Zone != "":
		v.add("event_time.field", "missing, but event_time.zone is set")
	}
	if _, err := m.EventTime.Location(); err != nil {
		v.add("event_time.zone", "%v", err)
	}
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
	mon.validateWindows(v)
	v.between("monitoring.lateness (seconds)", mon.Lateness.Std().Seconds(), 0, 366*24*3600)
	v.between("monitoring.label_delay (seconds)", mon.LabelDelay.Std().Seconds(), 0, 366*24*3600)
	v.between("monitoring.idle_timeout (seconds)", mon.IdleTimeout.Std().Seconds(), 0.001, 366*24*3600)
	v.between("monitoring.retraining.cooldown (seconds)", mon.Retraining.Cooldown.Std().Seconds(), 0, 10*366*24*3600)
	v.between("monitoring.retraining.span (seconds)", mon.Retraining.Span.Std().Seconds(), 0, 10*366*24*3600)
	v.between("monitoring.retraining.budget", float64(mon.Retraining.Budget), 0, 1000)
	if _, err := m.RetrainingRule(); err != nil {
		v.add("monitoring.retraining.when", "%v", err)
	}
	v.between("monitoring.min_rows", float64(mon.MinRows), 1, math.MaxInt64)
	v.between("monitoring.rate", mon.Rate, 1e-6, 0.5)
	if l := mon.Reference; l != nil {
		v.between("monitoring.reference.windows", float64(l.Windows), 1, MaxLearnedWindows)
		if m.Reference != nil {
			v.add("monitoring.reference", "would be learned, and the manifest names one already in reference; leave one out")
		}
	}
	m.validateBreaks(v)
	m.validateSegments(v)
	m.validateFalseAlarms(v)
	seen := map[string]bool{}
	for i, c := range mon.Checks {
		key := fmt.Sprintf("monitoring.checks[%d]", i)
		id := string(c.Stattest) + " " + c.Column
		if seen[id] {
			v.add(key, "a second check of %s", strings.TrimSpace(id))
		}
		seen[id] = true
		v.oneOf(key+".severity", string(c.Severity), string(SeverityInfo), string(SeverityWarning), string(SeverityCritical))
		figure, isFigure := FigureOf(c.Stattest)
		if !finite(c.Threshold) || (c.Threshold < 0 && !figure.Signed) {
			v.add(key+".threshold", "must be at least 0, got %v", c.Threshold)
		}
		if isFigure {
			m.validateFigure(v, key, c, figure)
			continue
		}
		switch c.Stattest {
		case StattestPSI, StattestKS, StattestChiSquare:
			if m.Reference == nil && mon.Reference == nil {
				v.add(key, "%s compares with the reference, and the manifest has none; monitoring.reference learns one", c.Stattest)
			}
			m.validateCheckColumn(v, key, c)
		case StattestShare:
			if c.Column != "" {
				v.add(key+".column", "%s is of the whole data set; leave the column out", c.Stattest)
			}
		case StattestMissing, StattestNewCategory, StattestOutOfRange, StattestDuplicates, StattestRowCount:
			m.validateDataQuality(v, key, c)
		default:
			v.add(key+".stattest", "%q is not one of %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, or %s or %s before one of %s", c.Stattest, StattestPSI, StattestKS, StattestChiSquare, StattestShare,
				StattestMissing, StattestNewCategory, StattestOutOfRange, StattestDuplicates, StattestRowCount, joinFigures(figures), EstimatedPrefix, DifferencePrefix, joinStattests(EstimatedFigures))
		}
	}
}

// validateDataQuality checks a check of the quality of data.
func (m *Manifest) validateDataQuality(v *violations, key string, c Check) {
	if m.Reference == nil && m.Monitoring.Reference == nil {
		v.add(key, "%s is judged with the columns of the reference, and the manifest has none; monitoring.reference learns one", c.Stattest)
	}
	if c.Stattest != StattestRowCount && c.Threshold >= 1 {
		v.add(key+".threshold", "%s is a share of rows and breaches above it: must be below 1, got %v", c.Stattest, c.Threshold)
	}
	switch c.Stattest {
	case StattestDuplicates, StattestRowCount:
		if c.Column != "" {
			v.add(key+".column", "%s is of the window; leave the column out", c.Stattest)
		}
		if c.Stattest == StattestRowCount && c.Threshold == 0 {
			v.add(key+".threshold", "no window has fewer rows than 0; give the rows that a window has at least")
		}
	case StattestOutOfRange:
		if f, ok := m.Feature(c.Column); !ok {
			v.add(key+".column", "%q is no feature", c.Column)
		} else if f.Min == nil && f.Max == nil {
			v.add(key+".column", "%s needs min or max, and feature %q has neither", c.Stattest, c.Column)
		}
	default:
		m.validateCheckColumn(v, key, c)
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
	if c.Stattest == StattestNewCategory && typ.Numeric() {
		v.add(key+".stattest", "%s needs a column of categories, and %q is %s", c.Stattest, c.Column, typ)
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
			return fmt.Errorf("%v is no string; put it in quotes", f.Default)
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

// MaxEventTimeField bounds the bytes of EventTime.Field: reasons of dead letters repeat it.
const MaxEventTimeField = 120

// maxSourceBytes bounds the key of a feature in requests: reasons of dead letters repeat it.
const maxSourceBytes = 240

// ValidSource tells whether a text can be Feature.Source.
func ValidSource(text string) bool {
	return text != "" && len(text) <= maxSourceBytes && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
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
