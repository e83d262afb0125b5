package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/millrace/millrace/pipeline"
)

func main() { os.Exit(execute(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// execute runs a command line and returns the exit code: 0 done, 1 failed, 2 wrong usage.
func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if isChild, code := RunChild(args, stdin, stdout, stderr); isChild {
		return code
	}
	var o Options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.Quick, "quick", false, "small sizes: less than two minutes")
	flags.BoolVar(&o.JSON, "json", false, "print the line of JSON alone on stdout, and the table on stderr")
	flags.StringVar(&o.Kafka, "kafka", KafkaEmbedded, "embedded, or real: Apache Kafka")
	flags.StringVar(&o.Profile, "profile", "", "folder for profiles of CPU and allocations of each worker, pass-through and part")
	flags.StringVar(&o.Dir, "dir", "data", "folder on disk; data of Kafka and ClickHouse lie in it meanwhile")
	flags.BoolVar(&o.Beside, "beside", false, "put a model whose artifact is broken and one that is a draft beside the one that is measured")
	flags.BoolVar(&o.Destinations, "destinations", false, "measure instead what four models notice while the results topic of a fifth is deleted, made again with fewer partitions, and mended")
	flags.BoolVar(&o.Monitor, "monitor", false, "measure instead what a day's drift takes over a hundred million observations, ten million with --quick")
	flags.Int64Var(&o.Rows, "rows", 0, "of --monitor: so many observations instead")
	flags.BoolVar(&o.TLS, "tls", false, "reach the embedded Kafka over TLS")
	only := flags.String("only", "", "comma-separated patterns of what is measured, such as json_*_exactly_once, latency_exactly_once, recorder")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "bench: unknown argument %q\n", flags.Arg(0))
		return 2
	}
	o.Only = strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	ctx, stop := pipeline.UntilSignal(ctx)
	defer stop()
	if err := Run(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		if errors.Is(err, ErrUsage) {
			return 2
		}
		return 1
	}
	return 0
}
