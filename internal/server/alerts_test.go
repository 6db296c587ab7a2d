package server

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/gateway"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/ingest/notify"
	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// listener is a webhook that notes which states of which rules it was told.
type listener struct {
	mu   sync.Mutex
	told map[string]map[string]bool // rule and state -> keys
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m notify.Message
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &m) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range m.Alerts {
		what := t.Rule + " " + string(t.State)
		if l.told[what] == nil {
			l.told[what] = map[string]bool{}
		}
		l.told[what][t.Key] = true
	}
}

func (l *listener) times(rule string, state alert.State) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.told[rule+" "+string(state)])
}

// An operator's acknowledgement is there after a restart, and whoever comes
// second hears it. A claim that a second key shows (statement 8) is an alert that
// people are told of; no reading ends it, so whoever looks after it does.
func TestAcknowledgementsOutliveARestart(t *testing.T) {
	l := &listener{told: map[string]map[string]bool{}}
	web := httptest.NewServer(l)
	t.Cleanup(web.Close)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("the secret that signs"), 0o600); err != nil {
		t.Fatal(err)
	}
	db, data := influxtest.Shared(t), filepath.Join(t.TempDir(), "data")
	start := func() (*Server, *Client) {
		return begin(t, data, db.URL, func(o *Options) {
			o.Webhooks = []WebhookOptions{{Name: "piket", URL: web.URL, SecretFile: secret, Allow: []string{"127.0.0.0/8"}}}
		})
	}
	s, c := start()
	open := func(rule string) *dashboards.Alert {
		t.Helper()
		all, err := alerts{s}.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			if strings.HasPrefix(all[i].ID, rule+"|") {
				return &all[i]
			}
		}
		return nil
	}
	claimTwice := func(name string) {
		t.Helper()
		claim := call[Claim](t, c, http.MethodPost, "/gateways", AddGateway{District: "3374", Name: name})
		for _, thief := range []bool{false, true} {
			if _, err := gateway.Claim(t.Context(), gateway.ClaimOptions{Code: claim.Code, Server: claim.Server, Data: t.TempDir()}); (err != nil) != thief {
				t.Fatalf("claim of %s, by a thief %v: %v", name, thief, err)
			}
		}
	}
	who := fleet.Credential{Node: telemetry.Node{Group: "3374", ID: "stasiun-1"}, Password: "sandi-yang-cukup-panjang"}
	call[ImportResult](t, c, http.MethodPost, "/gateways/import", strings.NewReader("group,name,password,district,site\n3374,stasiun-1,"+who.Password+",3374,\n"))
	call[Done](t, c, http.MethodPut, "/rules", strings.NewReader(`[{"id":"always","name":"Selalu","name_en":"Always","quantity":"pm2_5","condition":"above","threshold":-1,"clear":-2,"severity":"warning"}]`))
	eventually(t, "the rules in force", func() bool { return len(call[[]alert.Rule](t, c, http.MethodGet, "/rules", nil)) == 1 })
	play(t, s, who)
	eventually(t, "the rule's alert", func() bool { return open("always") != nil })
	claimTwice("balaikota")
	misuse := open(ruleMisuse)
	if misuse == nil || misuse.Severity != dashboards.Critical || misuse.Node.ID != "balaikota" || misuse.Rule == "" {
		t.Fatalf("the alert of a claim used twice: %+v", misuse)
	}
	eventually(t, "both were told", func() bool { return l.times("always", alert.Firing) == 1 && l.times(ruleMisuse, alert.Firing) == 1 })

	if err := (alerts{s}).Acknowledge(t.Context(), open("always").ID, "sari", "saya ke lokasi"); err != nil {
		t.Fatal(err)
	}
	before := open("always")
	if err := (alerts{s}).Acknowledge(t.Context(), before.ID, "budi", ""); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second one: %v", err)
	}
	if err := (alerts{s}).Acknowledge(t.Context(), "no-such-alert", "budi", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an alert that does not fire: %v", err)
	}
	// The server ends between the acknowledgement of the other and its end.
	if err := s.book.Acknowledge(t.Context(), misuse.ID, ingest.Acknowledgement{Who: "budi"}); err != nil {
		t.Fatal(err)
	}
	end(t, s)
	c.http.CloseIdleConnections()

	s, c = start()
	if after := open("always"); after == nil || after.AckBy != "sari" || after.AckNote != "saya ke lokasi" || !after.AckAt.Equal(before.AckAt) || before.AckAt.IsZero() {
		t.Errorf("after the restart: %+v, before it: %+v", after, before)
	}
	if left := open(ruleMisuse); left != nil {
		t.Errorf("somebody looks after it, so it should have ended: %+v", left)
	}
	claimTwice("pasar")
	if misuse = open(ruleMisuse); misuse == nil {
		t.Fatal("a second claim used twice is no alert")
	}
	if err := (alerts{s}).Acknowledge(t.Context(), misuse.ID, "sari", ""); err != nil || open(ruleMisuse) != nil {
		t.Errorf("%v; open after it was looked after: %+v", err, open(ruleMisuse))
	}
	eventually(t, "the ends were told, and no alert under two keys", func() bool {
		return l.times(ruleMisuse, alert.Firing) == 2 && l.times(ruleMisuse, alert.Resolved) == 2 && l.times("always", alert.Firing) == 1
	})
}
