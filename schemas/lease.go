package schemas

import "time"

// Lease is the time in which records may begin to be stored, by the clock of the server that
// stores them: from the announcement of their range to its deadline. The zero Lease is none.
type Lease struct {
	Announced time.Time
	Deadline  time.Time
}

// IsZero tells that there is no lease.
func (l Lease) IsZero() bool { return l.Deadline.IsZero() }

// Span is how long the lease is.
func (l Lease) Span() time.Duration { return max(0, l.Deadline.Sub(l.Announced)) }

// Claim says which consumer group's recorders store the records of a topic.
type Claim struct {
	Group string    // the owner
	From  string    // the group that owned the rows before; empty: none
	At    time.Time // when it became the owner, which no other claim of the topic has
	First bool      // the call that returned it has made it, and nobody owned the rows before
}
