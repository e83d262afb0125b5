package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNewestParts: what a part was merged from lies beside it for a while, and would come
// back in its place.
func TestNewestParts(t *testing.T) {
	parts := []part{ // newest first
		{Table: "a", Name: "p_1_3_1", Partition: "p", Least: 1, Most: 3, Active: 1},
		{Table: "b", Name: "p_1_1_0", Partition: "p", Least: 1, Most: 1, Active: 1},
		{Table: "a", Name: "p_3_3_0", Partition: "p", Least: 3, Most: 3},
		{Table: "a", Name: "q_2_2_0", Partition: "q", Least: 2, Most: 2},
		{Table: "a", Name: "q_4_4_0", Partition: "q", Least: 4, Most: 4, Active: 1},
		{Table: "b", Name: "p_3_3_0", Partition: "p", Least: 3, Most: 3},
		{Table: "a", Name: "p_0_0_0", Partition: "p", Active: 1},
	}
	names := func(most int) []string {
		var names []string
		for _, p := range newestParts(parts, most) {
			names = append(names, p.Table+" "+p.Name)
		}
		return names
	}
	require.Equal(t, []string{"a p_1_3_1", "a p_3_3_0", "b p_1_1_0"}, names(1))
	require.Equal(t, []string{"a p_1_3_1", "a p_3_3_0", "b p_1_1_0", "a q_4_4_0"}, names(2))
	require.Len(t, names(9), 5)
	require.Empty(t, names(0))
}
