package profile_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/profile"
)

// TestAdd numbers the cells of two bins and of two categories.
func TestAdd(t *testing.T) {
	for _, numeric := range []bool{true, false} {
		c := profile.Counts{Cells: make([]int64, 2)}
		for cell, rows := range map[uint16]int64{0: 1, 1: 2, 2: 4, 3: 8, profile.CellMissing: 16, profile.CellUnknown: 32} {
			known := cell == profile.CellMissing || cell < 2 || (cell == 2 && !numeric)
			require.Equal(t, known, c.Add(cell, rows, numeric), "cell %d", cell)
		}
		if numeric {
			require.Equal(t, profile.Counts{Cells: []int64{1, 2}, Missing: 16}, c)
			require.Equal(t, int64(19), c.Rows())
		} else {
			require.Equal(t, profile.Counts{Cells: []int64{2, 4}, Other: 1, Missing: 16}, c)
			require.Equal(t, int64(23), c.Rows())
		}
	}
}

func TestGroupBins(t *testing.T) {
	text, err := os.ReadFile("../testdata/golden.json") // of make_monitor.py
	require.NoError(t, err)
	var golden struct {
		Groups []struct {
			Reference []int64
			Groups    []int
		}
	}
	require.NoError(t, json.Unmarshal(text, &golden))
	require.NotEmpty(t, golden.Groups)
	for _, c := range golden.Groups {
		require.Equal(t, c.Groups, profile.GroupBins(c.Reference, 10), "%v", c.Reference)
	}
}

func TestGroupBinsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bins := rapid.SliceOfN(rapid.Int64Range(0, 1_000_000), 1, 80).Draw(t, "reference")
		g := profile.GroupBins(bins, 10)
		require.Len(t, g, len(bins))
		require.Equal(t, 0, g[0])
		for i := 1; i < len(g); i++ {
			require.True(t, g[i] == g[i-1] || g[i] == g[i-1]+1, "%v", g)
		}
		require.Less(t, g[len(g)-1], 10)
	})
}

// TestGroupBinsMirrored: a column and its mirror image are grouped alike, so that a score of
// groups does not depend on the sign of a column's values.
func TestGroupBinsMirrored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few := rapid.Int64Range(0, 3)
		many := rapid.Int64Range(0, 1_000_000)
		bins := rapid.SliceOfN(rapid.OneOf(few, many), 1, 60).Draw(t, "reference")
		groups := rapid.IntRange(1, 12).Draw(t, "groups")
		mirror := slices.Clone(bins)
		slices.Reverse(mirror)
		a, b := profile.GroupBins(bins, groups), profile.GroupBins(mirror, groups)
		last := a[len(a)-1]
		require.Less(t, last, groups)
		for i := range a {
			require.Equal(t, last-a[i], b[len(b)-1-i], "%v and %v", a, b)
		}
	})
}
