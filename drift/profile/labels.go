package profile

import (
	"time"

	"github.com/millrace/millrace/schemas"
)

// LabelState is which labels count in a window: how many requests have one, and a number that
// changes where another label counts for any of them, 0 where none does.
type LabelState struct {
	Labels, State uint64
}

// LabelArrival is a second in which labels were stored, by the server's clock. State depends
// on which labels these are: it changes when an insert that took long becomes visible.
type LabelArrival struct {
	StoredAt time.Time
	State    uint64
}

// LabelFate is what became of a label that a detector by value may take.
type LabelFate string

// The fates.
const (
	LabelTaken   LabelFate = "taken"   // the version has answered its request, and it is the first label of it
	LabelLater   LabelFate = "later"   // another label of its request was stored before
	LabelForeign LabelFate = "foreign" // its request was answered by another version, or failed
	LabelUnknown LabelFate = "unknown" // its request is not stored, or not yet
)

// Labelled is a label, with the error of the prediction that it is of.
type Labelled struct {
	At       schemas.Coordinates // of the label
	StoredAt time.Time           // whole seconds, by the server's clock
	Fate     LabelFate
	// EventTime is that of the request, of labels that are taken.
	EventTime time.Time
	// Error is 0 where the prediction of a classification is right and 1 where it is wrong; of
	// a regression the absolute error. NaN: there is no prediction.
	Error float64
}

// LabelsAfter says which labels are wanted.
type LabelsAfter struct {
	// StoredFrom leaves out labels that were stored before, ScoredFrom requests that were
	// answered before: labels of these are unknown. Both bound what is read.
	StoredFrom, ScoredFrom time.Time
	// Position has the last label of each partition that is not wanted; all labels of a
	// partition that it does not have are.
	Position []schemas.Coordinates
	Limit    int // labels of a partition
}

// Item is a label or an answered row, with the values that a detector may take of it.
type Item struct {
	At        schemas.Coordinates // of the label, or of the request that the row answers
	EventTime time.Time           // of the request
	// Values are those of the columns that are asked for: NaN where one is missing. A bool is 0 or 1,
	// as the error of a classification; that of a regression is the absolute error.
	Values []float64
}

// RowsAfter says which rows are wanted.
type RowsAfter struct {
	// StoredFrom leaves out rows that were stored before, StoredTo those that were stored after it.
	StoredFrom, StoredTo time.Time
	// Position has the last row of each partition that is not wanted; all rows of a partition that it
	// does not have are.
	Position []schemas.Coordinates
	Limit    int // rows of a partition
}
