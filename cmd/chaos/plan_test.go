package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var usual = Topology{Workers: 3, Recorders: 2, Brokers: 1}

func TestPlan(t *testing.T) {
	real := usual
	real.Brokers, real.KillBrokers = 3, true
	for seed := range uint64(10) {
		for _, topology := range []Topology{usual, real} {
			p := NewPlan(seed, 60, topology, time.Minute)
			require.Equal(t, p, NewPlan(seed, 60, topology, time.Minute), "the same seed, the same plan")
			require.Len(t, p.Faults, 60)

			dealt := map[string]bool{}
			outages := 0
			for i, f := range p.Faults {
				require.LessOrEqual(t, f.At+f.For, p.Length)
				dealt[fmt.Sprint(f.Kind, f.Target[:4], f.Service)] = true
				if f.For == time.Minute && f.Target == clickHouse {
					outages++
				}
				for _, other := range p.Faults[i+1:] {
					require.LessOrEqual(t, f.At, other.At, "by time")
					if other.target() == f.target() {
						require.GreaterOrEqual(t, other.At, f.At+f.For+settle, "%s and %s overlap", f, other)
					}
				}
				if f.Kind == Kill || f.Kind == Terminate {
					require.NotContains(t, []string{"worker-0", "recorder-0"}, f.Target, "they live through it all")
				}
				if f.Kind == Kill && !topology.KillBrokers {
					require.NotEqual(t, named(kafka, 0), f.Target, "the embedded broker does not survive that")
				}
			}
			require.Equal(t, 1, outages)
			for _, c := range topology.deck() {
				require.True(t, dealt[fmt.Sprint(c.kind, c.targets[0][:4], c.service)], "seed %d deals %s of %s>%s", seed, c.kind, c.targets[0], c.service)
			}
		}
	}
	require.NotEqual(t, NewPlan(1, 60, usual, 0), NewPlan(2, 60, usual, 0))
	alone, dealt := Topology{Workers: 1, Recorders: 1, Brokers: 1}, map[string]bool{}
	for _, f := range NewPlan(1, 60, alone, 0).Faults {
		dealt[string(f.Kind)+" "+f.Target] = true
	}
	for _, fault := range []string{"kill worker-0", "kill recorder-0", "terminate worker-0", "terminate recorder-0"} {
		require.True(t, dealt[fault], "%s: it is the only one", fault)
	}
	only := usual
	only.Only = []Kind{Late, Join}
	for _, f := range NewPlan(1, 30, only, 0).Faults {
		require.Contains(t, only.Only, f.Kind)
	}
	require.Empty(t, NewPlan(1, 0, usual, time.Minute).Faults)
}

func TestFaultString(t *testing.T) {
	require.Equal(t, "+  1.5s freeze    worker-0 for 7.0s",
		Fault{At: 1500 * time.Millisecond, For: 7 * time.Second, Kind: Freeze, Target: "worker-0"}.String())
	require.Equal(t, "+ 12.0s delay     recorder-1>clickhouse by 20ms for 0.5s",
		Fault{At: 12 * time.Second, For: 500 * time.Millisecond, Kind: Delay, Target: "recorder-1", Service: clickHouse, Latency: 20 * time.Millisecond}.String())
}
