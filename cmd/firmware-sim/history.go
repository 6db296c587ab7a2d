package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// historyCommand plays the posts of the simulated province.
func historyCommand() *cobra.Command {
	var s serverFlags
	var o fleet.HistoryOptions
	var credentials, makeFiles, readyFile string
	var districts []string
	cmd := &cobra.Command{
		Use: "history --server URL --credentials FILE", Short: "Play the posts of a province that have been measuring for 30 days",
		Long: `history plays measuring posts in all 35 districts: air every 10 minutes, meters
every 15, bins every 60, and three full air quality stations, one of them with
gaps. What they took before the start lies in their spools and goes out as
backlog, the newest day first, beside what they take now.

A day is one run of a post's gateway: its records have the same epoch, numbers and
values however often they are sent, so an interrupted play goes on (--state)
without doubling anything.

--make DIR writes what registers the posts, and ends: sites.csv, sensors.csv and
deployments.csv for "pantau place import", then gateways.csv for "pantau gateway
import --simulated", which is also the --credentials file.

The ledger (--ledger) is that of fleet. Exit codes: 0 everything was acknowledged,
or ended by a signal; 1 failed, or something is not acknowledged; 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Posts = slices.DeleteFunc(fleet.Province(), func(p fleet.Post) bool {
				return len(districts) > 0 && !slices.Contains(districts, p.District.Code)
			})
			if makeFiles != "" {
				return writePosts(makeFiles, o.Posts)
			}
			if s.server == "" || credentials == "" {
				return usageError{errors.New("name the server and the logins: --server mqtts://HOST:PORT --credentials FILE")}
			}
			all, err := fleet.ReadCredentials(credentials)
			if err != nil {
				return err
			}
			o.Logins = map[telemetry.Node]fleet.Credential{}
			for _, c := range all {
				o.Logins[c.Node] = c
			}
			if o.CA, err = s.authority(); err != nil {
				return err
			}
			o.Server, o.Seed, o.Logger, o.Started = s.server, s.seed, s.logger(), touch(readyFile)
			r, err := fleet.RunHistory(cmd.Context(), o)
			if errors.Is(err, fleet.ErrOptions) {
				return usageError{err}
			}
			text := fmt.Sprintf("%d posts in %v: %d of %d records acknowledged; %d readings in %d messages (%.0f readings/s), %d resent, %d connections; PUBACK p50 %v, p99 %v",
				r.Posts, r.Elapsed.Round(time.Millisecond), r.Arrived, r.Due, r.Readings, r.Messages, float64(r.Readings)/r.Elapsed.Seconds(), r.Resent, r.Connects,
				r.P50.Round(time.Microsecond), r.P99.Round(time.Microsecond))
			if r.Last != "" {
				text += "\nlast: " + r.Last
			}
			err = errors.Join(err, s.print(cmd.OutOrStdout(), r, text))
			if err == nil && o.Once && r.Arrived < r.Due && cmd.Context().Err() == nil {
				err = fmt.Errorf("%d records were not acknowledged; the last reason: %s", r.Due-r.Arrived, r.Last)
			}
			return err
		},
	}
	s.bind(cmd)
	f := cmd.Flags()
	f.StringVar(&credentials, "credentials", "", "CSV file: group, name, password")
	f.StringVar(&makeFiles, "make", "", "write the files that register the posts into this folder, and end")
	f.StringSliceVar(&districts, "districts", nil, "only the posts of these, by BPS code (default: all 35)")
	f.DurationVar(&o.Past, "past", 30*24*time.Hour, "so much past lies in every spool at the first start")
	f.StringVar(&o.State, "state", "", "file of what is acknowledged; a later start goes on there")
	f.BoolVar(&o.Once, "once", false, "end when everything taken so far is acknowledged")
	f.DurationVar(&o.Drain, "drain", 0, "with --once: end after this time in any case")
	f.IntVar(&o.Window, "window", 4, "unacknowledged messages of a post")
	f.StringVar(&o.Ledger, "ledger", "", "file for the lines S and A")
	f.StringVar(&readyFile, "ready-file", "", "made once all posts have connected")
	return cmd
}

// writePosts writes what registers the posts at a server.
func writePosts(dir string, posts []fleet.Post) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write the posts: %w", err)
	}
	return fleet.WritePosts(dir, posts, time.Now())
}
