package alarm_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/alarm"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// TestDistances: a window's values are those of the monitor.
func TestDistances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numeric := rapid.Bool().Draw(t, "numeric")
		size := rapid.IntRange(1, 45).Draw(t, "cells")
		count := func(name string) profile.Counts {
			c := profile.Counts{
				Cells:   rapid.SliceOfN(rapid.Int64Range(0, 50), size, size).Draw(t, name),
				Missing: rapid.Int64Range(0, 9).Draw(t, name+" missing"),
			}
			if c.Cells[0]++; !numeric {
				c.Other = rapid.Int64Range(0, 9).Draw(t, name+" other")
			}
			return c
		}
		reference, window := count("reference"), count("window")
		tests := []schemas.Stattest{schemas.StattestPSI, schemas.StattestKS}
		if !numeric {
			tests[1] = schemas.StattestChiSquare
		}
		b := alarm.Buckets{
			Start: time.Unix(0, 0), Length: time.Hour, Columns: []alarm.Column{{Name: "x", Numeric: numeric}},
			Buckets: []alarm.Bucket{{Rows: reference.Rows(), Columns: []profile.Counts{reference}}},
		}
		c := &alarm.Calibration{Options: alarm.Options{Window: time.Hour}, Season: alarm.SeasonNone, Threshold: -1e300}
		for _, test := range tests {
			c.Checks = append(c.Checks, alarm.Check{Column: "x", Stattest: test, Spread: 1})
		}
		s, err := alarm.NewScorer(&b, c)
		require.NoError(t, err)
		x, err := s.Score(time.Unix(0, 0), alarm.Bucket{Rows: window.Rows(), Columns: []profile.Counts{window}})
		require.NoError(t, err)
		require.Len(t, x.Breaches, 2)
		for _, breach := range x.Breaches {
			want, err := drift.ColumnScore(tests[breach.Check], reference, window, numeric)
			require.NoError(t, err)
			require.InDelta(t, want.Value, breach.Value, 1e-9)
		}
	})
}
