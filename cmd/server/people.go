package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/server"
)

func userCommand() *cobra.Command {
	cmd := group("user", "Add people, say what they may do, help them sign in")
	cmd.Long = `Add people, say what they may do, help them sign in.

A grant is ROLE[:DISTRICT[:KIND]]: a role (viewer, operator, technician,
validator, approver, admin; each may also do what those before it may), the BPS
code of a kabupaten or kota (left out: the whole province), and a kind (air,
waste, energy, water; left out: all).`
	cmd.Example = "  pantau user add sari validator:3374:air\n  pantau user grant sari operator\n  pantau user revoke sari validator:3374:air"
	// change is a command about one account.
	change := func(use, short, path string, args cobra.PositionalArgs, more func(*server.UserRef)) *cobra.Command {
		return adminCommand(use, short, args,
			func(c *server.Client, cmd *cobra.Command, args []string) (server.Done, error) {
				var done server.Done
				ref := server.UserRef{Name: args[0], Grants: args[1:]}
				if more != nil {
					more(&ref)
				}
				return done, c.Call(cmd.Context(), http.MethodPost, path, ref, &done)
			}, showDone)
	}
	one := exactly(1, "one user name")
	some := func(cmd *cobra.Command, args []string) error {
		if len(args) < 2 {
			return usageError{fmt.Errorf("want a user name and at least one grant, for example %s sari validator:3374:air; see %s --help", cmd.CommandPath(), cmd.CommandPath())}
		}
		return nil
	}
	var alsoCode bool
	reset := change("reset NAME", "Print a one-time password; the old one and all sessions end", "/users/reset", one, func(ref *server.UserRef) { ref.SecondFactor = alsoCode })
	reset.Flags().BoolVar(&alsoCode, "second-factor", false, "also remove the second factor, for a lost phone")
	cmd.AddCommand(
		change("add NAME GRANT...", "Add a person and print the one-time password", "/users", some, nil),
		adminCommand("list", "List people and what they may do", none,
			func(c *server.Client, cmd *cobra.Command, _ []string) ([]server.User, error) {
				var list []server.User
				return list, c.Call(cmd.Context(), http.MethodGet, "/users", nil, &list)
			},
			func(w io.Writer, list []server.User) error {
				fmt.Fprintln(w, "NAME\tGRANTS\tSIGNS IN WITH\tSTATE")
				for _, u := range list {
					state := "active"
					if !u.Disabled.IsZero() {
						state = "disabled since " + u.Disabled.Format(time.RFC3339)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Name, strings.Join(u.Grants, " "), u.SignsIn, state)
				}
				return nil
			}),
		change("grant NAME GRANT...", "Give grants; they hold at the next click", "/users/grant", some, nil),
		change("revoke NAME GRANT...", "Take grants away; holds at the next click", "/users/revoke", some, nil),
		reset,
		change("disable NAME", "End all sessions and let nobody sign in with the account", "/users/disable", one, nil),
		change("enable NAME", "Take disable back", "/users/enable", one, nil),
		change("remove NAME", "Remove an account; its name may later be somebody else's", "/users/remove", one, nil),
	)
	return cmd
}

func auditCommand() *cobra.Command {
	q := url.Values{}
	var who, action, object, from, to string
	var before uint64
	limit := 50
	cmd := adminCommand("audit", "Print who did what, newest first", none,
		func(c *server.Client, cmd *cobra.Command, _ []string) (server.AuditPage, error) {
			for name, v := range map[string]string{"who": who, "action": action, "object": object, "from": from, "to": to} {
				q.Set(name, v)
			}
			q.Set("limit", strconv.Itoa(limit))
			if before > 0 {
				q.Set("before", strconv.FormatUint(before, 10))
			}
			var page server.AuditPage
			return page, c.Call(cmd.Context(), http.MethodGet, "/audit?"+q.Encode(), nil, &page)
		},
		func(w io.Writer, p server.AuditPage) error {
			fmt.Fprintln(w, "NUMBER\tTIME\tWHO\tFROM\tACTION\tOBJECT\tDETAIL")
			for _, r := range p.Records {
				from := "-"
				if r.From.IsValid() {
					from = r.From.String()
				}
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Seq, r.Time.Format(time.RFC3339), dash(r.Who), from, r.Action, dash(r.Object), dash(short(r.Detail)))
			}
			if p.Next > 0 {
				fmt.Fprintf(w, "older entries: --before %d\n", p.Next)
			}
			return nil
		})
	f := cmd.Flags()
	f.StringVar(&who, "who", "", "only of people whose name holds this")
	f.StringVar(&action, "action", "", "only actions that begin with this, for example user or signin.refused")
	f.StringVar(&object, "object", "", "only about objects whose name holds this")
	f.StringVar(&from, "from", "", "only since this day or time (2026-11-23, or RFC 3339)")
	f.StringVar(&to, "to", "", "only until this day or time")
	f.Uint64Var(&before, "before", 0, "only entries with a lower number")
	f.IntVar(&limit, "limit", limit, "at most so many entries, up to 1000")
	var head string
	verify := adminCommand("verify", "Check the chain of all entries; exit code 1 and the first broken link if it does not hold", none,
		func(c *server.Client, cmd *cobra.Command, _ []string) (audit.Verdict, error) {
			var v audit.Verdict
			if err := c.Call(cmd.Context(), http.MethodGet, "/audit/verify?"+url.Values{"head": {head}}.Encode(), nil, &v); err != nil {
				return v, err
			}
			switch {
			case v.Broken != nil:
				return v, verdict{fmt.Errorf("the audit log does not hold from %s", v.Broken)}
			case head != "" && v.Found == 0:
				return v, verdict{errors.New("the entry with that hash is gone: entries were cut off, or the log was replaced")}
			}
			return v, nil
		},
		func(w io.Writer, v audit.Verdict) error {
			_, err := fmt.Fprintf(w, "entries\t%d\nhead\t%s\n", v.Entries, v.Head)
			if err == nil && v.Found > 0 {
				_, err = fmt.Fprintf(w, "the hash asked for is that of entry\t%d\n", v.Found)
			}
			return err
		})
	verify.Flags().StringVar(&head, "head", "", "a head noted earlier that must still be in the log")
	cmd.AddCommand(verify)
	return cmd
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// short cuts a text for a table.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 80 {
		return string(r[:79]) + "…"
	}
	return s
}
