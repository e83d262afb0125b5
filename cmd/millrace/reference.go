package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// dataFlags are the flags that say what data are.
type dataFlags struct {
	options operate.DataOptions
	above   float64
}

func (d *dataFlags) add(cmd *cobra.Command) {
	f, o := cmd.Flags(), &d.options
	f.StringVar(&o.Path, "data", "", "table of rows to learn from: CSV, Parquet, Arrow IPC or JSON")
	f.StringVar(&o.Label, "label", "", "its column of labels")
	f.Float64Var(&d.above, "positive-above", 0, "a label above it is positive (default: labels of two values, of which the greater is)")
	f.StringVar(&o.Positive, "positive", "", "of labels that are text, the positive one")
	f.StringVar(&o.Score, "score", "", "its column of out-of-fold predictions of the target's score, in place of the model's own")
	f.StringVar(&o.Time, "time", "", "its column of event times")
	f.StringSliceVar(&o.Categorical, "categorical", nil, "columns to count by value, whatever they hold")
	f.StringSliceVar(&o.Optional, "optional", nil, "features that a request may leave out, beside those that rows leave out")
	f.StringSliceVar(&o.Ignore, "ignore", nil, "columns that are no part of it")
	addReading(f, &o.Reading)
	f.Var((*durationFlag)(&o.Window), "window", "length of windows, as 15m, 24h or 7d (default proposed by the times of the rows)")
	f.Float64Var(&o.Rate, "rate", 0, "of windows without drift, the share that may breach a check by chance (default 0.05)")
}

// given tells whether there is a table, and what is wrong with the flags. stored says that there are
// stored rows in its place, of which the manifest says what they are.
func (d *dataFlags) given(cmd *cobra.Command, stored bool) (bool, error) {
	if cmd.Flags().Changed("positive-above") {
		d.options.PositiveAbove = &d.above
	}
	if cmd.Flags().Changed("na") && d.options.NA == nil {
		d.options.NA = []string{}
	}
	if d.options.Path != "" {
		return true, d.options.Validate()
	}
	names := append([]string{"label", "positive-above", "positive", "score", "time", "optional", "ignore"}, readingFlags...)
	if !stored {
		names = append(names, "categorical", "window", "rate")
	}
	for _, name := range names {
		switch {
		case !cmd.Flags().Changed(name):
		case stored:
			return false, fmt.Errorf("--%s is of a table (--data); what stored rows are says the manifest", name)
		default:
			return false, fmt.Errorf("--%s says what --data is: name the table", name)
		}
	}
	return false, d.options.Validate()
}

func referenceCommand(o *options) *cobra.Command {
	var data dataFlags
	var from, to string
	cmd := &cobra.Command{
		Use:   "reference MODEL VERSION",
		Short: "Make what a version is compared with, and how it is judged, of data or of stored rows",
		Long: "Make the reference, the sample and the monitoring of a version that is in models.repository, of a\n" +
			"table whose columns are its features (--data), or of the rows that it has answered and that are\n" +
			"stored in ClickHouse (--from, --to). Both are as `millrace init --data` makes them; the manifest\n" +
			"keeps its comments and all that it says already, but for what --replace says. label_delay, idle_timeout\n" +
			"and retraining stay as they are.\n\n" +
			"Running roles see it at their next start.",
		Example: "  millrace reference flights 1 --data january.parquet --label delayed --time departure\n" +
			"  millrace reference flights 1 --from 2024-01-01T00:00:00Z --to 2024-02-01T00:00:00Z",
		Args: args(cobra.ExactArgs(2)),
		RunE: o.configured(func(cmd *cobra.Command, cfg config.Config, given []string) error {
			isStored := from != "" || to != ""
			isTable, err := data.given(cmd, isStored)
			if err != nil {
				return usage(err)
			}
			var learned operate.Learned
			switch {
			case isTable == isStored:
				return usage(errors.New("--data, or --from and --to: say of which rows"))
			case isTable:
				learned, err = operate.MakeReference(cmd.Context(), cfg, given[0], given[1], data.options)
			default:
				if from == "" || to == "" {
					return usage(errors.New("--from and --to: say both"))
				}
				var start, end time.Time
				now := time.Now()
				if start, err = timeFlag("--from", from, now); err != nil {
					return err
				}
				if end, err = timeFlag("--to", to, now); err != nil {
					return err
				}
				if !end.After(start) {
					return usage(fmt.Errorf("--to must be after --from, and %s is not", to))
				}
				learned, err = operate.MakeReferenceOfStored(cmd.Context(), cfg, given[0], given[1], start, end, data.options)
			}
			if err != nil {
				return err
			}
			printLearned(cmd.OutOrStdout(), learned)
			return nil
		}),
	}
	data.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "first event time of the stored rows, as 2024-01-31T00:00:00Z, or so long ago, as 48h")
	cmd.Flags().StringVar(&to, "to", "", "event time that they end before, or so long ago")
	cmd.Flags().BoolVar(&data.options.Replace, "replace", false, "write over the reference, the sample and the checks that the manifest has")
	return cmd
}

// durationFlag is a duration as manifests have it.
type durationFlag time.Duration

func (d *durationFlag) String() string { return time.Duration(*d).String() }

func (d *durationFlag) Type() string { return "duration" }

func (d *durationFlag) Set(text string) error {
	var read schemas.Duration
	if err := read.UnmarshalYAML([]byte(text)); err != nil {
		return err
	}
	*d = durationFlag(read)
	return nil
}
