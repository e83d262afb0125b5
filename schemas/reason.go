package schemas

import "time"

// Reason says why a window breached. It is made of counts alone, and the event has the same id
// with or without it. Lists and texts are bounded: its JSON has at most MaxReasonBytes.
type Reason struct {
	Sentence string          `json:"sentence"`
	Columns  []ColumnReason  `json:"columns,omitempty"` // features: causes first, then by Share
	Rows     []RowsReason    `json:"rows,omitempty"`    // what is wrong with the window's rows as a whole: too few, repeated
	Segments []SegmentReason `json:"segments,omitempty"`
	Moved    Moved           `json:"moved"`
	Matters  Matters         `json:"matters"`
	Why      string          `json:"why_it_matters,omitempty"` // what Matters is concluded from
	// Looked is the start of the buckets of event time that were looked at for the beginning of
	// the change, Bucket their length in seconds; nil and 0 where there are none.
	Looked *time.Time `json:"looked_from,omitempty"`
	Bucket float64    `json:"bucket_seconds,omitempty"`
	// SQL selects the rows that show the change, as ClickHouse runs it.
	SQL string `json:"sql,omitempty"`
}

// MaxReasonBytes bounds a Reason as JSON. An event has at most 1 MiB.
const MaxReasonBytes = 32 << 10

// ColumnReason is what became of a column.
type ColumnReason struct {
	Column string `json:"column"`
	// Share is the column's part of the drift of all features: of their psi, without what chance
	// makes of it, 0 to 1.
	Share float64 `json:"share"`
	Score float64 `json:"psi"`     // without what chance makes of it
	What  string  `json:"what"`    // the change in words: is missing, mean about +0.8 standard deviations
	Cause bool    `json:"cause"`   // it is a fault of the data: missing, unlisted categories, a value that never changes, out of range
	Drift bool    `json:"drifted"` // a check of the column breached
	// Since is the start of the bucket from which on the column was changed; nil where that is not
	// known, and then Undated says why. Until is where it was over before the window was.
	Since   *time.Time `json:"since,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
	Undated string     `json:"undated,omitempty"`
	// Correlation is Spearman's of the column's psi with how bad the quality was, over Windows past
	// windows; nil where there are too few. Goes tells whether it is above 0 by more than chance.
	Correlation *float64 `json:"correlation,omitempty"`
	Windows     int      `json:"windows,omitempty"`
	Goes        bool     `json:"goes_with_quality,omitempty"`
}

// RowsReason is a breached check of the rows of a window, as row_count.
type RowsReason struct {
	Stattest Stattest `json:"stattest"`
	What     string   `json:"what"`
}

// SegmentReason is the part that a segment has in the drift of the first column.
type SegmentReason struct {
	Segment string  `json:"segment"` // a feature
	Value   string  `json:"value"`   // "": missing
	Rows    uint64  `json:"rows"`
	Score   float64 `json:"psi"`   // of the column within the segment, before and in the window, without what chance makes of it
	Share   float64 `json:"share"` // of the psi by rows over the values of the segment
}

// Moved says what moved beside the features.
type Moved struct {
	Predictions []ColumnReason `json:"predictions,omitempty"` // outputs that drifted; Share is 0
	Realised    *MovedFigure   `json:"realised,omitempty"`    // by labels
	Estimated   *MovedFigure   `json:"estimated,omitempty"`   // without labels
}

// MovedFigure compares a quality figure of the window with those of past windows.
type MovedFigure struct {
	Metric  Stattest `json:"metric"`
	Value   float64  `json:"value"`
	Usual   float64  `json:"usual"`   // the median of the past windows
	Windows int      `json:"windows"` // past ones that are known
	PValue  float64  `json:"p_value"` // of being as bad, where windows are exchangeable
	Worse   bool     `json:"worse"`
}

// Matters is whether the quality of predictions suffers.
type Matters string

// What is known of it.
const (
	MattersYes     Matters = "yes"     // a quality figure of the window is worse than usual
	MattersLikely  Matters = "likely"  // the window's figures are not known, and were worse when these columns drifted before
	MattersNo      Matters = "no"      // a figure is known, and is not worse than usual
	MattersUnknown Matters = "unknown" // no figure, or too few past windows
)

// RowSelection selects the rows of a window in which a column has some values; an empty one all rows.
// Of Missing, Category, Unlisted and bounds one is set.
type RowSelection struct {
	Column   string
	Missing  bool     // NULL or NaN
	Category *string  // this text
	Unlisted []string // a text that is none of these
	From     *float64 // numbers, inclusive
	Below    *float64 // numbers, exclusive
	Outside  bool     // numbers that are not from From to Below, both inclusive
	Repeated bool     // rows whose request id occurs more than once
}
