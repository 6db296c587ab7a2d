package dashboards_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// here is the district in which all that the samples name lies.
const here = "3374"

// samples fill a route's path: each names something of the test world that lies
// in the district here. A new name in a path needs a line.
var samples = strings.NewReplacer(
	"{$}", "", "{group}", here, "{gateway}", "balaikota", "{district}", here, "{subdistrict}", "337401", "{month}", "2026-10", "{code}", "SMG-01", "{sensor}", "sps30-0042", "{bulletin}", "2026-11-23-0900", "{figure}", "ispu-20261123-09-r0-SMG-01",
	"{id}", url.PathEscape("pm25/3374/balaikota/sps30/17"), "{user}", "sasaran", "{token}", "tidak-ada", "{wall}", "tidak-ada",
)

// queries are what a route cannot do without.
var queries = map[string]string{
	"/dinas/jaringan/grafik": "?deret=3374/balaikota/sps30/pm2_5",
	"/dinas/jaringan/deret":  "?deret=3374/balaikota/sps30/pm2_5",
	"/dinas/langsung":        "?t=id.ringkas",

	"/dinas/laporan/{district}/{month}/berkas": "?bentuk=csv",

	"/dinas/lokasi/{code}/deret": "?besaran=pm2_5",
	"/dinas/lokasi/{code}/unduh": "?bentuk=csv&rinci=hour&dari=2026-11-22&sampai=2026-11-23",
}

// placed are the names of path values that stand for something in a district: a
// route with one must ask for the role there.
var placed = []string{"{district}", "{code}", "{gateway}", "{sensor}", "{figure}"}

// personas are all single grants that differ in role, place and kind, and some
// that come together.
func personas() [][]account.Grant {
	out := [][]account.Grant{nil}
	for _, role := range account.Roles() {
		for _, district := range []string{"", here, "3301"} {
			for _, kind := range []telemetry.Kind{"", telemetry.KindAir, telemetry.KindWaste} {
				out = append(out, []account.Grant{{Role: role, District: district, Kind: kind}})
			}
		}
	}
	return append(out,
		[]account.Grant{{Role: account.Viewer}, {Role: account.Admin, District: "3301"}},
		[]account.Grant{{Role: account.Viewer, District: here}, {Role: account.Validator, District: here, Kind: telemetry.KindAir}},
	)
}

// covers is written without User.May, so that each checks the other.
func covers(grants []account.Grant, least, district string, kind telemetry.Kind) bool {
	rank := map[string]int{"viewer": 1, "operator": 2, "technician": 3, "validator": 4, "approver": 5, "admin": 6}
	for _, g := range grants {
		enough := rank[string(g.Role)] >= rank[least]
		place := g.District == "" || district == "*" || g.District == district
		sort := g.Kind == "" || kind == "*" || g.Kind == kind
		if enough && place && sort {
			return true
		}
	}
	return false
}

// What a district's officer sees of the network is the district's, and of its own
// kind.
func TestGrantsLimitWhatIsShown(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedInAs(t, "udara", account.Grant{Role: account.Operator, District: here, Kind: telemetry.KindAir})
	_, body := v.get("/dinas/jaringan")
	has(t, "the page", body, "Balai Kota Semarang", "PM2,5 di atas 55")
	for _, foreign := range []string{"PJU Slamet Riyadi", "aqms-01", "bak-1", "Keterisian", "Gateway tidak terdengar"} {
		if strings.Contains(body, foreign) {
			t.Errorf("the page of an officer for air in %s shows %q", here, foreign)
		}
	}
	for path, want := range map[string]int{
		"/dinas/jaringan/3372/pju-slamet-riyadi":                  403,
		"/dinas/jaringan/deret?deret=3372/pju-slamet-riyadi/x/y":  403,
		"/dinas/jaringan/deret?deret=3374/pasar-johar/bak-1/fill": 403,
		"/dinas/jaringan/3374/pasar-johar":                        200,
	} {
		if r, _ := v.get(path); r.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, r.Status, want)
		}
	}
	if _, body := v.get("/dinas/jaringan?deret=3372/pju-slamet-riyadi/meter-1/energy"); strings.Contains(body, "Energi (") {
		t.Error("the network page draws another district's series")
	}
	for id, want := range map[string]int{"pm25/3374/balaikota/sps30/17": 303, "fill/3374/pasar/bak-1": 403, "silent/3372/pju": 403} {
		if r, _ := v.post("/dinas/peringatan/"+url.PathEscape(id)+"/tangani", url.Values{}); r.StatusCode != want {
			t.Errorf("acknowledging %s: %s, want %d", id, r.Status, want)
		}
	}
	found, _, err := s.audit.Search(t.Context(), auditOf("udara"))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, r := range found {
		told = append(told, fmt.Sprint(r.Action, " ", r.Object))
	}
	for _, want := range []string{"signin.ok ", "alert.acknowledge pm25/3374/balaikota/sps30/17", "page.refused GET /dinas/jaringan/3372/pju-slamet-riyadi"} {
		if !strings.Contains(strings.Join(told, "\n"), want) {
			t.Errorf("the audit log lacks %q:\n%s", want, strings.Join(told, "\n"))
		}
	}
}
