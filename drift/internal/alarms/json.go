package main

import (
	"encoding/json"
	"io"
	"strconv"
)

// headline are the cases that make bench-monitor tells: of 5, 50 and 500 columns, with a reference that
// is long enough for the stated rate, fewer streams of them where it is to be quick.
func headline(quick bool) (out []testCase) {
	for _, c := range cases(false) {
		if c.Name != "days" || c.reference < c.every || c.k != 1 {
			continue
		}
		if quick {
			c.streams = min(c.streams, 12)
			if c.columns > 100 {
				c.streams = 4
			}
		}
		out = append(out, c)
	}
	return out
}

type falseAlarms struct {
	Stated        float64 `json:"stated_windows"`
	Promised      float64 `json:"promised_windows"` // what a reference of that length can promise
	Measured      float64 `json:"measured_windows"` // at least, where no alarm was seen
	StandardError float64 `json:"standard_error"`   // of measured_windows
	Alarms        int     `json:"alarms"`
}

// writeJSON writes one line: false alarms and delays, by columns.
func writeJSON(out io.Writer, results []result) error {
	alarms, delays := map[string]falseAlarms{}, map[string]map[string]map[string]float64{}
	for _, r := range results {
		columns := strconv.Itoa(r.Columns)
		f := falseAlarms{Stated: r.Stated, Promised: r.Promised, Measured: float64(r.Ours.Windows), Alarms: r.Ours.Alarms}
		if r.Ours.Alarms > 0 {
			f.Measured /= float64(r.Ours.Alarms)
			f.StandardError = f.Measured * r.Ours.StandardError / r.Ours.Rate
		}
		alarms[columns] = f
		delays[columns] = map[string]map[string]float64{}
		for i, size := range shifts {
			delays[columns][strconv.FormatFloat(size, 'g', -1, 64)] = map[string]float64{
				"alarm": r.Ours.Delays[i], "three_sigma": r.Sigma.Delays[i], "expected_run_time": r.Drawn.Delays[i],
			}
		}
	}
	return json.NewEncoder(out).Encode(map[string]any{"false_alarms": alarms, "delay_windows": delays})
}
