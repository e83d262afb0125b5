package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
)

// elsewhere says how other commands reach the embedded services where the configuration names other
// addresses, as when a port was in use; else it is empty.
func elsewhere(cfg config.Config, kafka, clickhouse string) string {
	var set string
	if !slices.Contains(cfg.Kafka.Brokers, kafka) {
		set += " --set kafka.brokers=" + kafka
	}
	if !slices.Contains(cfg.ClickHouse.Addr, clickhouse) {
		set += " --set clickhouse.addr=" + clickhouse
	}
	if set == "" {
		return ""
	}
	return "The configuration names other addresses: give run, predict and other commands" + set + "\n"
}

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
				fmt.Fprintf(cmd.OutOrStdout(), "Kafka       %s\nClickHouse  http://%s\n%sCtrl-C ends both.\n", kafka, clickhouse, elsewhere(cfg, kafka, clickhouse))
			})
		}),
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "empty both first")
	return cmd
}
