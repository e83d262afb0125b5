package chaos

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIncidentsFollowFromTheSeed(t *testing.T) {
	all := allIncidents(nil)
	for seed := range uint64(10) {
		dealt := NewIncidents(seed, EachIncident, nil)
		require.Equal(t, dealt, NewIncidents(seed, EachIncident, nil), "the same seed, the same incidents")
		require.Len(t, dealt, len(all))
		for i := range dealt {
			require.GreaterOrEqual(t, dealt[i].Dice, 0.0)
			require.Less(t, dealt[i].Dice, 1.0)
			dealt[i].Dice = 0
		}
		require.ElementsMatch(t, all, dealt, "each once")
	}
	require.NotEqual(t, NewIncidents(1, EachIncident, nil), NewIncidents(2, EachIncident, nil))

	kinds := map[Kind]bool{}
	for _, in := range all {
		kinds[in.Kind] = true
	}
	for _, k := range incidentKinds() {
		require.True(t, kinds[k], "%s is never dealt", k)
	}
}

func TestIncidentsAreSelectedByName(t *testing.T) {
	var names []string
	for _, in := range NewIncidents(1, 2*3, []Kind{Clock, "forget:worker", "poison:requests:skipped", Kill}) {
		names = append(names, in.String())
	}
	require.ElementsMatch(t, []string{"clock clickhouse", "forget worker", "poison requests skipped", "clock clickhouse", "forget worker", "poison requests skipped"}, names)
	require.ElementsMatch(t, names[:3], names[3:], "every one before any a second time")
	require.Empty(t, NewIncidents(1, EachIncident, []Kind{Kill, Late}))
	require.Empty(t, NewIncidents(1, 7, []Kind{Kill}))
	require.Empty(t, NewIncidents(1, 0, nil))
	require.Empty(t, NewPlan(1, 7, Topology{Workers: 1, Recorders: 1, Brokers: 1, Only: []Kind{Clock}}, 1).Faults)
}
