package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
)

func alertsCommand(o *options) *cobra.Command {
	cmd := family("alerts", "List, send and drop events that the receiver of a subscription has refused")
	var filter operate.ParkedFilter
	var all bool
	// chosen is a command for some events, which must be said.
	chosen := func(c *cobra.Command, done string, do func(cmd *cobra.Command, cfg config.Config) (int, error)) *cobra.Command {
		c.Flags().BoolVar(&all, "all", false, "all that are parked")
		c.RunE = func(cmd *cobra.Command, given []string) error {
			if filter.Only = given; len(given) == 0 && !all && filter.Subscription == "" {
				return usage(errors.New("name the events, or give --subscription or --all"))
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			n, err := do(cmd, cfg)
			fmt.Fprintf(cmd.OutOrStdout(), "%d %s\n", n, done)
			return err
		}
		return c
	}
	parked := &cobra.Command{
		Use:   "parked",
		Short: "List refused events: place on the events topic, subscription, time, id, answer",
		Args:  args(cobra.NoArgs),
		RunE: o.configured(func(cmd *cobra.Command, cfg config.Config, _ []string) error {
			return operate.ListParked(cmd.Context(), cfg, filter, cmd.OutOrStdout())
		}),
	}
	send := chosen(&cobra.Command{
		Use:   "send [ID…]",
		Short: "Deliver refused events again; those that are taken are parked no more",
		Long: "Deliver events that a webhook has refused (400, 413, 415, 422) again: those named by their id or\n" +
			"place, as `millrace alerts parked` prints them, or those of --subscription, or --all. What is\n" +
			"refused again stays parked.",
	}, "sent", func(cmd *cobra.Command, cfg config.Config) (int, error) {
		return operate.SendParked(cmd.Context(), cfg, filter)
	})
	drop := chosen(&cobra.Command{
		Use:   "drop [ID…]",
		Short: "Give up refused events; they stay in the table of events",
	}, "dropped", func(cmd *cobra.Command, cfg config.Config) (int, error) {
		return operate.DropParked(cmd.Context(), cfg, filter)
	})
	for _, c := range []*cobra.Command{parked, send, drop} {
		c.Flags().StringVar(&filter.Subscription, "subscription", "", "only of this subscription")
		cmd.AddCommand(c)
	}
	return cmd
}
