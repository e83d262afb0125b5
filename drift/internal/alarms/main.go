// Command alarms measures how rare alarms of drift are (make bench-alarms): on streams in which
// nothing drifts, with seasons of the day and the week, levels that wander, and columns that
// have something in common, it compares the time between false alarms with what package alarm
// promised, and the delay until a shift is found, beside two others on the same streams: NannyML's
// thresholds (mean and three standard deviations of each distance in the reference), and thresholds
// for an expected run time as Alibi Detect defines it, found by drawing rows of the reference one by
// one.
//
// It prints a table in Markdown and one line of JSON, and exits with 1 where alarms of package alarm
// are more frequent than promised by more than three standard errors. The figures are the same for the
// same seed, whatever the number of processors.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, log io.Writer) int {
	flags := flag.NewFlagSet("alarms", flag.ContinueOnError)
	flags.SetOutput(log)
	short := flags.Bool("quick", false, "fewer streams and columns")
	seed := flags.Uint64("seed", 1, "of the streams")
	only := flags.Bool("json", false, "one line of JSON alone, of the cases that make bench-monitor tells")
	columns := flags.Int("columns", 0, "only the streams of as many columns")
	name := flags.String("streams", "", "only the streams of that name")
	number := flags.Int("number", 0, "how many streams of each kind; 0: as many as the table has")
	workers := flags.Int("workers", runtime.GOMAXPROCS(0), "streams at a time")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	start := time.Now()
	var results []result
	todo, table := cases(*short), out
	if *only {
		todo, table = headline(*short), log
	}
	writeHeader(table)
	for _, c := range todo {
		if *columns != 0 && c.columns != *columns || *name != "" && c.Name != *name {
			continue
		}
		if *number > 0 {
			c.streams = *number
		}
		r, err := c.measure(*seed, max(*workers, 1))
		if err != nil {
			fmt.Fprintln(log, "alarms:", c.Name, err)
			return 1
		}
		writeRow(table, r)
		fmt.Fprintf(log, "%s: %s, %d columns\n", time.Since(start).Round(time.Second), c.Name, c.columns)
		results = append(results, r)
	}
	if err := writeResults(out, results, *only); err != nil {
		fmt.Fprintln(log, "alarms:", err)
		return 1
	}
	for _, r := range results {
		if r.over() {
			fmt.Fprintf(log, "alarms: %s, %d columns: more alarms than promised\n", r.Name, r.Columns)
			return 1
		}
	}
	return 0
}

func writeResults(out io.Writer, results []result, only bool) error {
	if only {
		return writeJSON(out, results)
	}
	fmt.Fprintln(out)
	return json.NewEncoder(out).Encode(results)
}

// over tells whether alarms are more frequent than promised, beyond what chance makes of it.
func (r *result) over() bool { return r.Ours.Rate-3*r.Ours.StandardError > 1 }

func writeHeader(out io.Writer) {
	fmt.Fprint(out, "Windows between false alarms. Of 3 sigma and of rows drawn one by one (run time as stated) by the same rule of k of n; delays are of a shift of 0.5 and 1 of one column, median.\n\n",
		"| streams | columns | reference | k of n | stated | promised | measured | alarms/promised | 3 sigma | drawn one by one | % of windows in alarm: ours, 3 sigma, one by one | delay 0.5 | delay 1 | 3 sigma's | one by one's |\n",
		"|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
}

func writeRow(out io.Writer, r result) {
	fmt.Fprintf(out, "| %s | %d | %d | %d of %d | %.0f | %.0f | %s | %.2f ± %.2f | %s | %s | %.1f, %.1f, %.1f | %s | %s | %s | %s |\n",
		r.Name, r.Columns, r.Reference, r.K, r.N, r.Stated, r.Promised, r.Ours.between(), r.Ours.Rate, r.Ours.StandardError, r.Sigma.between(), r.Drawn.between(),
		100*r.Ours.Open, 100*r.Sigma.Open, 100*r.Drawn.Open,
		days(r.Ours.Delays[0]), days(r.Ours.Delays[1]), days(r.Sigma.Delays[1]), days(r.Drawn.Delays[1]))
}

func days(x float64) string {
	if x > mostDelay {
		return fmt.Sprintf("> %d", mostDelay)
	}
	return fmt.Sprint(x)
}
