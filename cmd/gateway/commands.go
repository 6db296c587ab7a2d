package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/gateway"
	"github.com/pantau-id/pantau/gateway/sensors"
	"github.com/pantau-id/pantau/gateway/status"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// exactly is cobra.ExactArgs with our exit code.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("want %s; see %s --help", what, c.CommandPath())}
		}
		return nil
	}
}

// settings reads the file, if one is named, and lets the flag win.
func settings(config, data string) (gateway.Options, error) {
	if config != "" {
		return gateway.LoadKept(config, data)
	}
	o := gateway.Defaults()
	if data != "" {
		o.Gateway.Data = data
	}
	return o, nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func checkCommand(data *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Print what is understood of a settings file; touches no bus and no network",
		Args: exactly(1, "one settings file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := gateway.Defaults()
			if err := o.Load(args[0]); err != nil {
				return usageError{err}
			}
			if *data != "" {
				o.Gateway.Data = *data
			}
			if err := o.Resolve(); err != nil {
				return usageError{fmt.Errorf("%s:\n%w", args[0], err)}
			}
			if asJSON {
				understood, err := o.Settings()
				if err != nil {
					return err
				}
				return writeJSON(cmd.OutOrStdout(), map[string]any{"settings": understood, "warnings": o.Warnings()})
			}
			_, err := io.WriteString(cmd.OutOrStdout(), o.Digest())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: settings with their defaults, and warnings")
	return cmd
}

func claimCommand(data *string) *cobra.Command {
	var asJSON bool
	o := gateway.ClaimOptions{}
	cmd := &cobra.Command{
		Use: "claim CODE --server HOST:PORT", Short: "Exchange a one-time claim code for this gateway's certificate",
		Long: `claim makes a key on this machine, which never leaves it, and exchanges the
one-time code that "pantau gateway add" printed for a certificate. The code also
names the server's authority, so that nobody in between can answer in its place.

A running gateway with the same data folder notices the claim by itself. If the
answer was lost on the way, run the same command again: the code stays good for
this machine until it expires.

Exit codes: 0 claimed; 1 refused; 2 wrong usage; 3 the server can't be reached.`,
		Args: exactly(1, "one claim code"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Code, o.Data = args[0], *data
			if o.Server == "" {
				return usageError{errors.New("name the server: --server HOST:PORT")}
			}
			id, err := gateway.Claim(cmd.Context(), o)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"node": id.Node.String(), "server": id.Server, "valid_until": id.NotAfter})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "This gateway is %s at %s; its certificate holds until %s and renews itself.\n",
				id.Node, id.Server, id.NotAfter.Format(time.DateOnly))
			return err
		},
	}
	cmd.Flags().StringVar(&o.Server, "server", "", "the gateways' door of the server, HOST:PORT")
	cmd.Flags().BoolVar(&o.Replace, "replace", false, "throw away the certificate that this gateway has")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: node, server, valid_until")
	return cmd
}

func csrCommand(data *string) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "csr --node GROUP/NAME", Short: "Print a request for a certificate that an authority of your own signs",
		Long: `csr is for installations whose certificates are signed by another authority
than the Pantau server (pantau serve --mqtt-ca). It makes a key on this machine,
which never leaves it, and prints what is to be signed (PKCS #10, PEM). The
certificate is for TLS clients, and its common name is GROUP/NAME.

Exit codes: 0 printed; 1 failed; 2 wrong usage.`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			node, err := telemetry.ParseNode(name)
			if err != nil {
				return usageError{fmt.Errorf("--node: %w", err)}
			}
			text, err := gateway.SigningRequest(orDefault(*data), node)
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "node", "", "who this gateway is, for example 3374/balaikota")
	return cmd
}

