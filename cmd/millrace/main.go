// Command millrace is the pipeline in one binary. Each command is a file here; what it
// does is in package pipeline.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/pipeline/services"
	"github.com/millrace/millrace/schemas/printable"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// run executes a command line and returns the exit code: 0 done, 1 failed, 2 wrong usage
// or configuration, 3 drift where that is to fail, or what verify found to differ.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if isChild, code := services.RunChild(args, stderr); isChild {
		return code
	}
	ctx, stop := pipeline.UntilSignal(ctx) // the first signal drains; a second one ends at once
	defer stop()
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "millrace: %s\n", indent(printable.Lines(err.Error()))) // of servers, files and arguments
	if _, ok := errors.AsType[*usageError](err); ok {
		return 2
	}
	if errors.Is(err, operate.ErrDrift) || errors.Is(err, operate.ErrDifferent) {
		return 3
	}
	return 1
}

// indent puts the further lines of joined errors under the first.
func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n          ") }

// usageError is a mistake of the caller: flags, arguments, configuration.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// args makes a wrong number of arguments a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error { return usage(check(cmd, given)) }
}

// options are the flags that all commands share.
type options struct {
	config string
	set    []string
}

// load reads the configuration: defaults, file, environment, flags.
func (o *options) load() (config.Config, error) {
	path := o.config
	if path == "" {
		path = os.Getenv("MILLRACE_CONFIG")
	}
	cfg, err := config.Load(path, os.Environ(), o.set)
	return cfg, usage(err)
}

// configured is the RunE of a command that needs nothing but the configuration before it begins.
func (o *options) configured(do func(cmd *cobra.Command, cfg config.Config, given []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, given []string) error {
		cfg, err := o.load()
		if err != nil {
			return err
		}
		return do(cmd, cfg, given)
	}
}

// family is a command that only has others below it, and shows its help.
func family(name, short string) *cobra.Command {
	return &cobra.Command{
		Use:   name,
		Short: short,
		Args:  args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

func rootCommand() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "millrace",
		Short: "Batch inference over Kafka, recorded in ClickHouse, watched for drift",
		Long: "millrace answers requests on Kafka with a model, records every prediction in ClickHouse,\n" +
			"and judges by drift and accuracy when the model needs retraining.",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, given []string) error {
			if len(given) > 0 {
				return usage(fmt.Errorf("unknown command %q; see `millrace --help`", given[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}")
	root.Flags().Bool("version", false, "tell the version, the commit, and the versions of the libraries that matter")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.PersistentFlags().StringVarP(&o.config, "config", "c", "", "configuration file (YAML); default $MILLRACE_CONFIG")
	root.PersistentFlags().StringArrayVar(&o.set, "set", nil, "override one configuration key, as in --set worker.lanes=4; repeatable")
	root.AddCommand(
		runCommand(o), devCommand(o), demoCommand(o), checkCommand(o), topicsCommand(o),
		deadLettersCommand(o), offsetsCommand(o), alertsCommand(o), verifyCommand(o), initCommand(o), referenceCommand(o), predictCommand(o), driftCommand(o), monitorCommand(o))
	return root
}
