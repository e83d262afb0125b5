// Command rates measures how often a verdict is wrong (make bench-rates): the share of
// comparisons of unchanged data that drift compare calls drifted, by rows, columns and kinds of
// columns, for its default, for every test and for every calibration, with what Evidently and
// NannyML say of the same data; and the share of shifts that it finds.
//
// It prints tables in Markdown, the cells that are over the rate that they state by more than
// three standard errors, and one line of JSON. It exits with 1 where there is such a cell. The
// figures are the same for the same seed, whatever the number of processors.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// errOver says that a cell is over the rate that it states.
var errOver = errors.New("verdicts are wrong more often than they say")

func run(args []string, out, log io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	flags := flag.NewFlagSet("rates", flag.ContinueOnError)
	flags.SetOutput(log)
	short := flags.Bool("quick", false, "fewer cells and runs")
	seed := flags.Uint64("seed", 1, "of the data")
	workers := flags.Int("workers", runtime.GOMAXPROCS(0), "comparisons at a time")
	var o other
	flags.StringVar(&o.python, "python", "", "an interpreter that has Evidently and NannyML; empty: they are left out")
	flags.StringVar(&o.script, "script", "drift/internal/golden/reference/rates_beside.py", "what it runs")
	flags.StringVar(&o.folder, "folder", "data/rates", "of the files that it reads; emptied before and removed after")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	e := full
	if *short {
		e = quick
	}
	if err := measureAll(ctx, e, *seed, *workers, o, out, log); err != nil {
		fmt.Fprintln(log, "rates:", err)
		return 1
	}
	return 0
}

func measureAll(ctx context.Context, e extent, seed uint64, workers int, o other, out, log io.Writer) error {
	r := report{parts: map[string][]measured{}}
	start := time.Now()
	progress := func(what string) { fmt.Fprintf(log, "%s: %s\n", time.Since(start).Round(time.Second), what) }
	for _, p := range grid(e) {
		for _, c := range p.cells {
			found, err := p.measure(ctx, seed, c, max(1, workers))
			if err != nil {
				return fmt.Errorf("%s: %w", c, err)
			}
			r.parts[p.name] = append(r.parts[p.name], found...)
		}
		progress(p.name)
	}
	if o.python != "" {
		found, err := o.measure(ctx, seed, besideCells(e))
		if err != nil {
			return err
		}
		r.beside = found
		progress("Evidently and NannyML")
	}
	if err := r.write(out); err != nil {
		return err
	}
	if len(r.failures()) > 0 {
		return errOver
	}
	return nil
}
