package schemas

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// FalseAlarms says how rare a version's alarms of drift are where nothing drifts: instead of an
// event for each window that breaches, one alarm opens and closes, by a threshold that is
// calibrated on the windows of the version for all columns together.
type FalseAlarms struct {
	Every   Duration `yaml:"every"`             // time between false alarms of the version as a whole
	Windows KOfN     `yaml:"windows,omitempty"` // an alarm opens when K of the last N windows score above the threshold; default 1 of 1
	Close   int      `yaml:"close,omitempty"`   // it closes after as many windows in a row that do not; default N
	Season  string   `yaml:"season,omitempty"`  // with which windows one is compared: auto (default), none, day or week
	// Calibration is of how many of the first windows with min_rows rows the threshold is made;
	// default 4 weeks of them, but 28 to 672. No fewer than the reference is learned from.
	Calibration int      `yaml:"calibration,omitempty"`
	Severity    Severity `yaml:"severity,omitempty"` // of its events; default warning
}

// KOfN is written as "2 of 3".
type KOfN struct{ K, N int }

// Bounds of FalseAlarms.
const (
	MaxAlarmWindows       = 64 // of KOfN.N and of Close
	LeastCalibration      = 12
	MaxCalibrationWindows = 20_000
)

// UnmarshalYAML reads "k of n".
func (x *KOfN) UnmarshalYAML(text []byte) error {
	s := strings.Trim(string(bytes.TrimSpace(text)), `"'`)
	var k, n int
	if _, err := fmt.Sscanf(s+";", "%d of %d;", &k, &n); err != nil || k < 1 || n < k || n > MaxAlarmWindows {
		return fmt.Errorf("%q is no number of windows: write 2 of 3, of at most %d", s, MaxAlarmWindows)
	}
	*x = KOfN{k, n}
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (x KOfN) MarshalYAML() ([]byte, error) { return []byte(x.String()), nil }

func (x KOfN) String() string { return fmt.Sprintf("%d of %d", x.K, x.N) }

func (f *FalseAlarms) setDefaults(window time.Duration) {
	if f.Windows == (KOfN{}) {
		f.Windows = KOfN{1, 1}
	}
	if f.Close == 0 {
		f.Close = f.Windows.N
	}
	if f.Season == "" {
		f.Season = "auto"
	}
	if f.Severity == "" {
		f.Severity = SeverityWarning
	}
	if f.Calibration == 0 {
		f.Calibration = int(min(max(28*24*time.Hour/max(window, time.Second), 28), 672))
	}
}

func (m *Manifest) validateFalseAlarms(v *violations) {
	f, mon, key := m.Monitoring.FalseAlarms, m.Monitoring, "monitoring.false_alarms"
	if f == nil {
		return
	}
	if m.Reference == nil && mon.Reference == nil {
		v.add(key, "alarms compare with the reference, and the manifest has none; monitoring.reference learns one")
	}
	v.between(key+".every (seconds)", f.Every.Std().Seconds(), mon.Window.Std().Seconds(), 10*366*24*3600)
	if f.Windows.K < 1 || f.Windows.N < f.Windows.K || f.Windows.N > MaxAlarmWindows {
		v.add(key+".windows", "must be k of n with k from 1 to n, and n to %d, got %s", MaxAlarmWindows, f.Windows)
	}
	v.between(key+".close", float64(f.Close), 1, MaxAlarmWindows)
	v.between(key+".calibration", float64(f.Calibration), LeastCalibration, MaxCalibrationWindows)
	v.oneOf(key+".season", f.Season, "auto", "none", "day", "week")
	v.oneOf(key+".severity", string(f.Severity), string(SeverityInfo), string(SeverityWarning), string(SeverityCritical))
	season := map[string]time.Duration{"day": 24 * time.Hour, "week": 7 * 24 * time.Hour}[f.Season]
	if window := mon.Window.Std(); season > 0 && window > 0 {
		switch {
		case season%window != 0 || window == season:
			v.add(key+".season", "windows of %s do not divide a %s", window, f.Season)
		case time.Duration(f.Calibration)*window < 2*season:
			v.add(key+".season", "a season of a %s is learned from two of them: calibration must be at least %d windows, got %d", f.Season, 2*season/window, f.Calibration)
		}
	}
}

// AlarmState is what an event says of an alarm.
type AlarmState string

// The states that events tell of.
const (
	AlarmFiring   AlarmState = "firing"   // it opened, or was resolved too early, as late rows have shown
	AlarmResolved AlarmState = "resolved" // it closed, or was withdrawn
	AlarmNoData   AlarmState = "no_data"  // windows have fewer than min_rows rows; an alarm that is open stays open
	AlarmData     AlarmState = "data"     // they have enough again
)

// AlarmEvent is what an event of an alarm tells. The window of the event is the one that changed
// the alarm.
type AlarmEvent struct {
	State AlarmState `json:"state"`
	// OpenedAt is the start of the window with which the alarm opened: what the events of one
	// alarm have in common. nil of no_data and data without an open alarm.
	OpenedAt *time.Time `json:"opened_at,omitempty"`
	// Judged is the start of the window whose judgement changed the alarm. It is that of the event, or
	// an earlier one that got late rows.
	Judged    time.Time `json:"judged"`
	Withdrawn bool      `json:"withdrawn,omitempty"` // with late rows the alarm would not have opened
	Windows   string    `json:"windows"`             // the rule: k of n
	Score     float64   `json:"score"`               // of the window: of its worst check, in standard deviations; 0 without data
	Threshold float64   `json:"threshold"`           // of Score
	// Asked is monitoring.false_alarms.every, and Promised what the calibration can promise: no more,
	// and less where its windows are too few or too much alike, as Warnings say.
	Asked    float64  `json:"asked_seconds"`
	Promised float64  `json:"promised_seconds"`
	Warnings []string `json:"warnings,omitempty"`
}

// AlarmWindow is a row of alarms: a window that an alarm has decided, with the alarm's state after
// it.
type AlarmWindow struct {
	Model       string     `ch:"model"`
	Version     string     `ch:"version"`
	WindowStart time.Time  `ch:"window_start"`
	WindowEnd   time.Time  `ch:"window_end"`
	Revision    uint32     `ch:"revision"`
	Rows        uint64     `ch:"rows"`
	NoData      bool       `ch:"no_data"`
	Above       bool       `ch:"above"`
	Score       float64    `ch:"score"`
	Threshold   float64    `ch:"threshold"`
	Column      string     `ch:"column"` // of the worst check
	Stattest    string     `ch:"stattest"`
	Phase       string     `ch:"phase"`
	OpenedAt    *time.Time `ch:"opened_at"`
	Recent      uint64     `ch:"recent"`
	Quiet       uint32     `ch:"quiet"`
	Settings    string     `ch:"settings"` // AlarmCalibration.Settings that it was decided by
	DecidedAt   time.Time  `ch:"decided_at"`
}

// AlarmCalibration is a row of alarm_calibrations: what alarms of a version are decided by.
type AlarmCalibration struct {
	Model       string    `ch:"model"`
	Version     string    `ch:"version"`
	Seconds     uint64    `ch:"window_seconds"`
	Reference   string    `ch:"reference"` // digest of the reference's cells
	Settings    string    `ch:"settings"`  // digest of what was asked for
	From        time.Time `ch:"calibrated_from"`
	To          time.Time `ch:"calibrated_to"` // windows from here on are decided
	Buckets     string    `ch:"buckets"`       // JSON
	Calibration string    `ch:"calibration"`   // JSON
	Card        string    `ch:"card"`          // JSON
}
