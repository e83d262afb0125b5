package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// EventKind is what an event is about; alert subscriptions filter by it.
type EventKind string

// The kinds of events.
const (
	EventDrift      EventKind = "drift"      // a window's features or predictions differ from the reference
	EventAccuracy   EventKind = "accuracy"   // a window's quality is below a threshold
	EventRetraining EventKind = "retraining" // one of these asks for retraining
	// EventRequirement: a window does not meet a requirement of the manifest.
	EventRequirement EventKind = "requirement"
	EventBreak       EventKind = "break" // a stream of values changed suddenly
)

// EventKinds returns all of them.
func EventKinds() []EventKind {
	return []EventKind{EventDrift, EventAccuracy, EventRequirement, EventBreak, EventRetraining}
}

// Event is a CloudEvent (specification 1.0, structured JSON mode) on the events topic.
// One event lists all that a job found breached in a window. Its id is a hash of model, version,
// window, kind and revision, so that a repeat, as after a crash between publishing and
// remembering, is recognisable, and a revision is an event of its own. A break is of no window: its
// id is a hash of model, version, what the detector is on, the detector, and the coordinates.
// That of an alarm is a hash of its state, its opening, and the window that was judged, too.
type Event struct {
	SpecVersion     string    `json:"specversion"` // "1.0"
	ID              string    `json:"id"`
	Source          string    `json:"source"`  // "millrace/monitor"
	Type            string    `json:"type"`    // "dev.millrace." + kind
	Subject         string    `json:"subject"` // "<model>/<version>"
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"` // "application/json"
	Data            EventData `json:"data"`
}

// EventData is the payload of an Event.
type EventData struct {
	Kind        EventKind `json:"kind"`
	Job         Job       `json:"job,omitempty"` // that found the breaches
	Severity    Severity  `json:"severity"`      // the greatest of the breaches
	Model       string    `json:"model"`
	Version     string    `json:"version"`
	WindowStart time.Time `json:"window_start"`
	WindowEnd   time.Time `json:"window_end"`
	WindowKind  string    `json:"window_kind,omitempty"` // of monitoring.windows: 1h, 1d-every-1h; absent of monitoring.window
	Revision    uint32    `json:"revision"`
	Rows        uint64    `json:"rows"`
	Labels      uint64    `json:"labels,omitempty"`
	Breaches    []Breach  `json:"breaches"` // the worst first
	// Report is where the window's report is, or will be: a URL where monitor.reports_url is
	// configured, else a path below monitor.reports_dir.
	Report string `json:"report,omitempty"`
	// TrainingSQL selects the rows, with labels, that a retraining would start from.
	TrainingSQL string `json:"training_sql,omitempty"`
	// Retraining is what an event of kind retraining asks for.
	Retraining *Retraining `json:"retraining,omitempty"`
	// LastRetraining is the last event that asked for retraining before this one, where a
	// breach asks for it. It is why this event does not, unless it is one that does.
	LastRetraining *RetrainingRequest `json:"last_retraining,omitempty"`
	// Reason says why the window breached, of events of kind drift and retraining. Where it could not be
	// found NoReason says why not.
	Reason   *Reason `json:"reason,omitempty"`
	NoReason string  `json:"no_reason,omitempty"`
	// Break is what an event of kind break is about. Its window starts and ends at the event time
	// of the value, and it has no breaches.
	Break *BreakFound `json:"break,omitempty"`
	// Alarm is set in an event of kind drift that is of an alarm (monitoring.false_alarms) instead of a
	// window's checks. Of one that fires, Breaches are what scored above the alarm's threshold, as
	// distances.
	Alarm *AlarmEvent `json:"alarm,omitempty"`
}

// Is tells whether the event is of a kind: its own or, where it asks for retraining, that of what its
// job finds.
func (d *EventData) Is(kind EventKind) bool {
	if d.Kind != EventRetraining {
		return d.Kind == kind
	}
	switch d.Job {
	case JobDrift:
		return kind == EventRetraining || kind == EventDrift
	case JobAccuracy, JobEstimate:
		return kind == EventRetraining || kind == EventAccuracy
	case JobReport, JobRequirement:
	}
	return kind == EventRetraining
}

