package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline"
)

func runCommand(o *options) *cobra.Command {
	var roles string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the roles against Kafka and ClickHouse until SIGTERM",
		Long: "Run the roles worker, recorder and monitor, or some of them, until SIGTERM or Ctrl-C.\n" +
			"The first signal drains within drain_timeout; a second one ends at once.",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if roles != "" {
				o.set = append(o.set, "roles="+strings.TrimSpace(roles))
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			return pipeline.New(cfg, cfg.Log.Logger(cmd.ErrOrStderr())).Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&roles, "roles", "", "comma-separated: worker, recorder, monitor (default all)")
	return cmd
}
