package main

import (
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/operate"
)

func verifyCommand(o *options) *cobra.Command {
	var v operate.VerifyOptions
	var from, to string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [--from TIME] [--to TIME] [--repair]",
		Short: "Compare answers and tables with Kafka's log, by coordinates, and store again what is missing",
		Long: "Compare what was answered, and what ClickHouse holds, with what Kafka's log says that there must\n" +
			"be, by coordinates: requests and their results or dead letters; observations, feedback, dead\n" +
			"letters and events and their rows; rows and minute statistics. What the recorder's group has\n" +
			"committed as stored must be there, each row once.\n\n" +
			"--from and --to choose records by their time in the log, as 2026-11-29T12:00:00Z or as 2h for two\n" +
			"hours ago; without them it is all that the log still holds.\n\n" +
			"--repair stores missing rows again from the log, removes doubled ones but one of each, and derives\n" +
			"the minutes anew in which statistics and rows differ; then it verifies again. It may run beside\n" +
			"recorders, and is run again where it was interrupted. Alien rows, which nothing in the log stands\n" +
			"for, are not removed, and missing results cannot be made again: send those requests again.\n\n" +
			"Exit codes: 0 equal; 1 failed; 2 wrong usage; 3 there are differences.",
		Example: "  millrace verify\n  millrace verify --from 2h --repair\n  millrace verify --from 2026-11-29T00:00:00Z --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			var err error
			if v.From, err = timeFlag("--from", from, now); err != nil {
				return err
			}
			if v.To, err = timeFlag("--to", to, now); err != nil {
				return err
			}
			if !v.From.IsZero() && !v.To.IsZero() && !v.From.Before(v.To) {
				return usage(fmt.Errorf("--from %s is not before --to %s", from, to))
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			v.Logger = cfg.Log.Logger(cmd.ErrOrStderr()).Level(zerolog.WarnLevel)
			report, err := operate.Verify(cmd.Context(), cfg, v)
			if err != nil {
				return err
			}
			write := report.WriteTable
			if asJSON {
				write = report.WriteJSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if !report.Equal {
				return operate.ErrDifferent
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "from this time on, or so long ago")
	cmd.Flags().StringVar(&to, "to", "", "before this time, or so long ago")
	cmd.Flags().BoolVar(&v.Repair, "repair", false, "store again what is missing, remove what is doubled")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the report as JSON")
	return cmd
}

// timeFlag reads a time, or a duration before now; nothing is the zero time.
func timeFlag(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usage(fmt.Errorf("%s: %q is neither a time, as 2026-11-29T12:00:00Z, nor a duration, as 2h", name, text))
	}
	return at, nil
}
