package server

import (
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/influxtest"
)

// Statement 25 for the command line: each change names the user of the machine.
func TestPeopleAndTheirDeedsByTheAdminSocket(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	s, c := begin(t, data, influxtest.Shared(t).URL)
	post := func(path string, ref UserRef) string {
		t.Helper()
		return call[Done](t, c, http.MethodPost, path, ref).Message
	}
	if m := post("/users", UserRef{Name: "sari", Grants: []string{"validator:3374:air", "viewer"}}); !strings.HasPrefix(m, "sari signs in once with ") {
		t.Error(m)
	}
	if m := post("/users/grant", UserRef{Name: "sari", Grants: []string{"operator:3374"}}); m != "sari now has validator:3374:air, viewer, operator:3374" {
		t.Error(m)
	}
	if m := post("/users/revoke", UserRef{Name: "sari", Grants: []string{"viewer", "validator:3374:air"}}); m != "sari now has operator:3374" {
		t.Error(m)
	}
	post("/users/disable", UserRef{Name: "sari"})
	users := call[[]User](t, c, http.MethodGet, "/users", nil)
	if len(users) != 2 || users[0].Name != "admin" || users[1].Grants[0] != "operator:3374" || users[1].Disabled.IsZero() || users[1].SignsIn != "password" {
		t.Errorf("%+v", users)
	}
	post("/users/enable", UserRef{Name: "sari"})
	post("/users/reset", UserRef{Name: "sari", SecondFactor: true})
	for what, ask := range map[string]struct {
		path string
		ref  UserRef
	}{
		"nobody else may do everything":  {"/users/remove", UserRef{Name: "admin"}},
		"nobody else may do everything:": {"/users/disable", UserRef{Name: "admin"}},
		"nobody else":                    {"/users/revoke", UserRef{Name: "admin", Grants: []string{"admin"}}},
		"there is no account":            {"/users/reset", UserRef{Name: "nobody"}},
		"at least one grant":             {"/users", UserRef{Name: "budi"}},
		"role is not one of":             {"/users", UserRef{Name: "budi", Grants: []string{"boss"}}},
		"district is not":                {"/users/grant", UserRef{Name: "sari", Grants: []string{"viewer:9999"}}},
		"kind is not one of":             {"/users/grant", UserRef{Name: "sari", Grants: []string{"viewer::noise"}}},
	} {
		var done Done
		if err := c.Call(t.Context(), http.MethodPost, ask.path, ask.ref, &done); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(what, ":")) {
			t.Errorf("%s %+v: %v, want %q", ask.path, ask.ref, err, what)
		}
	}
	post("/users/remove", UserRef{Name: "sari"})
	call[Claim](t, c, http.MethodPost, "/gateways", AddGateway{District: "3374", Name: "balaikota"})

	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	page := call[AuditPage](t, c, http.MethodGet, "/audit", nil)
	var told []string
	for _, r := range page.Records {
		if r.Who != "os:"+me.Username {
			t.Errorf("%s by %q, want os:%s", r.Action, r.Who, me.Username)
		}
		told = append(told, strings.TrimSpace(r.Action+" "+r.Object+" "+r.Detail))
	}
	want := []string{`gateway.add 3374/balaikota district "3374", site ""`, "user.remove sari", "user.reset sari with the second factor", "user.enable sari", "user.disable sari",
		"user.revoke sari validator:3374:air", "user.revoke sari viewer", "user.grant sari operator:3374", "user.add sari validator:3374:air viewer"}
	if strings.Join(told, "\n") != strings.Join(want, "\n") {
		t.Errorf("the audit log says\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if page = call[AuditPage](t, c, http.MethodGet, "/audit?action=user.grant&limit=1&to=2001-01-01", nil); len(page.Records) != 0 {
		t.Errorf("%+v", page)
	}
	v := call[audit.Verdict](t, c, http.MethodGet, "/audit/verify", nil)
	if v.Broken != nil || v.Entries != 9 {
		t.Errorf("%+v", v)
	}
	// Somebody alters the file: verify says where, and so does health.
	name := filepath.Join(data, "audit.log")
	text, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(strings.Replace(string(text), "operator:3374", "operator:3301", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if v = call[audit.Verdict](t, c, http.MethodGet, "/audit/verify?head="+v.Head, nil); v.Broken == nil || v.Broken.Seq != 2 || v.Found != 9 {
		t.Errorf("%+v", v)
	}
	c.http.CloseIdleConnections()
	end(t, s)
	_, again := begin(t, data, s.o.Influx.URL)
	if h := call[Health](t, again, http.MethodGet, "/health", nil); !strings.Contains(strings.Join(h.Problems, "\n"), "audit log is damaged: entry 2") {
		t.Errorf("health: %v", h.Problems)
	}
}
