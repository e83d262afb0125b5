package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
)

func devCommand(o *options) *cobra.Command {
	var reset bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run an embedded Kafka and ClickHouse on this machine, and wait",
		Long: "Run an embedded Kafka and ClickHouse on loopback, make the topics of the models in\n" +
			"models.repository, and wait for Ctrl-C. Data stay in embedded.dir.",
		Args: args(cobra.NoArgs),
		RunE: o.configured(func(cmd *cobra.Command, cfg config.Config, _ []string) error {
			log := cfg.Log.Logger(cmd.ErrOrStderr())
			return operate.Dev(cmd.Context(), cfg, reset, log, func(kafka, clickhouse string) {
				fmt.Fprintf(cmd.OutOrStdout(), "Kafka       %s\nClickHouse  http://%s\nCtrl-C ends both.\n", kafka, clickhouse)
			})
		}),
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "empty both first")
	return cmd
}
