package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/server"
)

func figuresCommand() *cobra.Command {
	cmd := group("figures", "Show and set what figures are computed by")
	rules := group("rules", "Breakpoints, gates, limits, bulletins: dated, each change with its reason")
	rules.Example = "  pantau figures rules show > ispu.json\n  # edit ispu.json\n  pantau figures rules set ispu.json --reason \"SK Kadis 123/2026\""
	show := adminCommand("show", "Print the rules in force, as JSON", none,
		func(c *server.Client, cmd *cobra.Command, _ []string) (figures.Rules, error) {
			var all []figures.DatedRules
			if err := c.Call(cmd.Context(), http.MethodGet, "/figures/rules", nil, &all); err != nil {
				return figures.Rules{}, err
			}
			now, best := time.Now(), all[0]
			for _, r := range all[1:] {
				if !r.Since.After(now) && !r.Since.Before(best.Since) {
					best = r
				}
			}
			return best.Rules, nil
		},
		func(w io.Writer, r figures.Rules) error { return printJSON(w, r) })
	var since, reason string
	set := adminCommand("set FILE.json", "Let the rules of a file hold; figures that there are change only with --since in the past", exactly(1, "one file"),
		func(c *server.Client, cmd *cobra.Command, args []string) (server.Done, error) {
			var done server.Done
			change := server.SetFigureRules{Reason: reason}
			text, err := os.ReadFile(args[0])
			if err == nil {
				dec := json.NewDecoder(bytes.NewReader(text))
				dec.DisallowUnknownFields()
				err = dec.Decode(&change.Rules)
			}
			if err == nil {
				err = change.Rules.Check()
			}
			if err == nil && since != "" {
				change.Since, err = time.ParseInLocation("2006-01-02 15:04", since, figures.WIB)
			}
			if err != nil {
				return done, usageError{fmt.Errorf("%s: %w", args[0], err)}
			}
			return done, c.Call(cmd.Context(), http.MethodPut, "/figures/rules", change, &done)
		}, showDone)
	set.Flags().StringVar(&reason, "reason", "", "why; it is shown to citizens on /metode")
	set.Flags().StringVar(&since, "since", "", `from when on, "2026-11-01 00:00" (WIB); in the past: every figure since then is computed anew, and what was published becomes a revision`)
	rules.AddCommand(show, set)
	cmd.AddCommand(rules)
	return cmd
}
