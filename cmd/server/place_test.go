package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/server"
)

// say runs the command line and returns what it prints and its exit code.
func say(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := root()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	if err != nil {
		out.WriteString(err.Error())
	}
	return out.String(), exitCode(err)
}

// What an officer does to write down where things hang: export, edit, try, import.
// The sites of the version before are there.
func TestPlacesByTheCommandLine(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	closing, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := server.Defaults()
	o.Data, o.Clock, o.Influx.URL = data, "assume-synchronised", "http://127.0.0.1:1"
	o.HTTP.Listen, o.MQTT.Listen, o.Logger = "127.0.0.1:0", "127.0.0.1:0", slog.New(slog.DiscardHandler)
	o.Journal.Quota = 64 << 20
	if err := o.Resolve(); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(data, "journal"), MaxBytes: 64 << 20, Reserve: 1 << 20, Logger: o.Logger})
	if err != nil {
		t.Fatal(err)
	}
	kv, err := j.KV(t.Context(), "registry", journal.KVOptions{})
	if err == nil {
		_, err = kv.Put(t.Context(), "site/johar", []byte(`{"code":"johar","name":"Pasar Johar","district":"3374","lat":0,"lon":0,"public":true}`))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(closing); err != nil {
		t.Fatal(err)
	}
	s, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(closing); err != nil {
			t.Error(err)
		}
	}()

	run := func(want int, says string, args ...string) {
		t.Helper()
		out, code := say(t, append(args, "--data", data)...)
		if code != want || !strings.Contains(out, says) {
			t.Errorf("pantau %s: exit code %d, want %d; want %q in\n%s", strings.Join(args, " "), code, want, says, out)
		}
	}
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(data, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run(0, "Pasar Johar", "place", "list")
	book := filepath.Join(data, "places.xlsx")
	run(0, "places.xlsx is written", "place", "export", book)
	run(2, "exists", "place", "export", book)
	run(2, ".xlsx or .zip", "place", "export", filepath.Join(data, "places.pdf"))
	run(0, "0 changed, 1 the same", "place", "import", book)

	bad := write("bad.csv", "code,district\njohar,3399\n")
	run(1, `sites, row 2, column district (B2): "3399"`, "place", "import", bad)
	sites := write("sites.csv", "code;name;district\njohar;Johar Utara;3374\nponcol;;3374\n")
	deployments := write("deployments.csv", "site,node,device,from\nponcol,3374/gw-1,*,2026-11-01 07:00\n")
	run(0, "3 would change, 0 the same", "place", "import", "--dry-run", sites, deployments)
	run(0, "Pasar Johar", "place", "list")
	run(0, "3 changed, 0 the same", "place", "import", sites, deployments)
	run(0, "Johar Utara", "place", "list")
	run(0, "2026-11-01 07:00", "place", "list")
	run(0, `"node":`, "place", "list", "--json")
	run(2, "no such file", "place", "import", filepath.Join(data, "none.csv"))
	run(2, "must be .csv", "place", "import", book, sites)

	kab := write("kab.geojson", `{"type":"FeatureCollection","features":[{"properties":{"kab_id":"33.74"},"geometry":{"type":"Polygon","coordinates":[[[110.3,-6.9],[110.5,-6.9],[110.4,-7.1],[110.3,-6.9]]]}}]}`)
	run(1, "feature 1: no BPS code", "map", "import", kab)
	run(0, "1 districts would be imported", "map", "import", "--dry-run", "--code-property", "kab_id", kab)
	run(0, "no district of: 3301, 3302", "map", "import", "--code-property", "kab_id", kab)
	run(0, "kab.geojson", "map", "list")

	var told server.AuditPage
	if err := server.NewClient(data).Call(t.Context(), http.MethodGet, "/audit?action=place.import", nil, &told); err != nil || !strings.Contains(fmt.Sprintf("%+v", told), "sites johar: changed name") {
		t.Errorf("the audit log: %v, %+v", err, told)
	}
}
