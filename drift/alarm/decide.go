package alarm

import (
	"fmt"
	"math/bits"
	"time"
)

// Phase is what an alarm is in after a window.
type Phase string

// The phases of an alarm.
const (
	PhaseOK       Phase = "ok"
	PhasePending  Phase = "pending"  // some of the last n windows scored above the threshold, fewer than k
	PhaseFiring   Phase = "firing"   // the alarm is open
	PhaseResolved Phase = "resolved" // the window with which the alarm closed
	PhaseNoData   Phase = "no_data"  // the window has too few rows; an open alarm stays open
)

// MaxN bounds Rule.N.
const MaxN = 64

// Rule is when an alarm opens and closes. Windows with too few rows do not count in it.
type Rule struct {
	K     int `json:"k"`     // an alarm opens when as many of the last N windows are above the threshold
	N     int `json:"n"`     // K to MaxN
	Close int `json:"close"` // it closes after as many windows in a row that are not
}

// Validate returns what is wrong with the rule.
func (r Rule) Validate() error {
	switch {
	case r.N < 1 || r.N > MaxN:
		return fmt.Errorf("n must be 1 to %d, got %d", MaxN, r.N)
	case r.K < 1 || r.K > r.N:
		return fmt.Errorf("k must be 1 to n = %d, got %d", r.N, r.K)
	case r.Close < 1:
		return fmt.Errorf("close must be at least 1, got %d", r.Close)
	}
	return nil
}

// machine is what a rule remembers of the windows that were judged.
type machine struct {
	recent uint64 // the last N windows, the last one in bit 0: whether it was above the threshold
	quiet  int    // windows in a row that were not, of an open alarm
	open   bool
}

// next judges one window; the alarm opened or closed with it, or neither.
func (m *machine) next(r Rule, above bool) (opened, closed bool) {
	var bit uint64
	if above {
		bit = 1
	}
	m.recent = (m.recent<<1 | bit) & (^uint64(0) >> (MaxN - r.N))
	if !m.open {
		m.open = bits.OnesCount64(m.recent) >= r.K
		return m.open, false
	}
	if m.quiet++; above {
		m.quiet = 0
	}
	if m.quiet < r.Close {
		return false, false
	}
	*m = machine{} // what raised this alarm raises no other
	return false, true
}

// State is what is kept of an alarm between windows. The zero value is that before the first one.
type State struct {
	Phase    Phase      `json:"phase,omitempty"`
	Open     bool       `json:"open,omitempty"`
	OpenedAt *time.Time `json:"opened_at,omitempty"` // start of the window with which it opened; nil unless open
	Recent   uint64     `json:"recent,omitempty"`    // bit i: the window i judged windows ago was above the threshold
	Quiet    int        `json:"quiet,omitempty"`     // judged windows in a row that were not, since it opened
}

// Transition is what a window did to an alarm. Of a window that is decided again, compare it with
// that before.
type Transition struct {
	From     Phase `json:"from"`
	To       Phase `json:"to"`
	Opened   bool  `json:"opened,omitempty"`
	Resolved bool  `json:"resolved,omitempty"`
}

// Window is what a decision needs of a window: Scored.Window gives it.
type Window struct {
	Start  time.Time `json:"start"`
	NoData bool      `json:"no_data,omitempty"` // too few rows
	Above  bool      `json:"above,omitempty"`   // a check is above the threshold and its effect large enough
}

// Decide returns the state after a window. It depends on nothing but its arguments: the same
// windows, in the order of their starts, give the same transitions.
func (r Rule) Decide(s State, w Window) (State, Transition) {
	t := Transition{From: s.Phase}
	if t.From == "" {
		t.From = PhaseOK
	}
	if w.NoData {
		s.Phase, t.To = PhaseNoData, PhaseNoData
		return s, t
	}
	m := machine{recent: s.Recent, quiet: s.Quiet, open: s.Open}
	t.Opened, t.Resolved = m.next(r, w.Above)
	s.Recent, s.Quiet, s.Open = m.recent, m.quiet, m.open
	switch {
	case t.Opened:
		start := w.Start.UTC()
		s.OpenedAt, s.Phase = &start, PhaseFiring
	case t.Resolved:
		s.OpenedAt, s.Phase = nil, PhaseResolved
	case s.Open:
		s.Phase = PhaseFiring
	case s.Recent != 0:
		s.Phase = PhasePending
	default:
		s.Phase = PhaseOK
	}
	t.To = s.Phase
	return s, t
}
