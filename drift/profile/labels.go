package profile

import "time"

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
