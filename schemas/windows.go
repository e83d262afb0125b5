package schemas

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Windows are windows by which a version is judged beside those of Monitoring.Window, by the same
// checks: tumbling, or sliding where Every is less than Length. All are aligned to
// 1970-01-01T00:00:00Z; window i of sliding ones is [i·Every, i·Every + Length).
type Windows struct {
	Length Duration `yaml:"length"`
	Every  Duration `yaml:"every,omitempty"` // a divisor of Length; default Length
}

// The bounds of Monitoring.Windows.
const (
	MaxWindows  = 8   // that a version has beside Monitoring.Window
	MaxOverlap  = 744 // sliding windows that a row lies in: a month by the hour
	longestSpan = 366 * 24 * time.Hour
)

// Kind names the windows in the column window_kind, in events and in names of files: 1h, or
// 1d-every-1h. Lengths that are the same have the same name, however they are written.
func (w Windows) Kind() string {
	if w.sliding() {
		return ShortDuration(w.Length.Std()) + "-every-" + ShortDuration(w.Every.Std())
	}
	return ShortDuration(w.Length.Std())
}

func (w Windows) sliding() bool { return w.Every != 0 && w.Every != w.Length }

// ShortDuration renders whole seconds as the fewest units that give them: 7d, 1d12h, 90s as 1m30s.
func ShortDuration(d time.Duration) string {
	var b strings.Builder
	for _, unit := range []struct {
		of   time.Duration
		name byte
	}{{24 * time.Hour, 'd'}, {time.Hour, 'h'}, {time.Minute, 'm'}, {time.Second, 's'}} {
		if n := d / unit.of; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteByte(unit.name)
			d -= n * unit.of
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// Spread says which windows a manifest that Manifest.Spread returned is about. It is zero in one
// that was read: that is about Monitoring.Window, its first windows.
type Spread struct {
	Kind  string        // Windows.Kind; empty of the first windows
	Every time.Duration // between the starts of two windows; 0: their length
	First Duration      // Monitoring.Window of the manifest that was read
}

// Spread returns a manifest for each of the windows that a version is judged by, the first ones
// first: m itself, and copies of which Monitoring.Window is the length of others. They share all
// but Monitoring with m.
func (m *Manifest) Spread() []*Manifest {
	out := []*Manifest{m}
	if m.Monitoring == nil || m.Monitoring.Spread.Kind != "" {
		return out
	}
	for _, w := range m.Monitoring.Windows {
		c, mon := *m, *m.Monitoring
		mon.Spread = Spread{Kind: w.Kind(), Every: w.Every.Std(), First: mon.Window}
		mon.Window = w.Length
		c.Monitoring = &mon
		out = append(out, &c)
	}
	return out
}

// WindowKind is the name of the windows that m is about, as the tables have it: empty of the first.
func (m *Manifest) WindowKind() string {
	if m.Monitoring == nil {
		return ""
	}
	return m.Monitoring.Spread.Kind
}

// WindowName is WindowKind, but the length of the first windows where it is empty.
func (m *Manifest) WindowName() string {
	if kind := m.WindowKind(); kind != "" || m.Monitoring == nil {
		return kind
	}
	return ShortDuration(m.Monitoring.Window.Std())
}

// Step is the time between the starts of two windows: their length, unless they slide.
func (mon *Monitoring) Step() time.Duration {
	if mon.Spread.Every > 0 {
		return mon.Spread.Every
	}
	return mon.Window.Std()
}

// Unit is the longest time of which all windows of the version, and the steps of those that
// slide, are multiples: what is counted by divisors of it adds up to any of them.
func (mon *Monitoring) Unit() time.Duration {
	unit := mon.Window.Std()
	if mon.Spread.First > 0 {
		unit = mon.Spread.First.Std()
	}
	for _, w := range mon.Windows {
		for _, d := range []time.Duration{w.Length.Std(), w.Every.Std()} {
			for d > 0 {
				unit, d = d, unit%d
			}
		}
	}
	return unit
}

func (mon *Monitoring) validateWindows(v *violations) {
	if len(mon.Windows) > MaxWindows {
		v.add("monitoring.windows", "there are %d beside monitoring.window; at most %d are allowed", len(mon.Windows), MaxWindows)
		return
	}
	seen := map[string]string{ShortDuration(mon.Window.Std()): "monitoring.window"}
	for i, w := range mon.Windows {
		key := fmt.Sprintf("monitoring.windows[%d]", i)
		length, every := w.Length.Std(), w.Every.Std()
		switch {
		case length < time.Second || length > longestSpan || length%time.Second != 0:
			v.add(key+".length", "must be whole seconds, 1s to 366d, got %s", length)
		case every != 0 && (every < time.Second || every%time.Second != 0):
			v.add(key+".every", "must be whole seconds, at least 1s, got %s; leave it out for windows one after the other", every)
		case every > length || every != 0 && length%every != 0:
			v.add(key+".every", "must divide the length, %s, got %s", ShortDuration(length), ShortDuration(every))
		case every != 0 && length/every > MaxOverlap:
			v.add(key+".every", "a row would lie in %d windows; at most %d are allowed: slide by at least %s", length/every, MaxOverlap, length/MaxOverlap)
		default:
			kind := w.Kind()
			if at, twice := seen[kind]; twice {
				v.add(key, "is a second time what %s is (%s); leave one out", at, kind)
			}
			seen[kind] = key
		}
	}
}
