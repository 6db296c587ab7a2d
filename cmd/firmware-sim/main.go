// Command firmware-sim plays sensors and whole fleets of gateways, for trying
// Pantau out and for testing it; it is never installed at a site.
//
// Exit codes: 0 done, or ended by a signal; 1 the command failed; 2 wrong usage;
// 3 nothing answers in the chips' folder, or something else already runs there.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	firmwaresim "github.com/pantau-id/pantau/firmware-sim"
)

// version is set by the linker.
var version = "unversioned"

const long = `firmware-sim plays what Pantau listens to. Nothing of it is real, and whatever
it feeds should be marked as simulated.

  chips   the sensors and meters of one gateway, at the level of their registers:
          the real pantau-gateway reads them through a unix socket and
          pseudo-terminals as it reads real ones
  fault   breaks and mends those chips while they run
  site    chips and the real gateway program on them, in one command
  fleet   thousands of gateways in one process, without chips, with a ledger of
          what they sent
  history the posts of a province that have been measuring for 30 days
  aqms    a maker's own air quality station that speaks Sparkplug B

Begin with:
  firmware-sim chips --dir ./chips --smoke-after 60s
  firmware-sim fault ./chips list

Exit codes: 0 done, or ended by a signal; 1 failed; 2 wrong usage; 3 nothing
answers in the chips' folder, or another firmware-sim already serves it.`

// commands is the table of subcommands; each has a file of its own.
var commands = []func() *cobra.Command{chipsCommand, faultCommand, siteCommand, fleetCommand, historyCommand, aqmsCommand}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "firmware-sim:", err)
	}
	os.Exit(exitCode(err))
}

// usageError marks what the caller can mend in the command line.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func exitCode(err error) int {
	var usage usageError
	var options *firmwaresim.OptionsError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage), errors.As(err, &options), strings.HasPrefix(err.Error(), "unknown command"):
		return 2
	case errors.Is(err, firmwaresim.ErrNotRunning), errors.Is(err, firmwaresim.ErrRunning):
		return 3
	}
	return 1
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use: "firmware-sim", Short: "Simulated sensors and fleets for Pantau", Long: long, Version: version,
		SilenceErrors: true, SilenceUsage: true,
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	for _, make := range commands {
		sub := make()
		if check := sub.Args; check != nil { // wrong arguments are wrong usage
			sub.Args = func(c *cobra.Command, args []string) error {
				if err := check(c, args); err != nil {
					return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
				}
				return nil
			}
		}
		cmd.AddCommand(sub)
	}
	return cmd
}
