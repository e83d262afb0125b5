package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas/printable"
)

func topicsCommand(o *options) *cobra.Command {
	cmd := family("topics", "Make or check the Kafka topics")
	cmd.AddCommand(
		&cobra.Command{
			Use:   "apply",
			Short: "Make missing topics, add partitions, set configurations; delete nothing",
			Args:  args(cobra.NoArgs),
			RunE: o.configured(func(cmd *cobra.Command, cfg config.Config, _ []string) error {
				done, err := operate.ApplyTopics(cmd.Context(), cfg)
				for _, line := range done {
					fmt.Fprintln(cmd.OutOrStdout(), printable.Text(line))
				}
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "%d changes\n", len(done))
				}
				return err
			}),
		},
		&cobra.Command{
			Use:   "check",
			Short: "Compare the topics with what the configuration and the models need",
			Args:  args(cobra.NoArgs),
			RunE: o.configured(func(cmd *cobra.Command, cfg config.Config, _ []string) error {
				problems, err := operate.CheckTopics(cmd.Context(), cfg)
				if err != nil {
					return err
				}
				for _, p := range problems {
					fmt.Fprintln(cmd.OutOrStdout(), printable.Text(p.String()))
				}
				if len(problems) > 0 {
					return errors.New("the topics differ from the configuration; `millrace topics apply` mends what can be mended")
				}
				fmt.Fprintln(cmd.OutOrStdout(), "ok")
				return nil
			}),
		})
	return cmd
}
