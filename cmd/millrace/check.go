package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas/printable"
)

func checkCommand(o *options) *cobra.Command {
	var fix bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and the model repository, and report every fault",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load() // what is wrong in it has its default
			err = errors.Join(err, cfg.CheckFiles())
			cfg.WarnPlainText(cfg.Log.Logger(cmd.ErrOrStderr()))
			if fix {
				fixed, err := operate.FixDigests(cfg)
				for _, line := range fixed {
					fmt.Fprintln(cmd.OutOrStdout(), printable.Text(line))
				}
				if err != nil {
					return err
				}
			}
			lines, errModels := operate.CheckModels(cmd.Context(), cfg)
			for _, line := range lines {
				fmt.Fprintln(cmd.OutOrStdout(), printable.Text(line))
			}
			if err := errors.Join(err, errModels); err != nil {
				return usage(err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ok")
			return nil
		},
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "first write into every manifest the digests of the files that it names, as they are now")
	return cmd
}
