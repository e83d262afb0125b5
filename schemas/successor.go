package schemas

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// StoredTypes returns the columns that rows of the version have in the observations table of its
// model, with their types as ClickHouse names them, whether they can be NULL aside.
func (m *Manifest) StoredTypes() (map[string]string, error) {
	types := map[string]string{}
	for _, f := range m.ObservationSchema().Fields() {
		f.Nullable = false
		t, err := ClickHouseType(f)
		if err != nil {
			return nil, err
		}
		types[f.Name] = t
	}
	return types, nil
}

// Unstorable returns why rows with these columns could not be stored in a table that has others of
// the same names: one line for each column whose type differs. where names the table in them.
func Unstorable(columns, table map[string]string, where string) []string {
	var conflicts []string
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		have, ok := table[name]
		have = strings.NewReplacer("Nullable(", "", ")", "").Replace(have)
		if want := strings.ReplaceAll(columns[name], ")", ""); ok && have != want {
			conflicts = append(conflicts, fmt.Sprintf("column %q is %s, and %s in %s", name, columns[name], table[name], where))
		}
	}
	return conflicts
}

// Departures returns what requests that an earlier version answers meet in this one, though its rows
// can be stored: one line for each.
func (m *Manifest) Departures(from *Manifest) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	lacking := func(f *Feature) bool { return f.Optional || f.Default != nil }
	for i := range m.Features {
		f := &m.Features[i]
		switch was, ok := from.Feature(f.Name); {
		case !ok && !lacking(f):
			say("feature %q is new and required: requests without it become dead letters", f.Name)
		case ok && lacking(was) && !lacking(f):
			say("feature %q could be absent, and is required: requests without it become dead letters", f.Name)
		}
	}
	for i := range from.Features {
		if name := from.Features[i].Name; !hasFeature(m, name) {
			say("feature %q is gone: its column is NULL from now on", name)
		}
	}
	for _, o := range from.Outputs {
		if _, ok := m.Output(o.Name); !ok {
			say("output %q is gone", o.Name)
		}
	}
	describe := func(e EventTime) string {
		if e.Field == "" {
			return "Kafka's timestamp"
		}
		return strings.TrimSpace(fmt.Sprintf("%s (%s %s", e.Field, e.Format, e.Zone)) + ")"
	}
	if m.EventTime != from.EventTime {
		say("event time is %s, and was %s: windows of both are of different times", describe(m.EventTime), describe(from.EventTime))
	}
	if from.Target != nil && m.Target == nil {
		say("target is gone: no accuracy is judged")
	}
	if from.Monitoring != nil && m.Monitoring == nil {
		say("monitoring is gone: no window is judged")
	}
	return lines
}

func hasFeature(m *Manifest, name string) bool {
	_, ok := m.Feature(name)
	return ok
}
