package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas/printable"
)

func topicsCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "Make or check the Kafka topics",
		Args:  args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "apply",
			Short: "Make missing topics, add partitions, set configurations; delete nothing",
			Args:  args(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				cfg, err := o.load()
				if err != nil {
					return err
				}
				done, err := operate.ApplyTopics(cmd.Context(), cfg)
				for _, line := range done {
					fmt.Fprintln(cmd.OutOrStdout(), printable.Text(line))
				}
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "%d changes\n", len(done))
				}
				return err
			},
		},
		&cobra.Command{
			Use:   "check",
			Short: "Compare the topics with what the configuration and the models need",
			Args:  args(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				cfg, err := o.load()
				if err != nil {
					return err
				}
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
			},
		})
	return cmd
}
