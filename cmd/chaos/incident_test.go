package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIncidentsFollowFromTheSeed(t *testing.T) {
	all := allIncidents(nil)
	for seed := range uint64(10) {
		dealt := NewIncidents(seed, EachIncident, usual)
		require.Equal(t, dealt, NewIncidents(seed, EachIncident, usual), "the same seed, the same incidents")
		require.Len(t, dealt, len(all))
		require.True(t, slices.IsSortedFunc(dealt, func(a, b Incident) int { return a.rank() - b.rank() }), "%v", dealt)
		for i := range dealt {
			require.GreaterOrEqual(t, dealt[i].Dice, 0.0)
			require.Less(t, dealt[i].Dice, 1.0)
			for _, f := range dealt[i].Amid {
				require.NotEmpty(t, f.Service, "%s: processes are the operator's", f)
				require.NotEqual(t, everyone, f.Target)
			}
			dealt[i].Dice, dealt[i].Amid = 0, nil
		}
		require.ElementsMatch(t, all, dealt, "each once")
	}
	require.NotEqual(t, NewIncidents(1, EachIncident, usual), NewIncidents(2, EachIncident, usual))

	kinds := map[Kind]bool{}
	for _, in := range all {
		kinds[in.Kind] = true
	}
	for _, k := range incidentKinds() {
		require.True(t, kinds[k], "%s is never dealt", k)
	}
}

func only(kinds ...Kind) Topology {
	t := usual
	t.Only = kinds
	return t
}

func TestIncidentsAreSelectedByName(t *testing.T) {
	var names []string
	for _, in := range NewIncidents(1, 2*3, only(Clock, "forget:worker", "poison:requests:skipped", Kill)) {
		names = append(names, in.String())
	}
	require.ElementsMatch(t, []string{"clock clickhouse", "forget worker", "poison requests skipped", "clock clickhouse", "forget worker", "poison requests skipped"}, names)
	require.Empty(t, NewIncidents(1, EachIncident, only(Kill, Late)))
	require.Empty(t, NewIncidents(1, 7, only(Kill)))
	require.Empty(t, NewIncidents(1, 0, usual))
	for _, in := range NewIncidents(1, EachIncident, only(Again, Mute)) {
		require.Len(t, in.Amid, faultsAmid)
		require.Regexp(t, `^again \w+ amid mute \S+, mute \S+$`, in.String())
	}
	require.Empty(t, NewPlan(1, 7, Topology{Workers: 1, Recorders: 1, Brokers: 1, Only: []Kind{Clock}}, 1).Faults)
}
