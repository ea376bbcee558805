package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func newCompletionCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script of a shell",
		Long: "Print a script that makes a shell complete commands, flags and the names of the running proxy's\n" +
			"listeners, pools and backends. If no proxy answers, the names come from the configuration.\n" +
			"Put the line for your shell into its start-up file.",
		Example: "  source <(l4proxy completion bash)\n" +
			"  source <(l4proxy completion zsh)\n" +
			"  l4proxy completion fish | source",
		ValidArgs:             []string{"bash", "zsh", "fish"},
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name one shell: bash, zsh or fish")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return failed(root.GenBashCompletionV2(out, true))
			case "zsh":
				return failed(root.GenZshCompletion(out))
			case "fish":
				return failed(root.GenFishCompletion(out, true))
			}
			return fmt.Errorf("no completion for %q: name bash, zsh or fish", args[0])
		},
	}
}
