package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/internal/server"
)

func demoCommand() *cobra.Command {
	cmd := group("demo", "Remove what was only played")
	remove := adminCommand("remove", "Remove simulated gateways, their readings, sites and figures; real ones stay", none,
		func(c *server.Client, cmd *cobra.Command, _ []string) (server.DemoRemoved, error) {
			var r server.DemoRemoved
			return r, c.Call(cmd.Context(), http.MethodPost, "/demo/remove", nil, &r)
		},
		func(w io.Writer, r server.DemoRemoved) error {
			for _, kept := range r.Kept {
				fmt.Fprintln(w, "kept:", kept)
			}
			_, err := fmt.Fprintf(w, "removed: %d simulated gateways with their readings, %d sites, %d sensors\n", r.Gateways, r.Sites, r.Sensors)
			return err
		})
	remove.Long = `remove takes away everything that was only played: gateways that were registered
with --simulated and their readings, hours and days in the database, sites where
nothing else ever hung, and the figures of these. What belongs to a real gateway
stays and is named. The ledger goes on counting what they sent.`
	cmd.AddCommand(remove)
	return cmd
}
