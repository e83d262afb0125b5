package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/operate"
)

func monitorCommand(o *options) *cobra.Command {
	cmd := family("monitor", "Look at how models are monitored")
	cmd.AddCommand(monitorCardCommand(o))
	return cmd
}

func monitorCardCommand(o *options) *cobra.Command {
	var asJSON bool
	var page string
	cmd := &cobra.Command{
		Use:   "card MODEL VERSION [--json] [--html FILE]",
		Short: "How often the alarm of a version is false, and how late it is",
		Long: "Show the card of a version's alarm of drift (monitoring.false_alarms), as the monitor simulated it\n" +
			"on the windows that the alarm is calibrated on: the time between false alarms, of the whole and of\n" +
			"each check, and the windows until changes of stated sizes raise it, beside a dummy that is always\n" +
			"above its threshold and one that never is.",
		Example: "  millrace monitor card flights_delay 1.0 --html card.html",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			card, err := operate.AlarmCard(cmd.Context(), cfg, given[0], given[1], cfg.Log.Logger(cmd.ErrOrStderr()).Level(zerolog.WarnLevel))
			if err != nil {
				return err
			}
			if page != "" {
				if err := writePage(page, card); err != nil {
					return err
				}
			}
			switch {
			case asJSON:
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(card)
			case page != "":
				return nil
			}
			return card.WriteText(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the card as JSON")
	cmd.Flags().StringVar(&page, "html", "", "write the card as a page to this file")
	return cmd
}

func writePage(path string, card interface{ WriteHTML(w io.Writer) error }) (err error) {
	f, err := os.Create(path) //nolint:gosec // a file that the user names
	if err != nil {
		return err
	}
	defer func() {
		if closed := f.Close(); err == nil && closed != nil {
			err = fmt.Errorf("write %s: %w", path, closed)
		}
	}()
	return card.WriteHTML(f)
}
