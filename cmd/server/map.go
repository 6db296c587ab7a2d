package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/server"
)

func mapCommand() *cobra.Command {
	cmd := group("map", "Import and list boundaries of districts and subdistricts")
	cmd.AddCommand(mapImport(),
		adminCommand("list", "List the imported maps", none,
			func(c *server.Client, cmd *cobra.Command, _ []string) ([]server.Map, error) {
				var maps []server.Map
				return maps, c.Call(cmd.Context(), http.MethodGet, "/maps", nil, &maps)
			},
			func(w io.Writer, maps []server.Map) error {
				fmt.Fprintln(w, "LEVEL\tAREAS\tIMPORTED\tFILE\tSHA-256")
				for _, m := range maps {
					fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", m.Level, m.Areas, places.FormatTime(m.Imported), m.Source, m.Hash)
				}
				return nil
			}))
	return cmd
}

func mapImport() *cobra.Command {
	var dry bool
	var code, name string
	cmd := adminCommand("import FILE", "Take the boundaries of districts or subdistricts from GeoJSON or TopoJSON; exit code 1 if a feature is wrong", exactly(1, "one file"),
		func(c *server.Client, cmd *cobra.Command, args []string) (places.MapResult, error) {
			var result places.MapResult
			file, err := readFile(args[0], places.MaxMap)
			if err != nil {
				return result, usageError{err}
			}
			path := "/maps/import"
			if dry {
				path = "/maps/check"
			}
			q := url.Values{"source": {filepath.Base(args[0])}, "code": {code}, "name": {name}}
			return result, c.Call(cmd.Context(), http.MethodPost, path+"?"+q.Encode(), bytes.NewReader(file), &result)
		},
		func(w io.Writer, r places.MapResult) error {
			verb := "imported"
			if r.Dry {
				verb = "would be imported"
			}
			for _, l := range r.Levels {
				fmt.Fprintf(w, "%d %ss %s: %d of %d points of their borders, %d KiB\n", l.Areas, l.Level, verb, l.Points, l.Of, (l.Bytes+1023)>>10)
				if len(l.Missing) > 0 {
					fmt.Fprintf(w, "no %s of: %s\n", l.Level, strings.Join(l.Missing, ", "))
				}
			}
			if r.Outside > 0 {
				fmt.Fprintf(w, "%d features of other provinces were left out\n", r.Outside)
			}
			return nil
		})
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only check the file")
	cmd.Flags().StringVar(&code, "code-property", "", "property with the BPS code (default: the first that is there of "+strings.Join(places.CodeProperties, ", ")+")")
	cmd.Flags().StringVar(&name, "name-property", "", "property with the name (default: the first that is there of "+strings.Join(places.NameProperties, ", ")+")")
	cmd.Long = `Take the boundaries of districts (kabupaten and kota) or subdistricts (kecamatan)
from a GeoJSON or TopoJSON file in WGS 84 degrees. They take the place of the map
of that level before.

An area is known by its BPS code: 3374, 33.74 or ID3374 for a district, 337401,
33.74.01 or 3374010 for a subdistrict. What does not begin with 33 is left out.
Borders are simplified for a screen; a border that two areas share stays one. What
is not shared in the file to within about 40 m does not become so.

A feature that can't be taken is named, and then nothing is changed.`
	return cmd
}
