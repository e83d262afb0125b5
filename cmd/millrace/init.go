package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas/printable"
)

func initCommand(o *options) *cobra.Command {
	var init operate.InitOptions
	var data dataFlags
	cmd := &cobra.Command{
		Use:   "init MODEL.onnx",
		Short: "Put an ONNX model into the repository, with a manifest made from its graph and from data",
		Long: "Copy an ONNX model into models.repository and write a manifest from the graph's inputs and\n" +
			"outputs. What the graph cannot tell is marked CHECK: in the manifest; it serves as it is.\n\n" +
			"With --data, the manifest has types, categories, ranges and what is optional from a table whose\n" +
			"columns are the features; the rows are scored, and there are a reference, a sample, and checks of\n" +
			"drift and quality with thresholds that hold --rate on blocks of the rows of the size of a window.\n" +
			"A graph with one input that does not name its columns takes those of the data in their order.\n\n" +
			"A further version of a model has the manifest of the one before, as far as the graph allows. It is a\n" +
			"draft: it does not serve until that line is removed, or models.versions names it.",
		Example: "  millrace init model.onnx\n" +
			"  millrace init model.onnx --data train.parquet --label defaulted --score out_of_fold --time applied_at",
		Args: args(cobra.ExactArgs(1)),
		RunE: o.configured(func(cmd *cobra.Command, cfg config.Config, given []string) error {
			init.Path = given[0]
			if given, err := data.given(cmd, false); err != nil {
				return usage(err)
			} else if given {
				init.Data = &data.options
			}
			made, err := operate.InitModel(cmd.Context(), cfg, init)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			printLearned(out, made.Learned)
			if made.Before != "" {
				fmt.Fprintf(out, "A draft, with the manifest of version %s. Against the graph of that version:\n", printable.Text(made.Before))
				if len(made.Changes) == 0 {
					fmt.Fprintln(out, "  features, types and outputs are the same")
				}
				for _, line := range made.Changes {
					fmt.Fprintf(out, "  %s\n", printable.Text(line))
				}
				fmt.Fprintln(out)
			}
			fmt.Fprintf(out, "manifest  %s\nrequests  %s\nresults   %s\nexample   %s\n",
				printable.Text(made.Manifest), made.Requests, made.Results, printable.JSON([]byte(made.Example)))
			return nil
		}),
	}
	cmd.Flags().StringVar(&init.Name, "name", "", "model name (default from the file's name)")
	cmd.Flags().StringVar(&init.Version, "version", "", "version (default 1, or the number after the last one's)")
	cmd.Flags().IntVar(&init.MaxBatchSize, "max-batch-size", 0, "rows of one run of the model at most; 1 scores each row alone")
	data.add(cmd)
	return cmd
}

// printLearned prints what data said about a version, and what to look at.
func printLearned(out io.Writer, l operate.Learned) {
	for _, line := range l.Table {
		fmt.Fprintln(out, printable.Text(line))
	}
	if len(l.Look) > 0 {
		fmt.Fprintln(out, "\nLook at:")
	}
	for _, line := range l.Look {
		fmt.Fprintf(out, "- %s\n", printable.Text(line))
	}
	if len(l.Table) > 0 {
		fmt.Fprintln(out)
	}
}
