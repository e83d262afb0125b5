package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
)

func deadLettersCommand(o *options) *cobra.Command {
	cmd := family("deadletters", "List, show and replay requests that could not be answered")
	var filter operate.LetterFilter
	filters := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVar(&filter.Model, "model", "", "only of this model")
		c.Flags().StringVar(&filter.Class, "class", "", "only of this error class")
		return c
	}
	var limit int // of list alone: a replay that ended at it would never get behind what it has sent
	list := filters(&cobra.Command{
		Use:   "list",
		Short: "List dead letters, oldest first: id, time, class, coordinates, topic, when replayed, reason",
		Long: "List the requests that could not be answered, oldest first. Labels that could not be read are not\n" +
			"among them, as nothing replays them: they are rows of the table dead_letters, whose topic is that\n" +
			"of feedback.",
		Args: args(cobra.NoArgs),
		RunE: o.configured(func(cmd *cobra.Command, cfg config.Config, _ []string) error {
			filter.Limit = limit
			return operate.ListDeadLetters(cmd.Context(), cfg, filter, cmd.OutOrStdout())
		}),
	})
	list.Flags().IntVar(&limit, "limit", 1000, "list at most so many; 0 is no limit")
	show := &cobra.Command{
		Use:   "show ID",
		Short: "Show one dead letter whole; ID is partition/offset as `list` prints it",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			partition, offset, err := letterID(given[0])
			if err != nil {
				return err
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			return operate.ShowDeadLetter(cmd.Context(), cfg, partition, offset, cmd.OutOrStdout())
		},
	}
	var all bool
	replay := filters(&cobra.Command{
		Use:   "replay [ID…]",
		Short: "Produce dead-lettered requests again, to the topic that they came from",
		Long: "Produce dead-lettered requests again, with their bytes and headers, to the topic and partition\n" +
			"that they came from. Name the letters, or filter with --model and --class, or give --all. The\n" +
			"result of a replay carries the header millrace-replay-of with the request's coordinates.\n\n" +
			"What was replayed is marked in the same transaction on the control topic, and skipped from then\n" +
			"on: a replay that was interrupted goes on when the command is given again. A request that fails\n" +
			"again becomes a letter of its own, which the next replay sends. --again sends what is marked,\n" +
			"too, answered or not, but each request once: of those that failed again, the last letter.",
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(given) == 0 && !all && filter.Model == "" && filter.Class == "" {
				return usage(errors.New("name the letters to replay, or give --model, --class or --all"))
			}
			for _, id := range given {
				partition, offset, err := letterID(id)
				if err != nil {
					return err
				}
				filter.Only = append(filter.Only, operate.LetterID{Partition: partition, Offset: offset})
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			done, err := operate.ReplayDeadLetters(cmd.Context(), cfg, filter)
			fmt.Fprintf(cmd.OutOrStdout(), "%d replayed, %d skipped%s\n", done.Sent, done.Skipped, skippedWhy(done, filter))
			if done.Moved > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "%d of them to another partition than their request's, which the topic does not have any more\n", done.Moved)
			}
			return err
		},
	})
	replay.Flags().BoolVar(&all, "all", false, "replay every dead letter")
	replay.Flags().BoolVar(&filter.Again, "again", false, "replay also what was replayed before, though it may be answered twice")
	cmd.AddCommand(list, show, replay)
	return cmd
}

// skippedWhy says why letters were skipped, where some were.
func skippedWhy(done operate.Replayed, filter operate.LetterFilter) string {
	switch {
	case done.Skipped == 0:
		return ""
	case filter.Again:
		return ": a later letter stands for each"
	default:
		return ": replayed before (--again sends them once more)"
	}
}

func letterID(text string) (partition int32, offset int64, err error) {
	p, o, ok := strings.Cut(text, "/")
	pn, perr := strconv.ParseInt(p, 10, 32)
	on, oerr := strconv.ParseInt(o, 10, 64)
	if !ok || perr != nil || oerr != nil || pn < 0 || on < 0 {
		return 0, 0, usage(fmt.Errorf("%q is no dead letter's id; write partition/offset, as `millrace deadletters list` prints it", text))
	}
	return int32(pn), on, nil
}
