package consumers

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What is lent is large enough, empty of what was in it as long as it is, given out once
// at a time, and not kept beyond the bound.
func TestShelf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 1 << 12
		var s shelf[int]
		var lent [][]int
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(lent) == 0 || rapid.Bool().Draw(t, "get") {
				n := rapid.IntRange(0, 3000).Draw(t, "n")
				got := s.get(n)
				require.GreaterOrEqual(t, cap(got), n)
				require.LessOrEqual(t, cap(got), max(4*n, 4), "the client zeroes all of it")
				got = got[:cap(got)]
				for i, x := range got {
					require.Zero(t, x, "lent twice, at %d", i)
					got[i] = 1
				}
				lent = append(lent, got)
				continue
			}
			i := rapid.IntRange(0, len(lent)-1).Draw(t, "which")
			back := lent[i]
			clear(back)
			s.put(back, most)
			lent = append(lent[:i], lent[i+1:]...)
			require.LessOrEqual(t, s.held, most)
		}
		held := 0
		for _, class := range s.classes {
			for _, free := range class {
				held += cap(free)
			}
		}
		require.Equal(t, s.held, held)
	})
}
