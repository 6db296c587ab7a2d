package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/settings"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// limit is how long a test waits for what must come; nothing is measured by it.
const limit = time.Minute

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never came: %s", what)
		}
	}
}

func TestMain(m *testing.M) { os.Exit(influxtest.Run(m)) }

// begin starts a server on free ports of loopback, with buckets of the test's own.
func begin(t *testing.T, data, influxURL string, change ...func(*Options)) (*Server, *Client) {
	t.Helper()
	o := Defaults()
	o.Data, o.Clock, o.Influx.URL = data, "assume-synchronised", influxURL
	o.Influx.Prefix = t.Name()
	o.HTTP.Listen, o.MQTT.Listen, o.MQTT.Plain = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	o.Journal.Quota = settings.Bytes(64 << 20)
	o.Version, o.Logger = "test", slog.New(slog.DiscardHandler)
	for _, f := range change {
		f(&o)
	}
	if err := o.Resolve(); err != nil {
		t.Fatal(err)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, s) })
	c := NewClient(o.Data)
	t.Cleanup(c.http.CloseIdleConnections)
	return s, c
}

func end(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func call[T any](t *testing.T, c *Client, method, path string, body any) T {
	t.Helper()
	var out T
	if err := c.Call(t.Context(), method, path, body, &out); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return out
}

// play lets one gateway send until at least one message is acknowledged.
func play(t *testing.T, s *Server, who fleet.Credential) {
	t.Helper()
	r, err := fleet.Run(t.Context(), fleet.Options{
		Server: "mqtt://" + s.health().Addresses["mqtt_plain"], Gateways: []fleet.Credential{who},
		Interval: 50 * time.Millisecond, For: 500 * time.Millisecond,
	})
	if err != nil || r.Acked == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestAServersLife(t *testing.T) {
	db := influxtest.New(t)
	http.DefaultClient.CloseIdleConnections() // influxtest's
	before := runtime.NumGoroutine()
	data := filepath.Join(t.TempDir(), "data")
	s, c := begin(t, data, db.URL)

	// The ready file, for who started the server.
	file := filepath.Join(data, "ready.json")
	if err := s.WriteReady(file); err != nil {
		t.Fatal(err)
	}
	var ready Ready
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &ready)
	}
	if err != nil || !ready.Ready || ready.FirstPassword == "" || !strings.HasPrefix(ready.Pages, "http://127.0.0.1:") || ready.Addresses["mqtt"] == "" {
		t.Errorf("%s, %v", text, err)
	}
	for _, name := range []string{file, SocketPath(data)} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info.Mode(), err)
		}
	}
	other, err := New(s.o)
	if err == nil {
		err = other.Start(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "another pantau works in it") {
		t.Errorf("a second server in the same folder: %v", err)
	}

	// Gateways, through the admin socket.
	claim := call[Claim](t, c, http.MethodPost, "/gateways", AddGateway{District: "3374", Name: "balaikota", Site: "SMG-01"})
	if claim.Node != "3374/balaikota" || claim.Code == "" || claim.Server != ready.Addresses["mqtt"] || time.Until(claim.Expires) > 24*time.Hour {
		t.Errorf("%+v", claim)
	}
	who := fleet.Credential{Node: telemetry.Node{Group: "3374", ID: "stasiun-1"}, Password: "sandi-yang-cukup-panjang"}
	imported := call[ImportResult](t, c, http.MethodPost, "/gateways/import", strings.NewReader("group,name,password,district,site\n3374,stasiun-1,"+who.Password+",3374,\n"))
	if imported.Imported != 1 {
		t.Fatalf("%+v", imported)
	}
	call[Done](t, c, http.MethodPut, "/rules", strings.NewReader(`[{"id":"always","name":"Selalu","name_en":"Always","quantity":"pm2_5","condition":"above","threshold":-1,"clear":-2,"severity":"warning"}]`))
	eventually(t, "the rules in force", func() bool { return len(call[[]alert.Rule](t, c, http.MethodGet, "/rules", nil)) == 1 })
	play(t, s, who)
	eventually(t, "what was sent in the database", func() bool {
		l := call[Ledger](t, c, http.MethodGet, "/ledger", nil).Total
		return l.Stored > 0 && l.Stored == l.Expected
	})
	if l, err := (ledger{s}).Gateway(t.Context(), who.Node); err != nil || l.Stored == 0 {
		t.Errorf("the gateway's own ledger: %+v, %v", l, err)
	}
	eventually(t, "an alert", func() bool { open, _ := alerts{s}.Open(t.Context()); return len(open) == 1 })
	if h := call[Health](t, c, http.MethodGet, "/health", nil); !h.Ready || len(h.Problems) != 0 {
		t.Errorf("%+v", h)
	}

	// A revoked gateway is cut off and missed by nobody: its alert resolves, its
	// values go.
	call[Done](t, c, http.MethodPost, "/gateways/revoke", NodeRef{Node: who.Node.String()})
	eventually(t, "the end of its alert", func() bool { open, _ := alerts{s}.Open(t.Context()); return len(open) == 0 })
	eventually(t, "the end of its values", func() bool { _, known := s.view.node(who.Node); return !known && len(s.view.of(who.Node)) == 0 })
	gateways, err := network{s}.Gateways(t.Context())
	if err != nil || len(gateways) != 2 || gateways[1].State != dashboards.StateRevoked {
		t.Errorf("%+v, %v", gateways, err)
	}
	for path, body := range map[string]any{
		"/gateways/revoke": NodeRef{Node: "3374/tidak-ada"}, "/gateways": AddGateway{District: "9999", Name: "x"}, "/users/reset": UserRef{Name: "nobody"},
	} {
		var done Done
		if err := c.Call(t.Context(), http.MethodPost, path, body, &done); err == nil {
			t.Errorf("%s %+v: %+v; want a refusal", path, body, done)
		}
	}

	c.http.CloseIdleConnections()
	end(t, s)
	var h Health
	if err := c.Call(t.Context(), http.MethodGet, "/health", nil, &h); !errors.Is(err, ErrNoServer) {
		t.Errorf("a stopped server: %v", err)
	}
	if _, err := os.Stat(SocketPath(data)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its socket is left behind: %v", err)
	}
	var stacks string
	defer func() {
		if t.Failed() {
			t.Log(stacks)
		}
	}()
	eventually(t, "the end of every goroutine", func() bool {
		text := make([]byte, 1<<20)
		stacks = string(text[:runtime.Stack(text, true)])
		return runtime.NumGoroutine() <= before
	})

	// What it knew, it knows again.
	s, c = begin(t, data, db.URL)
	if s.FirstPassword() != "" {
		t.Error("a second start makes a second first password")
	}
	eventually(t, "the gateways", func() bool {
		list := call[[]Gateway](t, c, http.MethodGet, "/gateways", nil)
		return len(list) == 2 && list[1].State == "revoked"
	})
}

