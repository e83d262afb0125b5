package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas/printable"
)

func initCommand(o *options) *cobra.Command {
	var name, version string
	var maxBatchSize int
	cmd := &cobra.Command{
		Use:   "init MODEL.onnx",
		Short: "Put an ONNX model into the repository, with a manifest made from its graph",
		Long: "Copy an ONNX model into models.repository and write a manifest from the graph's inputs and\n" +
			"outputs. What the graph cannot tell is marked CHECK: in the manifest; it serves as it is.",
		Args: args(cobra.ExactArgs(1)),
		RunE: o.configured(func(cmd *cobra.Command, cfg config.Config, given []string) error {
			made, err := operate.InitModel(cmd.Context(), cfg, given[0], name, version, maxBatchSize)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "manifest  %s\nrequests  %s\nresults   %s\nexample   %s\n",
				printable.Text(made.Manifest), made.Requests, made.Results, printable.JSON([]byte(made.Example)))
			return nil
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "model name (default from the file's name)")
	cmd.Flags().StringVar(&version, "version", "1", "version")
	cmd.Flags().IntVar(&maxBatchSize, "max-batch-size", 0, "rows of one run of the model at most; 1 scores each row alone")
	return cmd
}
