package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/internal/server"
)

// adminCommand is a command that asks the running server one thing. With
// --json the answer is printed as it came.
func adminCommand[T any](use, short string, args cobra.PositionalArgs, ask func(c *server.Client, cmd *cobra.Command, args []string) (T, error), show func(w io.Writer, v T) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args}
	data := cmd.Flags().String("data", server.Defaults().Data, "the server's data folder")
	asJSON := cmd.Flags().Bool("json", false, "print the answer as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		v, err := ask(server.NewClient(*data), cmd, args)
		var bad verdict
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		if *asJSON {
			return errors.Join(printJSON(cmd.OutOrStdout(), v), err)
		}
		w := tabwriter.NewWriter(plain{cmd.OutOrStdout()}, 0, 4, 2, ' ', 0)
		return errors.Join(show(w, v), w.Flush(), err)
	}
	return cmd
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// verdict is an answer that was given, and is a bad one: it is printed, and the
// exit code is 1.
type verdict struct{ error }

// plain writes what people read, without what devices might put into their names
// to steer a terminal: control characters, and marks that turn the direction of
// writing round or show nothing. JSON is printed as it is.
type plain struct{ io.Writer }

func (p plain) Write(b []byte) (int, error) {
	clean := bytes.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029') {
			return unicode.ReplacementChar
		}
		return r
	}, b)
	if _, err := p.Writer.Write(clean); err != nil {
		return 0, err
	}
	return len(b), nil
}

func healthCommand() *cobra.Command {
	return adminCommand("health", "Say whether the server is ready; exit code 1 if it is not", none,
		func(c *server.Client, cmd *cobra.Command, _ []string) (server.Health, error) {
			var h server.Health
			err := c.Call(cmd.Context(), http.MethodGet, "/health", nil, &h)
			if err == nil && !h.Ready {
				err = verdict{errors.New("the server is not ready")}
			}
			return h, err
		},
		func(w io.Writer, h server.Health) error {
			state := "ready"
			switch {
			case !h.Ready:
				state = "not ready"
			case len(h.Problems) > 0:
				state = "ready, degraded"
			}
			_, err := fmt.Fprintln(w, strings.Join(append([]string{state}, h.Problems...), "\n- "))
			return err
		})
}

