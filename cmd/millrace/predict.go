package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

func predictCommand(o *options) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "predict MODEL [REQUEST…]",
		Short: "Send requests to a model's topic, wait for what becomes of them, and print it",
		Long: "Send each argument, or else each line of standard input, as a request to the model's requests\n" +
			"topic, and print its result. A request that became a dead letter is an error.",
		Args: args(cobra.MinimumNArgs(1)),
		RunE: o.configured(func(cmd *cobra.Command, cfg config.Config, given []string) error {
			values := make([][]byte, 0, len(given))
			for _, v := range given[1:] {
				values = append(values, []byte(v))
			}
			if len(values) == 0 {
				lines, err := readLines(cmd.InOrStdin())
				if err != nil {
					return err
				}
				values = lines
			}
			return operate.Predict(cmd.Context(), cfg, given[0], values, timeout, cmd.OutOrStdout())
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait for all results")
	return cmd
}

func readLines(in io.Reader) ([][]byte, error) {
	var lines [][]byte
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, schemas.MaxRequestBytes)
	for scanner.Scan() {
		if line := bytes.TrimSpace(scanner.Bytes()); len(line) > 0 {
			lines = append(lines, bytes.Clone(line))
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	if len(lines) == 0 {
		return nil, usage(errors.New("no request: give one as an argument, or one a line on standard input"))
	}
	return lines, nil
}