// BreakFound is a sudden change that a BreakDetector found.
type BreakFound struct {
	On        string    `json:"on"`
	Detector  string    `json:"detector"`
	Index     int64     `json:"index"`    // of the value that showed it among those that the detector took, from 0
	TopicID   uuid.UUID `json:"topic_id"` // coordinates of that value: of a label on error, else of a request
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Row       int32     `json:"row,omitempty"`
	EventTime time.Time `json:"event_time"` // of its request
	Before    float64   `json:"before"`     // mean of the values before the last ones, since the start or the last break
	After     float64   `json:"after"`      // mean of the last ones
	Statistic string    `json:"statistic"`  // what Value is: e_value, cumulative_sum, p_value, error_rate, ...
	Value     float64   `json:"value"`
	Threshold float64   `json:"threshold"`
	RunLength float64   `json:"run_length,omitempty"` // values between false alarms, at least, as promised; 0: nothing is
}

// Coordinates returns those of the value that showed the change.
func (b *BreakFound) Coordinates() Coordinates {
	return Coordinates{TopicID: b.TopicID, Partition: b.Partition, Offset: b.Offset, Row: b.Row}
}

// Retraining is what a retraining would start from, and why.
type Retraining struct {
	ID        string         `json:"id"`   // of the event; for the training, the version that it makes and its promotion to carry
	TrainFrom time.Time      `json:"from"` // the rows that TrainingSQL selects, by event time
	TrainTo   time.Time      `json:"to"`
	Compared  string         `json:"compared_with,omitempty"` // the reference of the version: the digest of its file, or until when it was learned
	When      string         `json:"when,omitempty"`          // the condition of the manifest, where that has one
	Evidence  map[string]any `json:"evidence,omitempty"`      // the values of its variables that are known, by name
}

// RetrainingRequest names an event that asked for retraining.
type RetrainingRequest struct {
	EventID     string    `json:"event_id"`
	WindowStart time.Time `json:"window_start"`
	WindowEnd   time.Time `json:"window_end"`
	AskedAt     time.Time `json:"asked_at"`
}

// Breach is one check that failed.
type Breach struct {
	Stattest  Stattest `json:"stattest"`
	Column    string   `json:"column,omitempty"`
	Value     float64  `json:"value"`
	Threshold float64  `json:"threshold"`
	Severity  Severity `json:"severity"`
	Retrain   bool     `json:"retrain"`
}

// NewEvent completes an event from its data.
func NewEvent(data EventData, now time.Time) Event {
	return Event{
		SpecVersion: "1.0", ID: EventID(data), Source: "millrace/monitor", Type: "dev.millrace." + string(data.Kind),
		Subject: data.Model + "/" + data.Version, Time: now.UTC(), DataContentType: "application/json", Data: data,
	}
}

// EventID hashes what makes an event the same event. The first judgement of a window adds no
// revision, and the first windows of a version no kind: such events have the ids that they had in
// releases without.
func EventID(d EventData) string {
	parts := []string{
		d.Model, d.Version, d.WindowStart.UTC().Format(time.RFC3339Nano), d.WindowEnd.UTC().Format(time.RFC3339Nano), string(d.Kind),
	}
	if d.Break != nil {
		parts = []string{d.Model, d.Version, string(d.Kind), d.Break.On, d.Break.Detector, string(d.Break.Coordinates().AppendID(nil))}
	}
	if d.Kind == EventRequirement || d.Kind == EventAccuracy && d.Job != JobAccuracy && d.Job != "" {
		parts = append(parts, string(d.Job)) // another job may find the same kind in the same window
	}
	if a := d.Alarm; a != nil {
		parts = append(parts, "alarm", string(a.State), a.Judged.UTC().Format(time.RFC3339Nano))
		if a.OpenedAt != nil {
			parts = append(parts, a.OpenedAt.UTC().Format(time.RFC3339Nano))
		}
	}
	if d.Revision > 0 {
		parts = append(parts, strconv.FormatUint(uint64(d.Revision), 10))
	}
	if d.WindowKind != "" {
		parts = append(parts, d.WindowKind)
	}
	h := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(h[:16])
}
