package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/drift/dataset"
	"github.com/millrace/millrace/schemas"
)

// DataOptions says what data a reference is made of, and what its columns are.
type DataOptions struct {
	Path string
	Reading

	Label         string   // column of labels
	PositiveAbove *float64 // a label above it is positive
	Positive      string   // the positive one of labels that are text
	Score         string   // column of out-of-fold predictions
	Time          string   // column of event times
	Categorical   []string // columns to count by value
	Optional      []string // features that a request may leave out, beside those that the data leave out
	Ignore        []string // columns that are none of it

	Window time.Duration // 0: proposed
	Rate   float64       // of windows without drift that may breach a check by chance; 0: schemas.DefaultRate

	Replace bool // write over the reference, the sample and the checks that the manifest has
}

// maxWindow is the longest window that a manifest can have.
const maxWindow = 366 * 24 * time.Hour

// Validate reports all that is wrong with the options, without reading anything.
func (o DataOptions) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, o.Reading.Validate("data"))
	if o.PositiveAbove != nil && o.Positive != "" {
		bad("--positive-above and --positive: give one of them")
	}
	if (o.PositiveAbove != nil || o.Positive != "" || o.Score != "") && o.Label == "" {
		bad("--label: name the column of labels")
	}
	if o.Rate != 0 && !(o.Rate >= 1e-6 && o.Rate <= 0.5) {
		bad("--rate: must be from 1e-6 to 0.5, got %v", o.Rate)
	}
	if o.Window != 0 && (o.Window < time.Second || o.Window%time.Second != 0 || o.Window > maxWindow) {
		bad("--window: must be whole seconds, 1s to %s, got %s", maxWindow, o.Window)
	}
	return errors.Join(errs...)
}

func (o DataOptions) source() CompareConfig {
	return CompareConfig{Reading: o.Reading}
}

// read reads the data.
func (o DataOptions) read(ctx context.Context) (*table, error) {
	src, err := o.source().open(ctx, CompareSide{Path: o.Path}, "data", nil, nil)
	if err != nil {
		return nil, err
	}
	defer src.Close() // was only read
	return readTable(ctx, src, o.Ignore)
}

// learner completes a manifest by data.
type learner struct {
	o      DataOptions
	t      *table
	e      *schemas.ManifestEdit
	m      *schemas.Manifest // what the text says, as far as it was edited
	from   []int             // the column of the data that a feature is
	what   []summary         // of each feature
	failed []int             // rows that the model fails on, ascending
	look   []string          // what a person is to look at
	stored bool              // the data have the outputs as well, as they were stored
	served bool              // the version was there before: the types of its columns stay
	was    *schemas.Manifest // of the version that was there before; nil: none

	monitored *schemas.Monitoring // that what is proposed takes the place of; nil: none
}

// parse reads the manifest as it has become.
func (l *learner) parse() (err error) {
	l.m, err = schemas.ParseManifest(schemas.ManifestFile, l.e.Text())
	return err
}

func (l *learner) note(format string, args ...any) {
	l.look = append(l.look, fmt.Sprintf(format, args...))
}

// match finds the column of each feature: by name; or, where the graph has one input whose
// columns it does not name, by their order, and then the features are renamed.
func (l *learner) match() error {
	l.from = make([]int, len(l.m.Features))
	var missing []string
	for i, f := range l.m.Features {
		found := l.t.schema.FieldIndices(f.Key())
		if len(found) == 0 { // as stored rows call it
			found = l.t.schema.FieldIndices(f.Name)
		}
		if len(found) == 0 && slices.Contains(l.t.nested, f.Key()) {
			_, err := l.t.index(f.Key())
			return err
		}
		if len(found) == 0 {
			missing = append(missing, f.Key())
			continue
		}
		l.from[i] = found[0]
	}
	if len(missing) == 0 {
		return nil
	}
	var rest []int
	for i, f := range l.t.schema.Fields() {
		if !slices.Contains([]string{l.o.Label, l.o.Score, l.o.Time}, f.Name) && !dataset.Index(f) {
			rest = append(rest, i)
		}
	}
	names := make([]string, len(rest))
	for i, column := range rest {
		names[i] = l.t.schema.Field(column).Name
	}
	if !l.unnamed() {
		return fmt.Errorf("%s has no column %s of the model's features; it has %s: rename one of the two", l.t.name, few(quoted(missing)), few(quoted(names)))
	}
	if len(rest) != len(l.m.Features) {
		advice := "leave out by --ignore those that are no feature"
		if len(rest) < len(l.m.Features) {
			advice = "too few, where lists and structures are none"
		}
		return fmt.Errorf("the graph has one input of %d columns without names, and %s has %d columns beside those of --label, --score and --time (%s): "+
			"%s", len(l.m.Features), l.t.name, len(rest), few(quoted(names)), advice)
	}
	for _, name := range names {
		switch {
		case l.served:
		case name == schemas.ColumnRequestID:
			return fmt.Errorf("%s: column %q would be a feature, and is the id of a request: leave it out by --ignore, or rename it", l.t.name, name)
		case name != "" && !schemas.ValidSource(name):
			return fmt.Errorf("%s: column %q would be a feature, and no request can have a key of such characters, or of that length: rename it", l.t.name, name)
		}
	}
	if l.served { // requests and rows bear its names
		l.from = rest
		l.note("the graph does not name its columns: they are taken for those of the data, in their order, and keep their names: %s", few(names))
		return nil
	}
	// None may bear the name of one that is renamed after it.
	passing := func(i int) string { return "f__" + strconv.Itoa(i) }
	for i := range rest {
		if err := l.e.RenameFeature(l.m.Features[i].Name, passing(i)); err != nil {
			return err
		}
	}
	given := schemas.NewColumnNames()
	given.Take(l.o.Time)
	given.Take(l.m.EventTime.Field)
	for _, o := range l.m.Outputs {
		given.Take(o.Name)
	}
	l.from = rest
	for i, name := range given.GiveAll(names) {
		if err := l.e.RenameFeature(passing(i), name); err != nil {
			return err
		}
		if name != names[i] {
			if err := l.e.SetFeature(name, "source", schemas.YAMLText(names[i])); err != nil {
				return err
			}
		}
	}
	l.note("the graph does not name its columns: they are taken for those of the data, in their order: %s", few(names))
	return l.parse()
}

