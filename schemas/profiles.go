package schemas

import "time"

// Answered rows are counted in the table profiles either by the recorder that stores them, or later by
// who finds that they are not counted. So that none is counted twice, both go by the age of rows, by
// the server's clock: the second counts rows older than ProfileSettled, and a recorder begins to add
// rows that are at most ProfileReplayed old within ProfileLease, by an insert that ends within two
// minutes. That leaves time for the clocks of servers to differ.
const (
	ProfileSettled  = 10 * time.Minute
	ProfileReplayed = 2 * time.Minute
	ProfileLease    = 5 * time.Minute
)
