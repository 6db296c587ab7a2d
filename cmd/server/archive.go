package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/ingest/archive"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/server"
)

func archiveCommand() *cobra.Command {
	cmd := group("archive", "List and check the files of raw readings that have left the database, and how long readings stay")
	cmd.AddCommand(
		adminCommand("list", "List the archive's files", none,
			func(c *server.Client, cmd *cobra.Command, _ []string) (server.ArchiveList, error) {
				var v server.ArchiveList
				return v, c.Call(cmd.Context(), http.MethodGet, "/archive", nil, &v)
			},
			func(w io.Writer, v server.ArchiveList) error {
				fmt.Fprintln(w, "KIND\tDAY\tREVISION\tPOINTS\tBYTES\tSHA-256")
				for _, f := range v.List {
					fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", f.Kind, f.Day, f.Revision, f.Points, f.Bytes, f.SHA256)
				}
				for _, line := range []struct{ what, why string }{{"waits", v.Waits}, {"problem", v.Problem}} {
					if line.why != "" {
						fmt.Fprintf(w, "%s: %s\n", line.what, line.why)
					}
				}
				return nil
			}),
		adminCommand("verify", "Read every file and compare it with the manifest; exit code 1 if one is damaged or missing", none,
			func(c *server.Client, cmd *cobra.Command, _ []string) (archive.Verdict, error) {
				var v archive.Verdict
				err := c.Call(cmd.Context(), http.MethodGet, "/archive/verify", nil, &v)
				if err == nil && len(v.Bad) > 0 {
					err = verdict{fmt.Errorf("%d of %d files are damaged or missing: bring them back from a backup", len(v.Bad), v.Files)}
				}
				return v, err
			},
			func(w io.Writer, v archive.Verdict) error {
				for _, bad := range v.Bad {
					fmt.Fprintln(w, bad)
				}
				_, err := fmt.Fprintf(w, "%d files, %d points\n", v.Files, v.Points)
				return err
			}),
		retentionCommand(),
	)
	return cmd
}

func retentionCommand() *cobra.Command {
	cmd := group("retention", "Show and set for how many days raw readings stay in the database before they go to the archive")
	cmd.Example = "  pantau archive retention set waste=90 energy=90 --reason \"rapat 12 Januari\""
	show := adminCommand("show", "Print what was set, the oldest first; the last that has begun is in force", none,
		func(c *server.Client, cmd *cobra.Command, _ []string) ([]archive.DatedRetention, error) {
			var all []archive.DatedRetention
			return all, c.Call(cmd.Context(), http.MethodGet, "/archive/retention", nil, &all)
		},
		func(w io.Writer, all []archive.DatedRetention) error {
			fmt.Fprintln(w, "SINCE\tDAYS\tBY\tREASON")
			for _, r := range all {
				since, days := "ever", ""
				if !r.Since.IsZero() {
					since = r.Since.In(figures.WIB).Format("2006-01-02 15:04")
				}
				for _, kind := range slices.Sorted(maps.Keys(r.Days)) {
					days += fmt.Sprintf(" %s=%d", kind, r.Days[kind])
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", since, days[1:], r.By, r.Reason)
			}
			return nil
		})
	var change server.SetRetention
	var since string
	set := adminCommand("set KIND=DAYS...", "Set the days of some kinds; the others keep theirs", cobra.ArbitraryArgs,
		func(c *server.Client, cmd *cobra.Command, args []string) (server.Done, error) {
			var done server.Done
			var err error
			if change.Days, err = server.ParseRetention(args); err == nil && since != "" {
				change.Since, err = time.ParseInLocation("2006-01-02 15:04", since, figures.WIB)
			}
			if err != nil {
				return done, usageError{err}
			}
			return done, c.Call(cmd.Context(), http.MethodPut, "/archive/retention", change, &done)
		}, showDone)
	set.Flags().StringVar(&change.Reason, "reason", "", "why")
	set.Flags().StringVar(&since, "since", "", `from when on, "2026-12-01 00:00" (WIB); without it from now on`)
	cmd.AddCommand(show, set)
	return cmd
}
