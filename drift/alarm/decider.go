package alarm

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrTooOld is returned for a window that starts before those that a Decider remembers.
var ErrTooOld = errors.New("the window is older than those that are remembered")

// Decided is a window with what it did.
type Decided struct {
	Window
	Transition Transition `json:"transition"`
	After      State      `json:"after"`
}

// Decider decides windows as they come, and again where one is revised or comes late. All that it
// knows is exported, and JSON restores it. It is not safe for concurrent use.
type Decider struct {
	Rule   Rule      `json:"rule"`
	Keep   int       `json:"keep"`   // windows that can be revised, at least 1
	Before State     `json:"before"` // that before the first of Windows
	Oldest time.Time `json:"oldest"` // no window may start at or before it; zero: any may
	// Windows are the last ones, ascending.
	Windows []Decided `json:"windows"`
}

// NewDecider returns a decider of windows, of which the last keep can be revised.
func NewDecider(r Rule, keep int) (*Decider, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if keep < 1 {
		return nil, fmt.Errorf("keep must be at least 1, got %d", keep)
	}
	return &Decider{Rule: r, Keep: keep}, nil
}

// State returns that after the last window.
func (d *Decider) State() State {
	if len(d.Windows) == 0 {
		return d.Before
	}
	return d.Windows[len(d.Windows)-1].After
}

// Put decides a window. One that starts when another did takes its place; then, and where it comes
// late, all that start after it are decided again. It returns the windows that were decided, from
// this one on, as they are now, and as they were before: was[i] is nil for a window that is new.
// The result is that of deciding all windows in their order, whatever the order of the calls.
// A window that is ErrTooOld changes nothing.
func (d *Decider) Put(w Window) (now []Decided, was []*Decided, err error) {
	w.Start = w.Start.UTC()
	if !d.Oldest.IsZero() && !w.Start.After(d.Oldest) {
		return nil, nil, fmt.Errorf("%w: %s", ErrTooOld, w.Start.Format(time.RFC3339))
	}
	at, found := slices.BinarySearchFunc(d.Windows, w.Start, func(x Decided, t time.Time) int { return x.Start.Compare(t) })
	for i := at; i < len(d.Windows); i++ {
		old := d.Windows[i]
		was = append(was, &old)
	}
	if found {
		d.Windows[at].Window = w
	} else {
		d.Windows = slices.Insert(d.Windows, at, Decided{Window: w})
		was = slices.Insert(was, 0, nil)
	}
	s := d.Before
	if at > 0 {
		s = d.Windows[at-1].After
	}
	for i := at; i < len(d.Windows); i++ {
		x := &d.Windows[i]
		s, x.Transition = d.Rule.Decide(s, x.Window)
		x.After = s
	}
	now = slices.Clone(d.Windows[at:])
	if more := len(d.Windows) - d.Keep; more > 0 {
		d.Before, d.Oldest = d.Windows[more-1].After, d.Windows[more-1].Start
		d.Windows = slices.Delete(d.Windows, 0, more)
	}
	return now, was, nil
}
