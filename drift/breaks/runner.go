package breaks

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Feed is where values come from. Each has positions of its own.
type Feed string

// The feeds.
const (
	FeedLabels Feed = "labels" // predictions with labels: error
	FeedRows   Feed = "rows"   // answered rows: score, features and outputs
)

// Break is a sudden change that a detector found.
type Break struct {
	Model, Version string
	Severity       schemas.Severity
	schemas.BreakFound
}

// Event returns the event of the break.
func (b Break) Event(now time.Time) schemas.Event {
	found := b.BreakFound
	return schemas.NewEvent(schemas.EventData{
		Kind: schemas.EventBreak, Severity: b.Severity, Model: b.Model, Version: b.Version,
		WindowStart: b.EventTime, WindowEnd: b.EventTime, Break: &found,
	}, now)
}

// Counts are what became of the values of a detector.
type Counts struct {
	On       string `json:"-"`
	Detector string `json:"-"`
	Taken    int64  `json:"taken"`
	Missing  int64  `json:"missing"`  // NaN
	Refused  int64  `json:"refused"`  // out of the range that the detector takes
	Learning int64  `json:"learning"` // errors that the scale of a regression was learned from
	Breaks   int64  `json:"breaks"`
}

// ErrOrder is returned for items that are not in the order of their coordinates.
var ErrOrder = errors.New("items are not in the order of their coordinates")

// Runner has the values of a version in its detectors. It is not safe for concurrent use.
type Runner struct {
	manifest *schemas.Manifest
	streams  []*stream
	columns  map[Feed][]string
	at       map[Feed]map[partition]place
	repeated int64
}

type partition struct {
	topic  [16]byte
	number int32
}

type place struct {
	offset int64
	row    int32
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.offset, q.offset), cmp.Compare(p.row, q.row))
}

func split(c schemas.Coordinates) (partition, place) {
	return partition{c.TopicID, c.Partition}, place{c.Offset, c.Row}
}

// Compare orders coordinates by topic id, partition, offset and row.
func Compare(a, b schemas.Coordinates) int {
	return cmp.Or(bytes.Compare(a.TopicID[:], b.TopicID[:]), cmp.Compare(a.Partition, b.Partition),
		cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Row, b.Row))
}

// New returns a runner of the breaks that a manifest names, which has taken nothing. The error says
// which parameters a detector refuses. The manifest must stay unchanged.
func New(m *schemas.Manifest) (*Runner, error) {
	r := &Runner{
		manifest: m, columns: map[Feed][]string{},
		at: map[Feed]map[partition]place{FeedLabels: {}, FeedRows: {}},
	}
	if m.Monitoring == nil {
		return r, nil
	}
	var errs []error
	for i := range m.Monitoring.Breaks {
		s, err := newStream(m, &m.Monitoring.Breaks[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("monitoring.breaks[%d]: %w", i, err))
			continue
		}
		column := m.BreakColumn(s.plan)
		s.feed = FeedRows
		if s.plan.On == schemas.BreakOnError {
			s.feed, column = FeedLabels, schemas.BreakOnError
		}
		s.column = slices.Index(r.columns[s.feed], column)
		if s.column < 0 {
			s.column = len(r.columns[s.feed])
			r.columns[s.feed] = append(r.columns[s.feed], column)
		}
		r.streams = append(r.streams, s)
	}
	return r, errors.Join(errs...)
}

// Columns are those whose values an item of the feed has, in this order: of FeedLabels "error",
// of FeedRows features and outputs. There are none where no detector is on the feed.
func (r *Runner) Columns(f Feed) []string { return slices.Clone(r.columns[f]) }

// Position returns the coordinates of the last item of each partition that was taken from a feed,
// in the order of Compare.
func (r *Runner) Position(f Feed) []schemas.Coordinates {
	out := make([]schemas.Coordinates, 0, len(r.at[f]))
	for p, at := range r.at[f] {
		out = append(out, schemas.Coordinates{TopicID: p.topic, Partition: p.number, Offset: at.offset, Row: at.row})
	}
	slices.SortFunc(out, Compare)
	return out
}

