package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/config"
)

func main() { os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// execute returns the exit code: 0 all is well, 1 it is not, 2 wrong usage. The last line on
// stdout is the summary.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if isChild, code := RunChild(args, stderr); isChild {
		return code
	}
	ctx, stop := pipeline.UntilSignal(ctx)
	defer stop()
	o := DefaultOptions()
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Uint64Var(&o.Seed, "seed", rand.Uint64()>>32, "which faults are done, and when; by default a new one") //nolint:gosec // to be repeated, not secret
	flags.IntVar(&o.Faults, "faults", o.Faults, "how many")
	flags.IntVar(&o.Incidents, "incidents", o.Incidents, "how many, one after the other when the faults are over; -1: each once")
	flags.IntVar(&o.Requests, "requests", o.Requests, "how many")
	flags.StringVar(&o.Kafka, "kafka", o.Kafka, "embedded or real")
	flags.IntVar(&o.Brokers, "brokers", o.Brokers, "1 or, with real Kafka, 3")
	flags.BoolVar(&o.TLS, "tls", o.TLS, "reach Kafka over TLS, with a login by SCRAM-SHA-512 that is repeated every few seconds")
	flags.IntVar(&o.Workers, "workers", o.Workers, "how many processes, of two lanes each")
	flags.IntVar(&o.Recorders, "recorders", o.Recorders, "how many processes")
	flags.Func("only", "kinds of faults and incidents, and no others: NAME,NAME…, of incidents also KIND:TARGET and KIND:TARGET:HOW; repeatable", func(kinds string) error {
		for kind := range strings.SplitSeq(kinds, ",") {
			o.Only = append(o.Only, Kind(kind))
		}
		return nil
	})
	flags.DurationVar(&o.Outage, "outage", o.Outage, "how long ClickHouse is away, once, while requests flow; 0: not")
	flags.DurationVar(&o.Patience, "patience", o.Patience, "how long the rest may take after the last fault")
	flags.StringVar(&o.Graph, "graph", o.Graph, "ONNX file of the model")
	flags.StringVar(&o.Dir, "dir", o.Dir, "for data and logs; by default a new one, deleted after a success")
	flags.BoolVar(&o.Keep, "keep", o.Keep, "keep it")
	level := flags.String("log", "info", "level: debug, info, warn or error")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if err := o.Validate(); err != nil {
		fmt.Fprintf(stderr, "chaos: %s\n", err)
		return 2
	}
	log := config.Log{Level: *level, Format: "console"}.Logger(stderr)
	summary, err := Run(ctx, o, log, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "chaos: %s\n", err)
	}
	if summary != nil {
		if err := json.NewEncoder(stdout).Encode(summary); err != nil {
			fmt.Fprintf(stderr, "chaos: %s\n", err)
			return 1
		}
	}
	if err != nil || !summary.OK {
		return 1
	}
	return 0
}