func gatewayCommand() *cobra.Command {
	cmd := group("gateway", "Add, admit, import, list and revoke gateways")
	var add server.AddGateway
	addCmd := adminCommand("add", "Register a gateway and print its one-time claim", none,
		func(c *server.Client, cmd *cobra.Command, _ []string) (server.Claim, error) {
			var claim server.Claim
			if add.Name == "" {
				return claim, usageError{fmt.Errorf("name the gateway: --name; see %s --help", cmd.CommandPath())}
			}
			err := c.Call(cmd.Context(), http.MethodPost, "/gateways", add, &claim)
			return claim, err
		},
		func(w io.Writer, claim server.Claim) error {
			_, err := fmt.Fprintf(w, "gateway %s is registered. On the gateway, before %s, run:\n\n  pantau-gateway claim %s --server %s\n\n",
				claim.Node, claim.Expires.Local().Format("2006-01-02 15:04 MST"), claim.Code, claim.Server)
			return err
		})
	addCmd.Flags().StringVar(&add.District, "district", "", "BPS code of the kabupaten or kota, for example 3374")
	addCmd.Flags().StringVar(&add.Name, "name", "", "the gateway's id: letters, digits, hyphens")
	addCmd.Flags().StringVar(&add.Site, "site", "", "code of the site where it hangs")
	addCmd.Flags().StringVar(&add.Group, "group", "", "Sparkplug group, if it is not the district")
	var admit server.AdmitGateway
	admitCmd := adminCommand("admit FILE", "Register a gateway by the certificate that another authority signed for it", exactly(1, "one certificate (PEM)"),
		func(c *server.Client, cmd *cobra.Command, args []string) (server.Admitted, error) {
			var v server.Admitted
			text, err := os.ReadFile(args[0])
			if err != nil {
				return v, usageError{err}
			}
			admit.Certificate = string(text)
			return v, c.Call(cmd.Context(), http.MethodPost, "/gateways/admit", admit, &v)
		},
		func(w io.Writer, v server.Admitted) error {
			_, err := fmt.Fprintf(w, "gateway %s is registered; its certificate holds until %s\n", v.Node, v.Expires.Local().Format("2006-01-02 15:04 MST"))
			return err
		})
	admitCmd.Long = `admit is for a server that was started with --mqtt-ca: certificates are signed
by an authority of your own. On the gateway, "pantau-gateway csr --node
3374/balaikota" prints a request; have it signed, run "pantau gateway admit FILE"
here and "pantau-gateway certificate FILE" there. A renewal goes the same way;
until the gateway uses the new certificate, the old one stays good. "pantau
gateway revoke" ends either, whatever the authority says.`
	admitCmd.Flags().StringVar(&admit.District, "district", "", "BPS code of the kabupaten or kota, if it is not the certificate's group")
	admitCmd.Flags().StringVar(&admit.Site, "site", "", "code of the site where it hangs")
	addCmd.Flags().BoolVar(&add.Simulated, "simulated", false, "nothing of it is real; refused where real gateways are registered")
	var dry, simulated bool
	importCmd := adminCommand("import FILE.csv", "Register many nodes with passwords: group,name,password,district,site", exactly(1, "one file"),
		func(c *server.Client, cmd *cobra.Command, args []string) (server.ImportResult, error) {
			var result server.ImportResult
			f, err := os.Open(args[0])
			if err != nil {
				return result, usageError{err}
			}
			defer f.Close()
			query := url.Values{}
			if dry {
				query.Set("dry", "1")
			}
			if simulated {
				query.Set("simulated", "1")
			}
			path := "/gateways/import?" + query.Encode()
			err = c.Call(cmd.Context(), http.MethodPost, path, f, &result)
			if err == nil && len(result.Errors) > 0 {
				err = verdict{fmt.Errorf("%s: %d wrong cells, nothing was imported", args[0], len(result.Errors))}
			}
			return result, err
		},
		func(w io.Writer, r server.ImportResult) error {
			for _, e := range r.Errors {
				fmt.Fprintln(w, e)
			}
			_, err := fmt.Fprintf(w, "%d gateways imported\n", r.Imported)
			return err
		})
	importCmd.Flags().BoolVar(&dry, "dry-run", false, "only check the file")
	importCmd.Flags().BoolVar(&simulated, "simulated", false, "nothing of them is real; refused where real gateways are registered")
	cmd.AddCommand(addCmd, admitCmd, importCmd,
		adminCommand("list", "List gateways", none,
			func(c *server.Client, cmd *cobra.Command, _ []string) ([]server.Gateway, error) {
				var list []server.Gateway
				return list, c.Call(cmd.Context(), http.MethodGet, "/gateways", nil, &list)
			},
			func(w io.Writer, list []server.Gateway) error {
				fmt.Fprintln(w, "GATEWAY\tDISTRICT\tSITE\tCREDENTIAL\tUNTIL\tSTATE")
				for _, g := range list {
					until := "-"
					if !g.Expires.IsZero() {
						until = g.Expires.Local().Format(time.DateOnly)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", g.Node, g.District, g.Site, g.Credential, until, g.State)
				}
				return nil
			}),
		adminCommand("revoke GROUP/NAME", "Revoke a gateway: its live connection is cut, its certificate and password end", exactly(1, "one gateway"),
			func(c *server.Client, cmd *cobra.Command, args []string) (server.Done, error) {
				var done server.Done
				return done, c.Call(cmd.Context(), http.MethodPost, "/gateways/revoke", server.NodeRef{Node: args[0]}, &done)
			}, showDone),
	)
	return cmd
}

func showDone(w io.Writer, d server.Done) error {
	_, err := fmt.Fprintln(w, d.Message)
	return err
}

func ledgerCommand() *cobra.Command {
	cmd := adminCommand("ledger", "Print what was expected, stored, lost and is missing, by gateway", none,
		func(c *server.Client, cmd *cobra.Command, _ []string) (server.Ledger, error) {
			var l server.Ledger
			return l, c.Call(cmd.Context(), http.MethodGet, "/ledger", nil, &l)
		},
		func(w io.Writer, l server.Ledger) error {
			fmt.Fprintln(w, "GATEWAY\tEXPECTED\tSTORED\tREJECTED\tDEAD LETTERS\tLOST\tMISSING")
			for _, g := range append(l.Gateways, l.Total) {
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\n", g.Node, g.Expected, g.Stored, g.Rejected, g.DeadLetters, g.Lost, g.Missing)
			}
			return nil
		})
	verify := adminCommand("verify FILE", "Compare a load generator's ledger with the database; exit code 1 if an acknowledged reading is lost, doubled or altered", exactly(1, "one file"),
		func(c *server.Client, cmd *cobra.Command, args []string) (ingest.Report, error) {
			var v ingest.Report
			f, err := os.Open(args[0])
			if err != nil {
				return v, usageError{err}
			}
			defer f.Close()
			if err := c.Call(cmd.Context(), http.MethodPost, "/ledger/verify", f, &v); err != nil {
				return v, err
			}
			if !v.OK() {
				return v, verdict{fmt.Errorf("acknowledged readings: %d lost, %d doubled, %d altered", v.Lost, v.Doubled, v.Altered)}
			}
			return v, nil
		},
		func(w io.Writer, v ingest.Report) error {
			_, err := fmt.Fprintf(w, "sent\t%d\nacknowledged\t%d\nstored\t%d\nrejected\t%d\ngaps\t%d\ndead letters\t%d\nlost\t%d\ndoubled\t%d\naltered\t%d\n",
				v.Sent, v.Acknowledged, v.Stored, v.Rejected, v.Gaps, v.DeadLetters, v.Lost, v.Doubled, v.Altered)
			for _, e := range v.Examples {
				fmt.Fprintln(w, e)
			}
			return err
		})
	cmd.AddCommand(verify)
	return cmd
}

func deadLetterCommand() *cobra.Command {
	cmd := group("deadletter", "List, show, retry and drop what could not be decoded or stored")
	drop := adminCommand("drop ID...", "Delete dead letters for good; the ledger goes on to count them", some("one id or more"),
		func(c *server.Client, cmd *cobra.Command, args []string) ([]server.Done, error) {
			var all []server.Done
			for _, id := range args {
				var done server.Done
				if err := c.Call(cmd.Context(), http.MethodDelete, "/deadletters/"+url.PathEscape(id), nil, &done); err != nil {
					return nil, err
				}
				all = append(all, done)
			}
			return all, nil
		},
		func(w io.Writer, all []server.Done) error {
			for _, done := range all {
				fmt.Fprintln(w, done.Message)
			}
			return nil
		})
	drop.Example = "  # all letters of one node\n  pantau deadletter list | awk '$3 == \"3374/balaikota\" { print $1 }' | xargs pantau deadletter drop"
	cmd.AddCommand(drop,
		adminCommand("list", "List dead letters", none,
			func(c *server.Client, cmd *cobra.Command, _ []string) ([]server.DeadLetter, error) {
				var list []server.DeadLetter
				return list, c.Call(cmd.Context(), http.MethodGet, "/deadletters", nil, &list)
			},
			func(w io.Writer, list []server.DeadLetter) error {
				fmt.Fprintln(w, "ID\tRECEIVED\tNODE\tREASON\tDETAIL")
				for _, d := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.ID, d.Received.Format(time.RFC3339), d.Node, d.Reason, d.Detail)
				}
				return nil
			}),
		adminCommand("show ID", "Show one dead letter with its bytes", exactly(1, "one id"),
			func(c *server.Client, cmd *cobra.Command, args []string) (server.DeadLetter, error) {
				var d server.DeadLetter
				return d, c.Call(cmd.Context(), http.MethodGet, "/deadletters/"+url.PathEscape(args[0]), nil, &d)
			},
			func(w io.Writer, d server.DeadLetter) error { return printJSON(w, d) }),
		adminCommand("retry ID", "Try one dead letter again", exactly(1, "one id"),
			func(c *server.Client, cmd *cobra.Command, args []string) (server.Done, error) {
				var done server.Done
				return done, c.Call(cmd.Context(), http.MethodPost, "/deadletters/"+url.PathEscape(args[0])+"/retry", nil, &done)
			}, showDone),
	)
	return cmd
}

