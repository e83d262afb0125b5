//go:build cgo

package onnx_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/inference/onnx"
)

// TestRunsAreOfTheFastestSize: bigger is not always faster, and a size that is hardly faster
// than a smaller one is not worth its latency.
func TestRunsAreOfTheFastestSize(t *testing.T) {
	perRow := func(by map[int]time.Duration) func(rows int) time.Duration {
		return func(rows int) time.Duration { return time.Duration(rows) * by[rows] }
	}
	for name, tc := range map[string]struct {
		takes   func(rows int) time.Duration
		batch   string
		fastest int
	}{
		"small":                           {takes: perRow(map[int]time.Duration{32: 800, 128: 2400, 256: 2400, 512: 2400, 1024: 2400, 4096: 2400}), fastest: 32},
		"in the middle":                   {takes: perRow(map[int]time.Duration{32: 3200, 128: 800, 256: 500, 512: 900, 1024: 2000, 4096: 2000}), fastest: 256},
		"large":                           {takes: perRow(map[int]time.Duration{32: 3200, 128: 260, 256: 240, 512: 220, 1024: 210, 4096: 190}), fastest: 4096},
		"hardly faster":                   {takes: perRow(map[int]time.Duration{32: 1000, 128: 300, 256: 295, 512: 290, 1024: 288, 4096: 286}), fastest: 128},
		"not beyond the manifest's batch": {takes: func(int) time.Duration { return time.Millisecond }, batch: "\nbatch: {max_rows: 300}", fastest: 256},
		"too slow to try more":            {takes: func(rows int) time.Duration { return time.Second - time.Duration(rows)*200*time.Microsecond }, fastest: 32},
	} {
		t.Run(name, func(t *testing.T) {
			inst, _ := newInstance(t, loadModel(t, "gather", gatherManifest+tc.batch))
			synctest.Test(t, func(t *testing.T) {
				rows, err := onnx.FastestRows(inst, tc.takes)
				require.NoError(t, err)
				require.Equal(t, tc.fastest, rows)
			})
		})
	}
}
