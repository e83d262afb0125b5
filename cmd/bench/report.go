package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// Report is the JSON line. What was not measured is not in it.
type Report struct {
	Efficiency         map[string]float64                       `json:"efficiency"`            // by codec_model, exactly_once
	PredictionsPerS    map[string]float64                       `json:"predictions_per_s"`     // by case
	PassThroughPerS    map[string]float64                       `json:"pass_through_per_s"`    // by delivery, sizes of JSON
	LatencyMS          map[string]map[string]map[string]float64 `json:"latency_ms"`            // by what, quantile, load in percent
	Recorder           map[string]float64                       `json:"recorder"`              // rows_per_s, unprofiled_rows_per_s, unsynced_rows_per_s, infile_rows_per_s, cpu_us_per_row, unprofiled_cpu_us_per_row
	WorkerPeakRSSBytes int64                                    `json:"worker_peak_rss_bytes"` // the largest of all cases
	CPUUSPerPrediction map[string]float64                       `json:"cpu_us_per_prediction"` // by case, and by part: <part>_<codec>_<model>, pass_through_<codec>_<delivery>
	Kafka              string                                   `json:"kafka"`                 // embedded, or the real one's version
}

// report gathers what was measured.
func (h *harness) report(kafka string) *Report {
	r := &Report{
		Efficiency: map[string]float64{}, PredictionsPerS: map[string]float64{}, PassThroughPerS: map[string]float64{},
		LatencyMS: map[string]map[string]map[string]float64{}, Recorder: map[string]float64{},
		CPUUSPerPrediction: map[string]float64{}, Kafka: kafka,
	}
	for c, rounds := range h.runs {
		whole := middle(rounds)
		r.PredictionsPerS[c.Name()] = round(whole.rowsPerS, 0)
		r.CPUUSPerPrediction[c.Name()] = round(us(whole.cpu), 3)
		r.WorkerPeakRSSBytes = max(r.WorkerPeakRSSBytes, whole.peakRSS)
		if share, ok := h.efficiency(c); ok && c.Delivery == ExactlyOnce && slices.Contains(efficiencies, c.pair()) {
			r.Efficiency[c.pair()] = round(share, 3)
		}
	}
	for key, rounds := range h.passes {
		pass := middle(rounds)
		if key.codec == CodecJSON {
			r.PassThroughPerS[string(key.delivery)] = round(pass.rowsPerS, 0)
		}
		r.CPUUSPerPrediction["pass_through_"+string(key.codec)+"_"+string(key.delivery)] = round(us(pass.cpu), 3)
	}
	for pair := range h.parts {
		for _, name := range partNames {
			if cost, ok := h.part(pair, name); ok {
				r.CPUUSPerPrediction[name+"_"+pair] = round(us(cost.CPU), 3)
			}
		}
	}
	for d, l := range h.latency {
		r.LatencyMS[string(d)] = quantiles(l.whole)
		r.LatencyMS["pass_through_"+string(d)] = quantiles(l.pass)
	}
	if h.plan.recorder {
		r.Recorder["unsynced_rows_per_s"], r.Recorder["unprofiled_rows_per_s"] = round(h.recorder.unsynced, 0), round(h.recorder.unprofiled, 0)
		r.Recorder["cpu_us_per_row"], r.Recorder["unprofiled_cpu_us_per_row"] = round(h.recorder.cpu, 3), round(h.recorder.cpuBare, 3)
		r.Recorder["rows_per_s"], r.Recorder["infile_rows_per_s"] = round(h.recorder.recorder, 0), round(h.recorder.infile, 0)
	}
	return r
}

// quantiles turns latencies by load into milliseconds by quantile and load.
func quantiles(byLoad map[int]latencies) map[string]map[string]float64 {
	ms := map[string]map[string]float64{"p50": {}, "p99": {}, "p999": {}}
	for share, l := range byLoad {
		load := strconv.Itoa(share)
		ms["p50"][load], ms["p99"][load], ms["p999"][load] = float64(l.P50)/1e3, float64(l.P99)/1e3, float64(l.P999)/1e3
	}
	return ms
}

// round keeps some decimals.
func round(x float64, decimals int) float64 {
	text := strconv.FormatFloat(x, 'f', decimals, 64)
	rounded, _ := strconv.ParseFloat(text, 64) // it was made just now
	return rounded
}