// Whoever watches the server by Prometheus finds names, units and help texts as
// its convention has them.
func TestMetricsFollowTheConvention(t *testing.T) {
	db := influxtest.Shared(t)
	s, c := begin(t, filepath.Join(t.TempDir(), "data"), db.URL)
	who := fleet.Credential{Node: telemetry.Node{Group: "3374", ID: "stasiun-1"}, Password: "sandi-yang-cukup-panjang"}
	call[ImportResult](t, c, http.MethodPost, "/gateways/import", strings.NewReader("group,name,password,district,site\n3374,stasiun-1,"+who.Password+",3374,\n"))
	play(t, s, who)
	problems, err := testutil.GatherAndLint(s.metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		// Hours and days are things here, counted one by one, not spans of time.
		if !strings.Contains(p.Text, `instead of "hours"`) && !strings.Contains(p.Text, `instead of "days"`) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	families, err := s.metrics.Gather()
	if err != nil || len(families) < 50 {
		t.Fatalf("%d metrics, %v", len(families), err)
	}
	for _, f := range families {
		own := strings.HasPrefix(f.GetName(), "pantau_")
		if !own && !strings.HasPrefix(f.GetName(), "go_") && !strings.HasPrefix(f.GetName(), "process_") {
			t.Errorf("%s is nobody's", f.GetName())
		}
		if own && !strings.HasSuffix(f.GetHelp(), ".") {
			t.Errorf("%s: %q is no sentence", f.GetName(), f.GetHelp())
		}
	}
}

// What a monitor asks: alive at once, ready while gateways can connect.
func TestReadyWhileTheDoorIsOpen(t *testing.T) {
	db := influxtest.Shared(t)
	s, _ := begin(t, filepath.Join(t.TempDir(), "data"), db.URL)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	ask := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(s.pagesURL() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for _, open := range []bool{true, false, true} {
		door := s.gate.Load()
		want := http.StatusOK
		if !open { // the pages are served before the door opens
			s.gate.Store(nil)
			want = http.StatusServiceUnavailable
		}
		if code, body := ask("/readyz"); code != want || !strings.Contains(body, fmt.Sprintf(`"ready":%v`, open)) {
			t.Errorf("/readyz with the door open %v: %d %s", open, code, body)
		}
		if code, body := ask("/healthz"); code != http.StatusOK || body != "alive\n" {
			t.Errorf("/healthz: %d %q", code, body)
		}
		s.gate.Store(door)
	}
}

// A damaged checkpoint is set aside, and the journal no
// longer holds the entry that set the rules: alerts must not end in silence.
func TestADamagedCheckpointForgetsNoRules(t *testing.T) {
	db := influxtest.Shared(t)
	data := filepath.Join(t.TempDir(), "data")
	s, c := begin(t, data, db.URL)
	own := []alert.Rule{alert.Default()[0]}
	own[0].ID = "our-own"
	call[Done](t, c, http.MethodPut, "/rules", own)
	eventually(t, "the rules in force", func() bool { return len(call[[]alert.Rule](t, c, http.MethodGet, "/rules", nil)) == 1 })
	end(t, s)
	c.http.CloseIdleConnections()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(data, "journal"), MaxBytes: 64 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, last, err := j.Bounds(t.Context()); err != nil || j.Purge(t.Context(), last) != nil {
		t.Fatalf("purge the journal: %v", err)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(data, "state", "*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no checkpoints: %v", err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, c = begin(t, data, db.URL)
	if rules := call[[]alert.Rule](t, c, http.MethodGet, "/rules", nil); len(rules) != 1 || rules[0].ID != "our-own" {
		t.Errorf("the rules are %+v", rules)
	}
}

// InfluxDB away: gateways come in, nothing is lost, and the server says why it
// is degraded.
func TestWithoutItsDatabaseTheServerIsDegraded(t *testing.T) {
	db := influxtest.New(t)
	s, c := begin(t, filepath.Join(t.TempDir(), "data"), db.URL)
	who := fleet.Credential{Node: telemetry.Node{Group: "3374", ID: "stasiun-1"}, Password: "sandi-yang-cukup-panjang"}
	call[ImportResult](t, c, http.MethodPost, "/gateways/import", strings.NewReader("group,name,password,district,site\n3374,stasiun-1,"+who.Password+",3374,\n"))
	play(t, s, who)
	eventually(t, "what was sent in the database", func() bool { return call[Ledger](t, c, http.MethodGet, "/ledger", nil).Total.Stored > 0 })
	db.Stop()
	play(t, s, who) // acknowledged all the same
	ask := func() (code int, h Health) {
		resp, err := http.Get(s.pagesURL() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, h
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	eventually(t, "the cause", func() bool {
		code, h := ask()
		if code != http.StatusOK || !h.Ready {
			t.Fatalf("%d %+v: gateways can connect, so it is ready", code, h)
		}
		return strings.Contains(fmt.Sprint(h.Problems), "reader store")
	})
	again, err := db.Restart(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Kill)
	eventually(t, "the backlog in the database", func() bool {
		_, h := ask()
		l := call[Ledger](t, c, http.MethodGet, "/ledger", nil).Total
		return len(h.Problems) == 0 && l.Stored == l.Expected && l.Missing == 0
	})
}