func rulesCommand() *cobra.Command {
	cmd := group("rules", "Show and set the alert rules; a change holds for what follows it")
	cmd.Example = "  pantau rules show > rules.json\n  # edit rules.json\n  pantau rules set rules.json"
	get := adminCommand("show", "Print the alert rules in force, as JSON", none,
		func(c *server.Client, cmd *cobra.Command, _ []string) ([]alert.Rule, error) {
			var rules []alert.Rule
			return rules, c.Call(cmd.Context(), http.MethodGet, "/rules", nil, &rules)
		},
		func(w io.Writer, rules []alert.Rule) error { return printJSON(w, rules) })
	set := adminCommand("set FILE.json", "Replace the alert rules by those of a file", exactly(1, "one file"),
		func(c *server.Client, cmd *cobra.Command, args []string) (server.Done, error) {
			var done server.Done
			text, err := os.ReadFile(args[0])
			if err != nil {
				return done, usageError{err}
			}
			if _, err := alert.Parse(text); err != nil {
				return done, usageError{fmt.Errorf("%s: %w", args[0], err)}
			}
			return done, c.Call(cmd.Context(), http.MethodPut, "/rules", bytes.NewReader(text), &done)
		}, showDone)
	cmd.AddCommand(get, set)
	return cmd
}
