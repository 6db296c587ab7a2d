// Command pantau is the server and its command line: broker, journal, ingest
// and pages in one process, and commands that talk to it over the admin socket
// in its data folder.
//
// Exit codes: 0 done; 1 the command failed, or found what it looked for to be
// wrong; 2 wrong usage or settings; 3 no server answers on the admin socket.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/internal/server"
)

// version is set by the linker.
var version = "unversioned"

const long = `Pantau watches over environment, waste and energy sensors.

"pantau serve" starts the server: gateways' MQTT door, journal, database writer,
alerts and pages. All other commands talk to the running server through
DATA/admin.sock, so run them on the same machine, as the same user or root, with
the same --data.

Begin with:
  pantau serve --data ./pantau-data
  pantau gateway add --district 3374 --name balaikota`

// exitCodes stands below the help of every command.
const exitCodes = `
Exit codes: 0 done; 1 failed or found something wrong; 2 wrong usage or settings;
3 no server answers.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pantau:", err)
	}
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return 2
	case errors.Is(err, server.ErrNoServer):
		return 3
	}
	return 1
}

// usageError marks what the caller can mend in the command line or settings.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func root() *cobra.Command {
	cmd := group("pantau", "Server and command line of Pantau")
	cmd.Long, cmd.Version, cmd.SilenceErrors, cmd.SilenceUsage = long, version, true, true
	cmd.SetUsageTemplate(cmd.UsageTemplate() + exitCodes)
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	cmd.AddCommand(serveCommand(), checkCommand(), healthCommand(), gatewayCommand(), placeCommand(), mapCommand(), ledgerCommand(), deadLetterCommand(), rulesCommand(), userCommand(), auditCommand(), demoCommand(), figuresCommand(), archiveCommand())
	return cmd
}

// group is a command that only holds others. Bare it shows its help; a word that
// it does not know is wrong usage.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q; see %s --help", args[0], c.CommandPath())}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
}

// exactly is cobra.ExactArgs with our exit code.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("want %s; see %s --help", what, c.CommandPath())}
		}
		return nil
	}
}

// some is cobra.MinimumNArgs(1) with our exit code.
func some(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("want %s; see %s --help", what, c.CommandPath())}
		}
		return nil
	}
}

var none = exactly(0, "no arguments")