// Skip moves the position of a feed past items that have no value for any detector, as labels of
// unknown requests. A position never goes back.
func (r *Runner) Skip(f Feed, at schemas.Coordinates) {
	p, place := split(at)
	if last, ok := r.at[f][p]; !ok || place.compare(last) > 0 {
		r.at[f][p] = place
	}
}

// Counts returns what became of values, by detector in the order of the manifest.
func (r *Runner) Counts() []Counts {
	out := make([]Counts, len(r.streams))
	for i, s := range r.streams {
		out[i] = s.counts
		out[i].On, out[i].Detector = s.plan.On, s.plan.Detector
	}
	return out
}

// Repeated is the number of items that were left out, as the position was past them.
func (r *Runner) Repeated() int64 { return r.repeated }

// Take takes the items of a feed, in the order of Compare, but for those that it has taken before,
// and returns the breaks that they show, in the order of items. On an error it has taken nothing.
func (r *Runner) Take(f Feed, items []profile.Item) ([]Break, error) {
	for i, item := range items {
		if len(item.Values) != len(r.columns[f]) {
			return nil, fmt.Errorf("item %d of %s has %d values, want %d", i, f, len(item.Values), len(r.columns[f]))
		}
		if i > 0 && Compare(items[i-1].At, item.At) > 0 {
			return nil, fmt.Errorf("%w: %s, item %d", ErrOrder, f, i)
		}
	}
	var found []Break
	for _, item := range items {
		p, place := split(item.At)
		if last, ok := r.at[f][p]; ok && place.compare(last) <= 0 {
			r.repeated++
			continue
		}
		r.at[f][p] = place
		for _, s := range r.streams {
			if s.feed == f && s.take(item.Values[s.column]) {
				found = append(found, r.found(s, item))
			}
		}
	}
	return found, nil
}

// TakeLabels takes labels as LabelledSince returns them. A label of an unknown request that was
// stored at waitFrom or later holds up its partition: it and those behind it are to be read again. It
// returns the breaks, and how many labels were held up.
func (r *Runner) TakeLabels(labels []profile.Labelled, waitFrom time.Time) (found []Break, waiting int, err error) {
	held := map[partition]bool{}
	var done []schemas.Coordinates
	var items []profile.Item
	width := len(r.columns[FeedLabels])
	for _, l := range labels {
		p, _ := split(l.At)
		if held[p] = held[p] || l.Fate == profile.LabelUnknown && !l.StoredAt.Before(waitFrom); held[p] {
			waiting++
			continue
		}
		done = append(done, l.At)
		if l.Fate == profile.LabelTaken {
			items = append(items, profile.Item{At: l.At, EventTime: l.EventTime, Values: slices.Repeat([]float64{l.Error}, width)})
		}
	}
	if found, err = r.Take(FeedLabels, items); err != nil {
		return nil, 0, err
	}
	for _, at := range done {
		r.Skip(FeedLabels, at)
	}
	return found, waiting, nil
}

// found describes the break that a stream's last value showed.
func (r *Runner) found(s *stream, item profile.Item) Break {
	before, after := s.levels.split()
	s.levels = levels{}
	name, value, threshold := statistic(s.detector)
	return Break{
		Model: r.manifest.Name, Version: r.manifest.Version, Severity: s.plan.Severity,
		BreakFound: schemas.BreakFound{
			On: s.plan.On, Detector: s.plan.Detector, Index: s.counts.Taken - 1,
			TopicID: item.At.TopicID, Partition: item.At.Partition, Offset: item.At.Offset, Row: item.At.Row,
			EventTime: item.EventTime.UTC(), Before: before, After: after,
			Statistic: name, Value: shown(value), Threshold: shown(threshold), RunLength: s.plan.RunLength,
		},
	}
}

// shown is a figure as JSON can hold it.
func shown(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return math.Min(math.Max(x, -math.MaxFloat64), math.MaxFloat64)
}