func certificateCommand(data *string) *cobra.Command {
	var asJSON bool
	var authority string
	o := gateway.InstallOptions{}
	cmd := &cobra.Command{
		Use: "certificate FILE --server HOST:PORT --ca FILE", Short: "Install the certificate that was signed for csr",
		Long: `certificate takes what an authority of your own signed for the request that csr
printed: PEM, the gateway's certificate first, then whatever leads to the
authority. The server learns of it by "pantau gateway admit FILE".

To renew, run csr again, have it signed, admit and install it: --server and --ca
stay as they were. A running gateway with the same data folder notices the new
certificate by itself.

Exit codes: 0 installed; 1 it does not fit; 2 wrong usage.`,
		Args: exactly(1, "one certificate (PEM)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return usageError{err}
			}
			o.Certificate, o.Data = string(text), *data
			if authority != "" {
				if text, err = os.ReadFile(authority); err != nil {
					return usageError{fmt.Errorf("--ca: %w", err)}
				}
				o.CA = string(text)
			}
			id, err := gateway.InstallCertificate(o)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"node": id.Node.String(), "server": id.Server, "valid_until": id.NotAfter})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "This gateway is %s at %s; its certificate holds until %s.\n",
				id.Node, id.Server, id.NotAfter.Format(time.DateOnly))
			return err
		},
	}
	cmd.Flags().StringVar(&o.Server, "server", "", "the gateways' door of the server, HOST:PORT")
	cmd.Flags().StringVar(&authority, "ca", "", "certificates (PEM) of the authority that vouches for the server")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: node, server, valid_until")
	return cmd
}

func orDefault(data string) string {
	if data == "" {
		return gateway.DefaultData()
	}
	return data
}

func scanCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "scan [BUS…]", Short: "Ask the buses which sensors answer, and print them as settings",
		Long: `scan asks every bus of this machine, or those that are named, which of the known
parts answer, and prints them as they may stand in a settings file. Stop a
running gateway first: two programs on one bus disturb each other.

Known parts: ` + strings.Join(sensors.Parts(), ", ") + `.

Exit codes: 0 something was found; 1 nothing was found.`,
		RunE: func(cmd *cobra.Command, places []string) error {
			if len(places) == 0 {
				places = sensors.Places()
			}
			buses := sensors.NewBuses(slog.New(slog.NewTextHandler(os.Stderr, nil)))
			defer buses.Close()
			found, errs := sensors.Scan(cmd.Context(), buses, places)
			for _, err := range errs {
				fmt.Fprintln(cmd.ErrOrStderr(), err)
			}
			if asJSON {
				list := []map[string]any{}
				for _, f := range found {
					list = append(list, map[string]any{"part": f.Part, "name": f.Name, "bus": f.Bus, "address": f.Address, "baud": f.Baud})
				}
				if err := writeJSON(cmd.OutOrStdout(), list); err != nil {
					return err
				}
			} else {
				for _, f := range found {
					fmt.Fprintf(cmd.OutOrStdout(), "[[sensor]]\npart = %q\nname = %q\nbus = %q\n", f.Part, f.Name, f.Bus)
					if f.Address != 0 {
						fmt.Fprintf(cmd.OutOrStdout(), "address = %#02x\n", f.Address)
					}
					fmt.Fprintln(cmd.OutOrStdout())
				}
			}
			if len(found) == 0 {
				return fmt.Errorf("nothing answers on %s: check wires and supply, and that I2C and serial are on (raspi-config)", orNone(places))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: part, name, bus, address, baud")
	return cmd
}

func orNone(places []string) string {
	if len(places) == 0 {
		return "this machine, which has no bus"
	}
	return strings.Join(places, ", ")
}

// errNoGateway says that nothing answers where a gateway's page should be.
type errNoGateway struct{ error }

func (e errNoGateway) Error() string { return "no gateway answers: " + e.error.Error() }

func (e errNoGateway) Unwrap() error { return e.error }

func healthCommand() *cobra.Command {
	var url string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "health", Short: "Ask a running gateway whether it works",
		Long: `health asks a running gateway on this machine for /healthz.

Exit codes: 0 it runs (what is missing is printed); 1 a loop makes no progress;
3 no gateway answers.`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, strings.TrimRight(url, "/")+"/healthz", nil)
			if err != nil {
				return usageError{fmt.Errorf("--url: %w", err)}
			}
			response, err := (&http.Client{Timeout: 5 * time.Second}).Do(r)
			if err != nil {
				return errNoGateway{err}
			}
			defer response.Body.Close()
			var h status.Health
			if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&h); err != nil {
				return fmt.Errorf("%s answers %s, not what a gateway says: %w", url, response.Status, err)
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), h)
			} else {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.Join(append([]string{h.Status}, h.Problems...), "\n- "))
			}
			if err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("the gateway is %s", h.Status)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&url, "url", "http://127.0.0.1:9101", "the status page")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON as /healthz gives it")
	return cmd
}

// buildTime is the commit's: no clock is believed that says less.
func buildTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
			return t
		}
	}
	return time.Time{}
}
