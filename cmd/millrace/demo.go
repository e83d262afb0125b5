package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/demo"
)

func demoCommand(o *options) *cobra.Command {
	var d demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Predict three million real flights, end to end, on this machine",
		Long: "Start an embedded Kafka and ClickHouse, replay the flights of January to June 2001 in event-time\n" +
			"order, predict at departure which arrive more than 15 minutes late, record everything, and judge\n" +
			"drift and accuracy day by day. It stays up until Ctrl-C, for SQL and for the reports.",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.Requests < 0 {
				return usage(fmt.Errorf("--requests must be at least 0, got %d", d.Requests))
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			return demo.Run(cmd.Context(), cfg, d, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().IntVar(&d.Requests, "requests", 0, "replay only the first so many flights (default all 3,000,000)")
	cmd.Flags().BoolVar(&d.Once, "once", false, "exit after the summary, non-zero when counts differ")
	cmd.Flags().BoolVar(&d.JSON, "json", false, "end with one line of JSON")
	return cmd
}
