package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/server"
)

func placeCommand() *cobra.Command {
	cmd := group("place", "Import, export and list sites, sensors and deployments")
	cmd.Example = "  pantau place export places.xlsx\n  # edit places.xlsx\n  pantau place import places.xlsx --dry-run\n  pantau place import places.xlsx"
	cmd.AddCommand(placeImport(), placeExport(), placeList())
	return cmd
}

func placeImport() *cobra.Command {
	var dry bool
	atLeastOne := func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("want a file; see %s --help", c.CommandPath())}
		}
		return nil
	}
	cmd := adminCommand("import FILE…", "Add and change sites, sensors and deployments; exit code 1 if a cell is wrong, and then nothing is changed", atLeastOne,
		func(c *server.Client, cmd *cobra.Command, args []string) (places.ImportResult, error) {
			var result places.ImportResult
			file, err := bundle(args)
			if err != nil {
				return result, usageError{err}
			}
			path := "/places/import"
			if dry {
				path = "/places/check"
			}
			err = c.Call(cmd.Context(), http.MethodPost, path, bytes.NewReader(file), &result)
			if err == nil && !result.OK() {
				err = verdict{fmt.Errorf("%d wrong cells, nothing was changed", len(result.Wrong)+result.More)}
			}
			return result, err
		},
		func(w io.Writer, r places.ImportResult) error {
			for _, c := range r.Wrong {
				fmt.Fprintln(w, c)
			}
			if r.More > 0 {
				fmt.Fprintf(w, "and %d more\n", r.More)
			}
			if !r.OK() {
				return nil
			}
			for _, c := range r.Changed {
				fmt.Fprintln(w, c)
			}
			verb := "changed"
			if r.Dry {
				verb = "would change"
			}
			_, err := fmt.Fprintf(w, "%d %s, %d the same\n", len(r.Changed), verb, r.Same)
			return err
		})
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only check, and say what would change")
	cmd.Long = fmt.Sprintf(`Add and change sites, sensors and deployments. Nothing is removed.

FILE is a workbook (.xlsx) with sheets, a .zip of CSV files, or up to three CSV
files (UTF-8; comma, semicolon or tab). A sheet is known by its name or by its
heads, which are, in any order:

  %s: %s
  %s: %s
  %s: %s

A column that is left out leaves what is stored as it is; an empty cell empties
it. Times are 2026-11-01 or "2026-11-01 07:00" (WIB), or RFC 3339. A deployment's
node is group/name of the gateway, its device "*" for all of the gateway, its main
the quantities for which it is the site's utama (empty: all that nobody else
claims, "-": none), its id may be empty if it is new.

All cells are checked first: each wrong one is listed, and with a single one
nothing is changed.`,
		places.SheetSites, strings.Join(places.Columns(places.SheetSites), ", "),
		places.SheetSensors, strings.Join(places.Columns(places.SheetSensors), ", "),
		places.SheetDeployments, strings.Join(places.Columns(places.SheetDeployments), ", "))
	return cmd
}

// bundle reads one file, or several CSV files as one zip.
func bundle(names []string) ([]byte, error) {
	if len(names) == 1 {
		return readFile(names[0], places.MaxImport)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		if filepath.Ext(name) != ".csv" {
			return nil, fmt.Errorf("%s: of several files all must be .csv", name)
		}
		text, err := readFile(name, places.MaxImport)
		if err != nil {
			return nil, err
		}
		f, err := z.Create(filepath.Base(name))
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(text); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return b.Bytes(), err
}

// readFile reads a file of at most so many bytes.
func readFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d MiB: split or simplify it", name, most>>20)
	}
	return text, err
}

func placeExport() *cobra.Command {
	return adminCommand("export FILE.xlsx|FILE.zip", "Write all sites, sensors and deployments to a new file that import takes", exactly(1, "one file"),
		func(c *server.Client, cmd *cobra.Command, args []string) (server.Done, error) {
			format := strings.TrimPrefix(filepath.Ext(args[0]), ".")
			if format != places.FormatXLSX && format != places.FormatZIP {
				return server.Done{}, usageError{fmt.Errorf("%s: want a name that ends with .%s or .%s (CSV files)", args[0], places.FormatXLSX, places.FormatZIP)}
			}
			var file server.File
			if err := c.Call(cmd.Context(), http.MethodGet, "/places/export?format="+format, nil, &file); err != nil {
				return server.Done{}, err
			}
			f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if err != nil {
				return server.Done{}, usageError{err}
			}
			_, err = f.Write(file.Data)
			if err := errors.Join(err, f.Close()); err != nil {
				return server.Done{}, fmt.Errorf("write %s: %w", args[0], err)
			}
			return server.Done{Message: args[0] + " is written"}, nil
		}, showDone)
}

func placeList() *cobra.Command {
	return adminCommand("list", "List sites with what is written down to hang there", none,
		func(c *server.Client, cmd *cobra.Command, _ []string) (server.Places, error) {
			var p server.Places
			return p, c.Call(cmd.Context(), http.MethodGet, "/places", nil, &p)
		},
		func(w io.Writer, p server.Places) error {
			at := map[string][]places.Deployment{}
			for _, d := range p.Deployments {
				at[d.Site] = append(at[d.Site], d)
			}
			fmt.Fprintln(w, "SITE\tNAME\tDISTRICT\tCLASS\tPUBLIC\tCLOSED\tGATEWAY\tDEVICE\tSENSOR\tFROM\tTO\tUTAMA")
			for i := range p.Sites {
				s := &p.Sites[i]
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%t\t%s", s.Code, s.Name, s.District, s.ClassAt(time.Now()), s.Public, places.FormatTime(s.Closed))
				for i, d := range at[s.Code] {
					if i > 0 {
						fmt.Fprint(w, "\n\t\t\t\t\t")
					}
					fmt.Fprintf(w, "\t%s\t%s\t%s\t%s\t%s\t%s", d.Node, d.Device, d.Sensor, places.FormatTime(d.From), places.FormatTime(d.To), strings.Join(d.Main, " "))
				}
				fmt.Fprintln(w)
			}
			return nil
		})
}
