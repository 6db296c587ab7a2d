// Command pantau-gateway is the program on the Raspberry Pi: it samples sensors,
// keeps every value on disk and brings it to the server.
//
// Exit codes: 0 done, or ended by a signal; 1 the command failed; 2 wrong usage
// or settings; 3 the server can't be reached (claim, health): try again.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/gateway"
)

// version is set by the linker.
var version = "unversioned"

const long = `pantau-gateway samples the sensors of one site and brings their values to a
Pantau server. What it takes is on disk before it is sent, and stays there until
the server has it: cut network and power as you like.

Without arguments it starts at once: it scans the buses, names the sensors that
it finds, samples them, and shows at http://127.0.0.1:9101/ what works, what is
missing and what to do next. To bring it to a server, ask there for a claim code
(pantau gateway add) and run once, as the same user:

  pantau-gateway claim CODE --server HOST:8883

Settings are one TOML file, all of it optional:

  [gateway]
  data = "/var/lib/pantau-gateway"
  [[sensor]]
  part = "sps30"
  name = "udara"
  bus = "/dev/i2c-1"

"pantau-gateway check FILE" prints what it understands of a file. A file that
can't be used ends the program, unless other settings ran before in the same
data folder: then those run on, and log and page say so.

Exit codes: 0 done, or ended by a signal; 1 failed; 2 wrong usage or settings;
3 the server (health: the gateway) can't be reached: try again.`

func main() {
	keepSmall()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pantau-gateway:", err)
	}
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	var usage usageError
	var silent errNoGateway
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return 2
	case errors.Is(err, gateway.ErrUnreachable), errors.As(err, &silent):
		return 3
	}
	return 1
}

// usageError marks what the caller can mend in the command line or settings.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func root() *cobra.Command {
	var config, data string
	cmd := &cobra.Command{
		Use: "pantau-gateway", Short: "Sample sensors and bring their values to a Pantau server", Long: long,
		Version: version, Args: exactly(0, "no arguments"), SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := settings(config, data)
			if err != nil {
				return usageError{err}
			}
			o.Version, o.Build = version, buildTime()
			o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
			g, err := gateway.New(o)
			if err != nil {
				return usageError{err}
			}
			for _, w := range o.Warnings() {
				o.Logger.Warn(w)
			}
			return g.Run(cmd.Context())
		},
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	cmd.Flags().StringVar(&config, "config", "", "settings file (TOML)")
	cmd.PersistentFlags().StringVar(&data, "data", "", "folder of queue, keys and last known time (default $STATE_DIRECTORY, or ./pantau-gateway-data)")
	cmd.AddCommand(checkCommand(&data), claimCommand(&data), csrCommand(&data), certificateCommand(&data), scanCommand(), healthCommand())
	return cmd
}