// few lists the first of many names.
func few(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// unnamed tells whether the features bear the names that init gives to columns without one.
func (l *learner) unnamed() bool {
	for i, f := range l.m.Features {
		if f.Name != "f"+strconv.Itoa(i) {
			return len(l.m.Features) == 1 // an input of one column has its own name
		}
	}
	return true
}

// features fills in types, categories, ranges and what is optional, where the manifest says nothing.
func (l *learner) features() error {
	for _, given := range []struct {
		flag  string
		names []string
	}{{"--categorical", l.o.Categorical}, {"--optional", l.o.Optional}} {
		for _, name := range given.names {
			if _, err := l.t.index(name); err != nil {
				return fmt.Errorf("%s: %w", given.flag, err)
			}
		}
	}
	l.what = make([]summary, len(l.m.Features))
	for i := range l.m.Features {
		f, column := &l.m.Features[i], l.t.schema.Field(l.from[i]).Name
		err := l.spell(f, l.from[i])
		if err == nil {
			l.what[i] = l.t.summarize(l.from[i])
			err = l.feature(f, &l.what[i], column)
		}
		if err != nil {
			return fmt.Errorf("%s: column %q: %w", l.t.name, column, err)
		}
	}
	return l.parse()
}

// fewWords is up to how many distinct words a column of text becomes a category by itself.
const fewWords = 50

func (l *learner) feature(f *schemas.Feature, s *summary, column string) error {
	set := func(key, value string) error { return l.e.SetFeature(f.Name, key, value) }
	isText, isBool := s.typ.ID() == arrow.STRING, s.typ.ID() == arrow.BOOL
	switch {
	case s.typ.ID() == arrow.TIMESTAMP || s.typ.ID() == arrow.DATE32:
		return fmt.Errorf("it holds times, which no graph takes: name it by --time, leave it out by --ignore, or take it as text by --type %s=text", column)
	case isText && f.Type == schemas.TypeBool:
		return fmt.Errorf("it holds text (%s), and feature %s is true or false: write it as true and false, or as 1 and 0", few(s.words), f.Name)
	case isText && f.Type.Numeric() && s.spelled != "":
		return fmt.Errorf("it holds %s", s.spelled)
	case isText && f.Type.Numeric() && numbersWithCommas(s.words):
		return errors.New("it holds numbers with commas: write them with a point, and thousands without a separator")
	case isText && f.Type.Numeric() && mostlyNumbers(s.words):
		return fmt.Errorf("it holds text, %s among it: --type %s=float reads numbers, and what is none as missing", few(strange(s.words)), column)
	case l.served && isText && f.Type.Numeric():
		return fmt.Errorf("it holds text (%s), and feature %s is %s", few(s.words), f.Name, f.Type)
	case isText && f.Type == schemas.TypeCategory:
		if err := l.knownWords(f, s); err != nil {
			return err
		}
	case l.served:
	case isText && f.Type.Numeric():
		// The graph takes numbers: those of the categories, in an order that it was trained with.
		if err := l.category(f.Name, s, true); err != nil {
			return err
		}
		l.note("feature %s is text, and the graph takes numbers: the position in categories, from 0, which are in the order of the alphabet: compare with the encoder of your training", f.Name)
	case isText && f.Type == schemas.TypeString && (slices.Contains(l.o.Categorical, column) || !s.beyond && len(s.words) > 0 && len(s.words) <= fewWords):
		if err := l.category(f.Name, s, false); err != nil {
			return err
		}
	case isBool && f.Type.Numeric() && s.missing == 0 && !slices.Contains(l.o.Optional, column):
		if err := set("type", string(schemas.TypeBool)); err != nil {
			return err
		}
	case isBool && f.Type.Numeric():
		l.note("feature %s may be missing, which no bool may be: requests send 1, 0 or null, and not true", f.Name)
	}
	if f.Type.Numeric() && !isText && !isBool {
		if s.infinite > 0 {
			l.note("%d rows of column %q hold an infinity, which no request can have: send null or the largest number that makes sense", s.infinite, column)
		}
		if f.Min == nil && f.Max == nil && s.low < s.high {
			low, high := outward(s.low, s.high)
			if err := errors.Join(set("max", schemas.YAMLNumber(high)), set("min", schemas.YAMLNumber(low))); err != nil {
				return err
			}
		}
	}
	if s.missing == l.t.rows {
		l.note("column %q has no value in any row", column)
	}
	return l.optional(f, s, column)
}

// outward rounds a range outward to a hundredth of it, so that it takes the values of float32 too.
func outward(low, high float64) (down, up float64) {
	d := high - low
	if d <= 0 || math.IsInf(d, 0) {
		return low, high
	}
	unit := math.Pow10(int(math.Floor(math.Log10(d))) - 2)
	down, up = math.Floor(low/unit), math.Ceil(high/unit)
	if unit < 1 { // divided, so that 0.1 is written and not 0.1 with an error of its last digit
		return down / math.Round(1/unit), up / math.Round(1/unit)
	}
	return down * unit, up * unit
}

// category makes a feature a category, of the words of the data.
func (l *learner) category(name string, s *summary, alphabet bool) error {
	words := slices.Clone(s.words)
	if s.beyond || len(words) == 0 {
		return fmt.Errorf("it has %d different words, and cannot be a category", len(words))
	}
	if alphabet {
		slices.Sort(words)
	} else {
		byRows := make(map[string]int, len(words))
		for i, w := range s.words {
			byRows[w] = s.rows[i]
		}
		slices.SortStableFunc(words, func(a, b string) int {
			return cmp.Or(byRows[b]-byRows[a], cmp.Compare(a, b))
		})
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = schemas.YAMLText(w)
	}
	return errors.Join(
		l.e.SetFeature(name, "categories", "["+strings.Join(quoted, ", ")+"]"),
		l.e.SetFeature(name, "type", string(schemas.TypeCategory)))
}

// optional marks what the data leave out, or the flags name.
func (l *learner) optional(f *schemas.Feature, s *summary, column string) error {
	named := slices.Contains(l.o.Optional, column)
	switch {
	case f.Optional || f.Default != nil || s.missing == 0 && !named:
		return nil
	case l.served && named:
		return fmt.Errorf("--optional is of new versions: under feature %s of this one's manifest write optional: true, or a default where it is a bool or a whole number; or make the next version by `millrace init`", f.Name)
	case l.served:
		return fmt.Errorf("%d rows have no value, and feature %s must have one: fill these rows or leave them out; or write optional: true, or a default, under the feature in the manifest", s.missing, f.Name)
	}
	if err := l.parse(); err != nil {
		return err
	}
	now, _ := l.m.Feature(f.Name)
	if now.Type == schemas.TypeBool || now.Type == schemas.TypeInt32 || now.Type == schemas.TypeInt64 {
		why := "--optional names it"
		if s.missing > 0 {
			why = fmt.Sprintf("%d rows have no value", s.missing)
		}
		return fmt.Errorf("%s, and a %s has none for absent: fill the rows; or run `millrace init` without --data, write a default under feature %s of the manifest, and then run `millrace reference`", why, now.Type, f.Name)
	}
	return l.e.SetFeature(f.Name, "optional", "true")
}

// eventTime writes the field of event times, and returns them; nil without a column.
func (l *learner) eventTime() ([]int64, error) {
	if l.o.Time == "" {
		return nil, nil
	}
	loc, err := l.m.EventTime.Location()
	if err != nil {
		return nil, err
	}
	times, err := l.t.times(l.o.Time, loc)
	if err != nil {
		return nil, err
	}
	local := times.format == schemas.TimeRFC3339 && !times.zoned // some of them
	switch of := l.m.EventTime; {
	case l.stored:
	case of.Field != "":
		if local && of.Format == schemas.TimeRFC3339 && of.Zone == "" {
			l.note("times of column %q say no zone and are taken for UTC; requests with such times become dead letters, as event_time of the manifest has no zone", l.o.Time)
		}
	case l.served:
		l.note("the version takes the time of Kafka for that of a request; --time is of the data alone")
	case slices.ContainsFunc(l.m.Features, func(f schemas.Feature) bool { return f.Key() == l.o.Time }):
		return nil, fmt.Errorf("--time: column %q is a feature too, and requests send their time under a name of its own: copy the column under another name", l.o.Time)
	default:
		lines := []string{"event_time:", "  field: " + schemas.YAMLText(l.o.Time), "  format: " + string(times.format)}
		if local {
			lines = append(lines, "  zone: UTC # CHECK: of times that say none, as those of the data")
			l.note("times of column %q say no zone: they are taken for UTC, in the data and in requests (event_time.zone). If they are of another zone, write it there, as Europe/Berlin, and run `millrace reference --replace`", l.o.Time)
		}
		if err := l.e.SetSection("event_time", lines...); err != nil {
			return nil, err
		}
	}
	return times.micros, l.parse()
}
