package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/operate"
)

func offsetsCommand(o *options) *cobra.Command {
	cmd := family("offsets", "Show and set the offsets of a consumer group")
	var group, topic, to string
	flags := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVar(&group, "group", "", "the consumer group, such as millrace-recorders")
		c.Flags().StringVar(&topic, "topic", "", "a topic, or topic:partition")
		return c
	}
	show := flags(&cobra.Command{
		Use:   "show --group GROUP [--topic TOPIC]",
		Short: "Show what a group has committed: topic, partition, offset, log, and what a recorder says of it",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if group == "" {
				return usage(errors.New("name the group: --group"))
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			name, only, err := topicPartition(topic)
			if err != nil {
				return err
			}
			offsets, err := operate.ShowOffsets(cmd.Context(), cfg, group, name)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "TOPIC\tPARTITION\tOFFSET\tLOG START\tLOG END\tRECORDER")
			for _, o := range offsets {
				if only >= 0 && o.Partition != only {
					continue
				}
				committed := "-"
				if o.Committed >= 0 {
					committed = strconv.FormatInt(o.Committed, 10)
				}
				fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%s\n", o.Topic, o.Partition, committed, o.LogStart, o.LogEnd, o.Says)
			}
			return w.Flush()
		},
	})
	set := flags(&cobra.Command{
		Use:   "set --group GROUP --topic TOPIC[:PARTITION] --to earliest|latest|OFFSET|TIME",
		Short: "Set where a group that has no members goes on",
		Long: "Set where a group that has no members goes on: at the start or the end of the log, at an offset,\n" +
			"or at the first record of a time such as 2026-11-29T12:00:00Z.\n\n" +
			"A recorder looks for the rows of all that it reads again, and stores what is missing: none is\n" +
			"stored twice. A worker answers again what it reads again.",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if group == "" || topic == "" || to == "" {
				return usage(errors.New("name the group, the topic and where to: --group, --topic, --to"))
			}
			if !operate.ValidPlace(to) {
				return usage(fmt.Errorf("--to %s: give earliest, latest, an offset, or a time such as 2026-11-29T12:00:00Z", to))
			}
			name, partition, err := topicPartition(topic)
			if err != nil {
				return err
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			done, err := operate.SetOffsets(cmd.Context(), cfg, group, name, partition, to)
			for _, s := range done {
				from := "none"
				if s.From >= 0 {
					from = strconv.FormatInt(s.From, 10)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s partition %d: from %s to %d\n", s.Topic, s.Partition, from, s.To)
			}
			return err
		},
	})
	set.Flags().StringVar(&to, "to", "", "earliest, latest, an offset, or a time")
	cmd.AddCommand(show, set)
	return cmd
}

// topicPartition reads TOPIC or TOPIC:PARTITION; -1 is all partitions.
func topicPartition(text string) (topic string, partition int32, err error) {
	topic, number, ok := strings.Cut(text, ":")
	if !ok {
		return topic, -1, nil
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 0 {
		return "", 0, usage(fmt.Errorf("--topic %s: write topic or topic:partition", text))
	}
	return topic, int32(n), nil
}
