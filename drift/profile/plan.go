package profile

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Plan says what is counted of a version's answered rows as they are stored: the cells of the columns
// of its reference, by bucket of event time and, where the manifest names them, by segment. What is
// counted by the same plan adds up.
type Plan struct {
	Model    string        `json:"model"`
	Version  string        `json:"version"`
	Bucket   time.Duration `json:"bucket"`   // a divisor of the length of the version's windows
	Columns  []Column      `json:"columns"`  // features and outputs, in the order of the reference
	Segments []string      `json:"segments"` // features of text, category or bool by whose values rows are counted too
}

// Column is one column of a plan, with the cells of the reference: either edges or categories.
type Column struct {
	Name       string    `json:"name"`
	Edges      []float64 `json:"edges,omitempty"`
	Categories []string  `json:"categories,omitempty"`
}

// Origin returns what numbers are taken from before they are summed up: the middle edge, so that a
// column that lies far from 0, such as a time, keeps the digits of its deviation.
func (c *Column) Origin() float64 {
	if len(c.Edges) == 0 {
		return 0
	}
	return c.Edges[len(c.Edges)/2]
}

// PlanOf returns the plan of a version with a reference, whose columns it keeps. Of the segments it
// has those whose values the reference lists: of others it is not known which there will be.
func PlanOf(m *schemas.Manifest, ref *schemas.Reference, segments []string) *Plan {
	p := &Plan{Model: m.Name, Version: m.Version, Bucket: Bucket(m.Monitoring.Unit())}
	for i := range ref.Columns {
		c := &ref.Columns[i]
		p.Columns = append(p.Columns, Column{c.Name, c.Edges, c.Categories})
	}
	for _, s := range segments {
		if len(p.SegmentValues(s)) > 0 {
			p.Segments = append(p.Segments, s)
		}
	}
	return p
}

// ID is the same for plans that count the same: 32 hexadecimal digits.
func (p *Plan) ID() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // edges of a reference are finite
	}
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:16])
}

// buckets are the lengths of buckets, ascending.
var buckets = []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// Bucket returns the length of the buckets of windows: the longest of which a window has at least 12,
// a minute if it has fewer of them, and the window where that is no multiple of a minute.
func Bucket(window time.Duration) time.Duration {
	for _, b := range slices.Backward(buckets) {
		if window%b == 0 && (window/b >= 12 || b == time.Minute) {
			return b
		}
	}
	return window
}

// Row is what is counted of one column, in one bucket of event time, of the rows of one variant and
// segment. Rows of the same plan, variant, bucket, segment and column add up: counts and sums by
// addition, Min and Max by the least and greatest, sketches by merging them. Rows is the sum of
// Missing, NaN, Other and Cells. A column without edges is not looked at as numbers: NaN is one of
// Other there.
type Row struct {
	Variant string
	Bucket  time.Time // its start
	Segment string    // the feature that Value is one of; "" with Value "" is all rows
	Value   string    // NULL is ""
	Column  string

	Rows    uint64
	Missing uint64 // NULL; NaN is counted apart
	NaN     uint64
	// PositiveInf and NegativeInf are also in the last and the first cell.
	PositiveInf, NegativeInf uint64
	Other                    uint64            // categories that the plan does not list
	Cells                    []uint64          // bins or listed categories, in order; trailing zeros are cut off
	Sum, SumSquares          float64           // of the finite numbers less Column.Origin; not finite where they leave the range of 64-bit floats
	Min, Max                 float64           // of the finite numbers; +Inf and -Inf where there is none
	Unseen                   map[string]uint64 // the most frequent of Other, at most MaxUnseen
	Sketch                   []byte            // a t-digest of the finite numbers, as ClickHouse's quantilesTDigest serialises its state; nil of categories
}

// Finite returns the number of finite numbers.
func (r *Row) Finite() uint64 {
	n := uint64(0)
	for _, k := range r.Cells {
		n += k
	}
	return n - r.PositiveInf - r.NegativeInf
}

// MaxUnseen bounds Row.Unseen.
const MaxUnseen = 10

// MaxSegmentValues bounds the values of a segment that are counted by themselves, beside NULL; all
// others are counted as the value OtherValues, so that ranges add up.
const (
	MaxSegmentValues = 50
	OtherValues      = "(others)"
)

// SegmentValues returns the values of a segment that are counted by themselves, beside NULL and "",
// which are one: the first categories that the plan lists of the feature.
func (p *Plan) SegmentValues(segment string) []string {
	at := slices.IndexFunc(p.Columns, func(c Column) bool { return c.Name == segment })
	if at < 0 {
		return nil
	}
	return listedValues(p.Columns[at].Categories)
}

func listedValues(categories []string) (values []string) {
	for _, v := range categories {
		if v != "" && v != OtherValues && len(values) < MaxSegmentValues {
			values = append(values, v)
		}
	}
	return values
}
