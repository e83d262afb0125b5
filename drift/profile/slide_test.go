package profile_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
)

// Windows that slide have the rows that a count of each by itself finds.
func TestSlideCountsEachWindow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		every := time.Duration(1+r.IntN(3)) * time.Hour
		length := every * time.Duration(1+r.IntN(6))
		at := profile.WindowStart(time.Unix(int64(r.IntN(100))-50, 0), every)
		var steps []profile.WindowRows
		for range r.IntN(12) {
			steps = append(steps, profile.WindowRows{Start: at, Rows: 1 + r.Uint64N(9)})
			at = at.Add(every * time.Duration(1+r.IntN(12)/10*r.IntN(20)))
		}
		span := profile.Span{Start: profile.WindowStart(time.Unix(0, 0), every).Add(every * time.Duration(r.IntN(30)-15))}
		span.End = span.Start.Add(every * time.Duration(r.IntN(30)))
		if r.IntN(3) == 0 {
			span.Start = time.Time{}
		}
		var want []profile.WindowRows
		for w := profile.WindowStart(time.Unix(0, 0), every).Add(-200 * every); w.Before(span.End); w = w.Add(every) {
			rows := uint64(0)
			for _, s := range steps {
				if !s.Start.Before(w) && s.Start.Before(w.Add(length)) {
					rows += s.Rows
				}
			}
			if rows > 0 && (span.Start.IsZero() || !w.Before(span.Start)) {
				want = append(want, profile.WindowRows{Start: w, Rows: rows})
			}
		}
		require.Equal(t, want, profile.Slide(steps, length, every, span), "length %v, every %v, span %v, steps %v", length, every, span, steps)
	}
}
