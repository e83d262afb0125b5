package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millrace/millrace/pipeline/operate"
)

func driftCommand(o *options) *cobra.Command {
	cmd := family("drift", "Compare data sets, and judge windows again")
	cmd.AddCommand(driftCompareCommand(o), driftRunCommand(o))
	return cmd
}

func driftRunCommand(o *options) *cobra.Command {
	var j operate.JudgeOptions
	var from, to string
	cmd := &cobra.Command{
		Use:   "run [MODEL [VERSION]] [--from TIME] [--to TIME] [--window KIND] [--dry-run]",
		Short: "Judge the windows of a model again: with its manifest, reference and labels as they are now",
		Long: "Judge windows again that the monitor has finished, with the manifest, the reference and the labels\n" +
			"as they are now. Each becomes a revision, with its results, its events and, by the monitor, its\n" +
			"report. Windows that monitors have still to close are left to them. They may run meanwhile: they give\n" +
			"the model up, with those that share its partition, and go on with it afterwards.\n\n" +
			"--from and --to are times of requests (event time), as 2026-11-29T12:00:00Z or as 48h for two days\n" +
			"ago; windows that overlap the span are judged, of each kind that the manifest names, or of the one that\n" +
			"--window names, as 1d or 1d-every-1h. --dry-run writes nothing and publishes no event.",
		Example: "  millrace drift run flights_delay 1.0 --from 2001-02-01T00:00:00Z --to 2001-03-01T00:00:00Z --dry-run",
		Args:    args(cobra.MaximumNArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			for i, flag := range []struct {
				name  string
				value *string
			}{{"--model", &j.Model}, {"--version", &j.Version}} {
				switch {
				case i >= len(given):
				case *flag.value != "" && *flag.value != given[i]:
					return usage(fmt.Errorf("%s %s: is already given as %s", flag.name, *flag.value, given[i]))
				default:
					*flag.value = given[i]
				}
			}
			if j.Model == "" {
				return usage(errors.New("the model is missing: millrace drift run MODEL"))
			}
			now := time.Now()
			var err error
			if j.From, err = timeFlag("--from", from, now); err != nil {
				return err
			}
			if j.To, err = timeFlag("--to", to, now); err != nil {
				return err
			}
			if !j.From.IsZero() && !j.To.IsZero() && !j.From.Before(j.To) {
				return usage(fmt.Errorf("--from %s is not before --to %s", from, to))
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			j.Logger = cfg.Log.Logger(cmd.ErrOrStderr()).Level(zerolog.WarnLevel)
			judged, err := operate.JudgeAgain(cmd.Context(), cfg, j)
			if err == nil || len(judged.Windows) > 0 {
				err = errors.Join(judged.WriteTable(cmd.OutOrStdout()), err)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&j.Model, "model", "", "the model whose windows are judged")
	cmd.Flags().StringVar(&j.Version, "version", "", "one version of it; default all that have monitoring")
	cmd.Flags().StringVar(&j.Window, "window", "", "of which windows: their length, as 1d, or 1d-every-1h; default all of monitoring.window and monitoring.windows")
	cmd.Flags().StringVar(&from, "from", "", "windows from this time on, or from so long ago")
	cmd.Flags().StringVar(&to, "to", "", "windows before this time, or so long ago")
	cmd.Flags().BoolVar(&j.DryRun, "dry-run", false, "write nothing and publish no event")
	return cmd
}

func driftCompareCommand(o *options) *cobra.Command {
	var c operate.CompareConfig
	var share, effect float64
	var rows int
	var memory size
	cmd := &cobra.Command{
		Use:   "compare --reference A --current B",
		Short: "Compare two tables column by column: what drifted, how far, and why",
		Long: "Compare two tables column by column. A table is a file (CSV, Parquet, Arrow IPC file or stream,\n" +
			"JSON: lines, an array of objects, or an object of columns), which needs no server and no configuration,\n" +
			"or a ClickHouse query.\n\n" +
			"--delimiter, --decimal, --thousands and --encoding hold for both files, or for one: reference=VALUE,\n" +
			"current=VALUE; they may be given twice. What a reader left out, or took for missing, is in the notes.\n\n" +
			"Tests and thresholds are given for all columns (ks), for a type (num=ks, cat=psi) or for one\n" +
			"column (age=ks); the narrower stands. Without, they are Evidently's: up to 1,000 reference rows ks\n" +
			"for numbers, chisquare for categories and z for two of them; for more rows the Wasserstein distance\n" +
			"in standard deviations and the Jensen–Shannon distance.\n\n" +
			"A column drifted where its figure is more than chance, at --rate over all columns, and its effect is\n" +
			"at least --effect: a distance without what chance adds to it, or the test's effect size. Where it is\n" +
			"not both, it is ok (not drifted) if an effect of --detectable would have been found, and not judged\n" +
			"otherwise. A --threshold stands for itself. --rule evidently is Evidently's: p below 0.05, or a distance from 0.1,\n" +
			"whatever the number of rows.\n\n" +
			"Tests: " + strings.Join(operate.StattestNames(), ", ") + ".\n\n" +
			"The verdict is of drift alone: the report's first lines name what else to look at, such as a fall of\n" +
			"the model's quality, missing values, and columns that drifted together.\n\n" +
			"Exit codes: 0 compared; 1 a table cannot be read or compared, or, with --fail-on-drift, the data set\n" +
			"could not be judged; 2 wrong usage; 3 the data set drifted, with --fail-on-drift.",
		Example: "  millrace drift compare --reference january.parquet --current may.parquet\n" +
			"  millrace drift compare --reference a.csv --current b.csv --ignore id --test num=ks,cat=psi --correction bh\n" +
			"  millrace drift compare --reference a.csv --current b.csv --output report.html --fail-on-drift\n" +
			"  millrace drift compare --reference a.parquet --current-sql 'SELECT * FROM millrace.observations_flights'",
		Args: args(func(_ *cobra.Command, given []string) error {
			if len(given) > 0 {
				return fmt.Errorf("unexpected %q: name the files by --reference and --current", given[0])
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("na") && c.NA == nil {
				c.NA = []string{}
			}
			if cmd.Flags().Changed("drift-share") {
				c.Options.DriftShare = &share
			}
			// A given 0 is not the default.
			if cmd.Flags().Changed("rate") && c.Options.Rate == 0 {
				return usage(errors.New("--rate: must be above 0 and at most 0.5, got 0"))
			}
			if cmd.Flags().Changed("detectable") && c.Options.Detectable == 0 {
				return usage(errors.New("--detectable: must be above 0, got 0"))
			}
			if cmd.Flags().Changed("effect") {
				c.Options.Effect = &effect
			}
			if cmd.Flags().Changed("min-rows") {
				c.Options.MinRows = &rows
			}
			c.Options.Memory = int64(memory)
			if err := c.Validate(); err != nil {
				return usage(err)
			}
			return operate.Compare(cmd.Context(), c, o.load, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Reference.Path, "reference", "", "file with the data to compare with")
	f.StringVar(&c.Current.Path, "current", "", "file with the data that may have drifted")
	f.StringVar(&c.Reference.SQL, "reference-sql", "", "ClickHouse query instead of --reference")
	f.StringVar(&c.Current.SQL, "current-sql", "", "ClickHouse query instead of --current")
	addReading(f, &c.Reading)
	f.StringSliceVar(&c.Options.Columns, "columns", nil, "compare only these columns")
	f.StringSliceVar(&c.Options.Ignore, "ignore", nil, "leave out these columns")
	f.StringSliceVar(&c.Options.Categorical, "categorical", nil, "columns to compare by category, whatever they hold")
	f.StringSliceVar(&c.Options.Numeric, "numeric", nil, "columns to compare by value: texts are read as numbers, times as seconds since 1970")
	f.StringSliceVar(&c.Options.Tests, "test", nil, "test: NAME, num=NAME, cat=NAME or COLUMN=NAME")
	f.BoolVar(&c.Options.AllTests, "all-tests", false, "report besides what every test says")
	f.StringSliceVar(&c.Options.Thresholds, "threshold", nil, "threshold: X, num=X, cat=X or COLUMN=X")
	f.StringVar(&c.Options.Rule, "rule", "", "how columns are judged: rate, or evidently for its published thresholds; default rate")
	f.Float64Var(&c.Options.Rate, "rate", 0, "how often at most a column may be called drifted in data sets that did not drift; default 0.05")
	f.Float64Var(&effect, "effect", 0, "the least effect that is called drift; default 0.1")
	f.Float64Var(&c.Options.Detectable, "detectable", 0, "do not judge a column in which even such an effect may be missed; default 0.5, and at least five times --effect")
	f.Float64Var(&share, "drift-share", 0.5, "share of the columns from which the data set drifts")
	f.StringVar(&c.Options.Correction, "correction", "", "correction of p-values over the columns: holm, bh (false discovery rate), bonferroni or none; default holm, with --rule evidently none")
	f.StringVar(&c.Options.Bins, "bins", "", "bins of numbers: quantile, width, sturges, evidently, quantile:N, width:N, or edges 0,10,100; default quantile:10")
	f.IntVar(&rows, "min-rows", 30, "values that a column needs on each side to be judged")
	f.IntVar(&c.Options.Calibrate.Chunks, "calibrate", 0, "rows are in the order of time: judge by how far so many chunks of the reference, at least 8, are from the rest of it")
	f.Float64Var(&c.Options.Calibrate.Sigmas, "calibrate-sigmas", 0, "instead of --rate, that of a normal number so many standard deviations above the mean; default 3 with --rule evidently")
	f.Float64Var(&c.Options.Calibrate.Quantile, "calibrate-quantile", 0, "instead of --rate, that of chunks above their quantile, such as 0.99")
	f.StringVar(&c.Options.Segment, "segment", "", "column each of whose values is compared on its own, too")
	f.StringVar(&c.Options.Target, "target", "", "column of the true labels or values")
	f.StringVar(&c.Options.Prediction, "prediction", "", "column of the model's answers; with --target, its quality is compared")
	f.StringSliceVar(&c.Options.Multivariate, "multivariate", nil, "compare columns together: pca, domain, energy")
	f.Uint64Var(&c.Options.Seed, "seed", 0, "of all that is random")
	f.Var(&memory, "memory", "bytes of values held at most, such as 500MB or 4GiB; beyond, samples are compared; default 1GiB")
	f.StringVar(&c.Format, "format", "", "table, json or html; default by the name of --output, else table")
	f.StringVarP(&c.Output, "output", "o", "", "file to write; default standard output")
	f.BoolVar(&c.FailOnDrift, "fail-on-drift", false, "exit with code 3 when the data set drifted")
	return cmd
}

// readingFlags are the names of what addReading adds.
var readingFlags = []string{"input-format", "delimiter", "decimal", "thousands", "encoding", "na", "type"}

// addReading adds the flags that say how files are read.
func addReading(f *pflag.FlagSet, r *operate.Reading) {
	f.StringVar(&r.InputFormat, "input-format", "", "csv, parquet, arrow (IPC file), arrows (IPC stream), jsonl or json; default by name and contents")
	f.Var(&r.Delimiter, "delimiter", `character between the values of CSV, \t for a tab; default a comma`)
	f.Var(&r.Decimal, "decimal", "decimal point of numbers in CSV; default a point")
	f.Var(&r.Thousands, "thousands", "character between the thousands of numbers in CSV; default none")
	f.Var(&r.Encoding, "encoding", "of CSV and JSON that is not UTF-8, such as windows-1252 or utf-16le; default UTF-8")
	f.StringSliceVar(&r.NA, "na", nil, "words of CSV that mean a missing value; --na= for none, default,X for X as well; default "+strings.Join(operate.MissingWords(), ", "))
	f.StringSliceVar(&r.Types, "type", nil, "type of a column of files, COLUMN=TYPE: int, uint, float, bool, text, date or timestamp; default the file's, or inferred")
}

// size is a number of bytes as people write it.
type size int64

var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"", 1},
}

func (s *size) Set(text string) error {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if bytes := n * u.bytes; err == nil && bytes >= 1 && bytes < 1<<62 {
			*s = size(bytes)
			return nil
		}
		break
	}
	return fmt.Errorf("%q is no number of bytes, such as 500MB or 4GiB", text)
}

func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

func (s *size) Type() string { return "bytes" }
