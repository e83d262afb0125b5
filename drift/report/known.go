package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Estimated is a figure as it is estimated without labels, and what labels showed less what is
// estimated of the rows that have them.
type Estimated struct {
	Metric        string      `json:"metric"`
	Value         *float64    `json:"value"` // null: not known
	Low           *float64    `json:"low,omitempty"`
	High          *float64    `json:"high,omitempty"`
	NoInterval    string      `json:"no_interval,omitempty"`
	SamplingError *float64    `json:"sampling_error,omitempty"`
	Threshold     *float64    `json:"threshold,omitempty"`
	Breached      bool        `json:"breached"`
	Less          *Difference `json:"realized_less_estimated,omitempty"` // absent without labels
	History       History     `json:"history"`
}

// Difference is realized less estimated. Its interval holds 0 while scores mean what they meant.
type Difference struct {
	Value     *float64 `json:"value"`
	Low       *float64 `json:"low,omitempty"`
	High      *float64 `json:"high,omitempty"`
	Realized  *float64 `json:"realized"`
	Estimated *float64 `json:"estimated"`
	Threshold *float64 `json:"threshold,omitempty"`
	Breached  bool     `json:"breached"`
	History   History  `json:"history"`
}

// Requirement is a requirement of the manifest.
type Requirement struct {
	Requirement string   `json:"requirement"`
	Required    float64  `json:"required"`
	Value       *float64 `json:"value"`
	Low         *float64 `json:"low,omitempty"`
	High        *float64 `json:"high,omitempty"`
	Verdict     string   `json:"verdict"`
}

// Segment is a figure of the rows of one value of a feature, which differs from that of all rows.
type Segment struct {
	Feature string   `json:"feature"`
	Value   string   `json:"value"`
	Other   bool     `json:"other,omitempty"` // all values but the most frequent ones
	Metric  string   `json:"metric"`
	Figure  *float64 `json:"figure"`
	Low     *float64 `json:"low"`
	High    *float64 `json:"high"`
	Whole   *float64 `json:"whole"`
	Labels  uint64   `json:"labels"`
}

// Delay is how long labels took, in seconds from the event time of their rows.
type Delay struct {
	Labels  uint64  `json:"labels"`
	Share   float64 `json:"share"` // of the rows that have one
	Median  float64 `json:"median_s"`
	P90     float64 `json:"p90_s"`
	P99     float64 `json:"p99_s"`
	Longest float64 `json:"longest_s"`
}

// estimated arranges the estimates of a window, and takes them from its realized figures.
func estimated(figures []schemas.AccuracyResult, history func(metric string, threshold *float64) History) (known []schemas.AccuracyResult, out []Estimated) {
	by := map[string]schemas.AccuracyResult{}
	for _, a := range figures {
		if schemas.Stattest(a.Metric).OfEstimate() {
			by[a.Metric] = a
		} else {
			known = append(known, a)
		}
	}
	for _, figure := range schemas.EstimatedFigures {
		a, ok := by[string(figure.Estimated())]
		d, compared := by[string(figure.LessEstimated())]
		if !ok && !compared {
			continue
		}
		e := Estimated{
			Metric: string(figure), Value: a.Value, Low: a.Low, High: a.High, NoInterval: a.NoInterval, SamplingError: a.SamplingError,
			Threshold: a.Threshold, Breached: a.Breached, History: history(string(figure.Estimated()), a.Threshold),
		}
		if compared {
			e.Less = &Difference{
				Value: d.Value, Low: d.Low, High: d.High, Realized: d.Realized, Estimated: d.Estimated, Threshold: d.Threshold, Breached: d.Breached,
				History: history(string(figure.LessEstimated()), nil),
			}
		}
		out = append(out, e)
	}
	return known, out
}

// add adds what was found of a window beside scores and figures.
func (r *Report) add(found schemas.Found) {
	same := func(start, end time.Time) bool { return start.Equal(r.WindowStart) && end.Equal(r.WindowEnd) }
	for _, x := range found.Requirements {
		if same(x.WindowStart, x.WindowEnd) {
			r.Requirements = append(r.Requirements, Requirement{x.Requirement, x.Required, x.Value, x.Low, x.High, x.Verdict})
		}
	}
	for _, s := range found.Segments {
		if same(s.WindowStart, s.WindowEnd) {
			r.Segments = append(r.Segments, Segment{s.Segment, s.Of, s.Other, s.Metric, s.Value, s.Low, s.High, s.Whole, s.Labels})
		}
	}
	slices.SortStableFunc(r.Segments, func(a, b Segment) int { return cmp.Compare(a.below(), b.below()) })
	for _, d := range found.Delays {
		if same(d.WindowStart, d.WindowEnd) {
			share := 0.0
			if d.Rows > 0 {
				share = float64(d.Labels) / float64(d.Rows)
			}
			r.Delay = &Delay{d.Labels, share, d.Median, d.P90, d.P99, d.Longest}
		}
	}
}

// below is how far the figure of a segment is from that of the whole: the least is the worst, of
// figures of which more is better.
func (s Segment) below() float64 {
	if s.Figure == nil || s.Whole == nil {
		return math.Inf(1)
	}
	return *s.Figure - *s.Whole
}

// interval renders an interval, a dash where there is none.
func interval(low, high *float64) string {
	if low == nil || high == nil {
		return "–"
	}
	return num(*low) + " to " + num(*high)
}

// seconds renders a time that was given in seconds.
func seconds(s float64) string {
	if math.Abs(s) < 120 {
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	}
	d := time.Duration(s * float64(time.Second)).Round(time.Minute)
	if math.Abs(s) < 48*3600 {
		return d.String()[:len(d.String())-len("0s")]
	}
	return strconv.FormatFloat(d.Hours()/24, 'f', 1, 64) + " d"
}