// write writes the line.
func (r *Report) write(out io.Writer) error {
	line, err := json.Marshal(r)
	if err == nil {
		_, err = out.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// table prints what people read.
func (h *harness) table(out io.Writer, r *Report, took time.Duration) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "\nKafka %s, %d partitions, %d lanes; measured in %s\n", r.Kafka, partitions, lanes, took.Round(time.Second))
	fmt.Fprintln(w, "\nwhole\tpredictions/s\tCPU µs\tefficiency\trows a batch\tallocs\talloc B\trequest B\tresult B\tobservation B\tin, stored B\tout, stored B\tpeak RSS MB")
	for _, c := range cases() {
		whole := middle(h.runs[c])
		if whole == nil {
			continue
		}
		share := "-"
		if s, ok := h.efficiency(c); ok {
			share = fmt.Sprintf("%.2f", s)
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%s\t%.0f\t%.2f\t%.0f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.0f\n", c.Name(), whole.rowsPerS, us(whole.cpu), share,
			whole.batchRows, whole.allocs, whole.allocBytes, whole.shape.request, whole.shape.result, whole.shape.observation,
			whole.shape.storedIn, whole.shape.storedOut, float64(whole.peakRSS)/1e6)
	}
	for _, c := range cases() {
		if whole := middle(h.runs[c]); whole != nil && whole.budgets != nil {
			b := whole.budgets
			fmt.Fprintf(w, "\nbytes a row, Arrow:\nrequest\t%.1f\t%s\nresult\t%.1f\t%s\nobservation\t%.1f\t%s\n", b.request.sum(), b.request, b.result.sum(), b.result, b.observation.sum(), b.observation)
			break // the others are alike
		}
	}
	fmt.Fprintln(w, "\npart\trows/s\tCPU µs\tallocs\trows a batch")
	for _, codec := range []Codec{CodecJSON, CodecArrow} {
		for _, d := range deliveries {
			if pass := middle(h.passes[passKey{codec, d}]); pass != nil {
				fmt.Fprintf(w, "pass-through %s %s\t%.0f\t%.2f\t%.2f\t%.0f\n", codec, d, pass.rowsPerS, us(pass.cpu), pass.allocs, pass.batchRows)
			}
		}
		for _, model := range []string{modelGBDT, modelMLP} {
			for _, name := range partNames {
				if cost, ok := h.part(Case{Codec: codec, Model: model}.pair(), name); ok {
					fmt.Fprintf(w, "%s %s %s\t\t%.2f\t%.2f\n", name, codec, model, us(cost.CPU), cost.Allocs)
				}
			}
		}
	}
	h.latencyTable(w)
	if h.plan.recorder {
		fmt.Fprintf(w, "\nrecorder, counting by a plan\t%.0f rows/s\t%.2f of that without a plan, %.0f rows/s; CPU a row %.3f and %.3f us\n", h.recorder.recorder,
			h.recorder.recorder/h.recorder.unprofiled, h.recorder.unprofiled, h.recorder.cpu, h.recorder.cpuBare)
		fmt.Fprintf(w, "without a plan\t%.0f rows/s\t%.2f of that without fsync, %.0f rows/s, which is %.2f of INSERT … FROM INFILE, %.0f rows/s\t(%d rows of %.0f bytes)\n", h.recorder.unprofiled,
			h.recorder.unprofiled/h.recorder.unsynced, h.recorder.unsynced, h.recorder.unsynced/h.recorder.infile, h.recorder.infile, h.recorder.rows, float64(h.recorder.bytes)/float64(h.recorder.rows))
	}
	fmt.Fprintln(w)
}

func (h *harness) latencyTable(w io.Writer) {
	if len(h.latency) == 0 {
		return
	}
	fmt.Fprintf(w, "\nlatency (%s), ms\tload\trequests/s\tp50\tp99\tp99.9\tpass-through p50\tp99\tp99.9\tgenerator late p99\tmachine busy\n", latencyCase("").pair())
	for _, d := range deliveries {
		l := h.latency[d]
		if l == nil {
			continue
		}
		for _, share := range loads {
			a, b := l.whole[share], l.pass[share]
			fmt.Fprintf(w, "%s\t%d %%\t%.0f", d, share, l.maximum*float64(share)/100)
			for _, t := range []int64{a.P50, a.P99, a.P999, b.P50, b.P99, b.P999, l.late[share]} {
				fmt.Fprintf(w, "\t%.2f", float64(t)/1e3)
			}
			fmt.Fprintf(w, "\t%.0f %%\n", 100*l.busy[share])
		}
	}
}
