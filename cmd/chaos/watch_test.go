package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGrowth: a check that cannot fail is worth nothing.
func TestGrowth(t *testing.T) {
	const mb = 1 << 20
	bounds := Bounds{Goroutines: 10, Files: 5, Heap: 8 * mb, RSS: 32 * mb}
	spared := []string{"recorder-0", "worker-0"}
	for name, tc := range map[string]struct {
		doctor func(before, after map[string]vitals)
		want   []string
	}{
		"all is well": {func(_, _ map[string]vitals) {}, nil},
		"goroutines leak": {
			func(_, after map[string]vitals) { after["worker-0"] = vitals{1, 111, 30, 20 * mb, 90 * mb} },
			[]string{"goroutines: worker-0 has 111, before the faults 100"},
		},
		"files leak": {
			func(_, after map[string]vitals) { after["recorder-0"] = vitals{3, 60, 26, 20 * mb, 90 * mb} },
			[]string{"files: recorder-0 has 26 open, before the faults 20"},
		},
		"the heap leaks": {
			func(_, after map[string]vitals) { after["worker-0"] = vitals{1, 100, 30, 29 * mb, 90 * mb} },
			[]string{"heap: worker-0 has 29696 kB in use, before the faults 20480 kB"},
		},
		"memory outside of the heap leaks": {
			func(_, after map[string]vitals) { after["worker-0"] = vitals{1, 100, 30, 20 * mb, 123 * mb} },
			[]string{"memory: worker-0 has 123 MB at rest, before the faults 90 MB"},
		},
		"others are busier": { // which says nothing of the process itself
			func(before, after map[string]vitals) {
				before["worker-1"] = vitals{2, 300, 90, 90 * mb, 200 * mb}
				after["worker-0"] = vitals{1, 111, 30, 20 * mb, 90 * mb}
			},
			[]string{"goroutines: worker-0 has 111, before the faults 100"},
		},
		"one that was started again": { // whose memory is not compared
			func(_, after map[string]vitals) { after["worker-1"] = vitals{7, 131, 46, 90 * mb, 300 * mb} },
			[]string{"goroutines: worker-1 has 131, before the faults 120", "files: worker-1 has 46 open, before the faults 40"},
		},
		"one that lives through it was started again": {
			func(_, after map[string]vitals) { after["worker-0"] = vitals{7, 100, 30, 20 * mb, 90 * mb} },
			[]string{"worker-0: it was process 1 and is 7: its growth cannot be seen"},
		},
		"one that lives through it does not answer": {
			func(_, after map[string]vitals) { delete(after, "recorder-0") },
			[]string{"recorder-0: it did not answer before the faults, or does not after them"},
		},
		"an endpoint that does not answer": {
			func(_, after map[string]vitals) { after["worker-1"] = vitals{2, 0, 30, 0, 90 * mb} },
			[]string{"worker-1: its admin port does not answer"},
		},
		"ClickHouse is not judged": {
			func(_, after map[string]vitals) { after["clickhouse"] = vitals{9, 0, 900, 0, 9000 * mb} },
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := map[string]vitals{
				"worker-0": {1, 100, 30, 20 * mb, 90 * mb}, "worker-1": {2, 120, 40, 20 * mb, 90 * mb}, "recorder-0": {3, 60, 20, 20 * mb, 90 * mb},
				"clickhouse": {4, 0, 100, 0, 400 * mb},
			}
			after := map[string]vitals{ // within the bounds
				"worker-0": {1, 110, 35, 28 * mb, 122 * mb}, "worker-1": {8, 130, 45, 60 * mb, 300 * mb}, "recorder-0": {3, 55, 18, 10 * mb, 80 * mb},
				"clickhouse": {4, 0, 100, 0, 400 * mb},
			}
			tc.doctor(before, after)
			require.Equal(t, tc.want, growth(before, after, spared, bounds))
		})
	}
}
