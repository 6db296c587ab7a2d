package dashboards

import (
	"net/http"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

type todayBody struct {
	Name      string
	Now       time.Time
	Alerts    fragment
	Counts    []severityCount
	Silent    []stationRow
	More      int // silent, but not in Silent
	Stations  int
	Validator bool
	Backlog   int
	Bulletin  bulletinTile
	Ledger    fragment
	Updates   liveView
	Calm      bool // nothing needs the visitor
	Empty     bool // nothing is set up yet
	Failed    []string
	Notice    notice
}

// maxToday bounds the lists of today's page: what comes first is enough to begin.
const maxToday = 8

// today is /dinas: what needs the visitor.
func (d *Dashboards) today(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	u := userOf(r)
	snap := d.snapshot(r.Context(), u)
	d.report(requestID(r), snap)
	body := todayBody{
		Name: u.Name, Now: snap.now, Counts: bySeverity(snap.alerts), Ledger: snap.fragment("buku", ledgerView{snap.total, snap.totalErr != nil}),
		Updates:   liveOf(lang, snap, []string{"angka", "buku"}, lang.Path(path)),
		Notice:    noticeOf(lang, r.URL.Query().Get("pesan")),
		Validator: u.May(account.Validator, account.Somewhere, "air"), Bulletin: d.bulletinTile(r.Context(), lang, requestID(r)),
	}
	untaken := snap
	untaken.alerts = inOrder(snap.alerts)
	untaken.alerts = untaken.alerts[:min(len(untaken.alerts), maxToday)]
	body.Alerts = untaken.fragment("peringatan", viewAlerts(lang, untaken, telemetry.Node{}))
	body.Alerts.Back, body.Alerts.MayAct = lang.Path(path), u.May(account.Operator, account.Somewhere, account.SomeKind)
	failed := func(what page.Key, err error) {
		if err != nil {
			d.o.Logger.Error("page is incomplete", "id", requestID(r), "part", string(what), "err", err)
			body.Failed = append(body.Failed, lang.T(what))
		}
	}
	end, _, err := d.hourOf(r)
	failed("today.silent", err)
	if err == nil {
		s, err := d.stationsAt(r.Context(), lang, u, end, nil)
		failed("today.silent", err)
		body.Stations = s.Count()
		for _, row := range s.silent {
			if len(body.Silent) == maxToday {
				body.More++
				continue
			}
			body.Silent = append(body.Silent, row)
		}
	}
	if body.Validator {
		body.Backlog, err = d.backlog(r, nil)
		failed("today.backlog", err)
	}
	body.Empty = body.Stations == 0 && len(snap.gateways) == 0 && snap.gatewaysErr == nil && len(body.Failed) == 0
	body.Calm = !body.Empty && len(snap.alerts) == 0 && len(body.Silent) == 0 && body.Backlog == 0 && !body.Bulletin.Due && len(body.Failed) == 0
	frame := d.frame(r, lang.T("today.title"))
	frame.Simulated = snap.simulated()
	return d.send(w, r, http.StatusOK, "today", page.View{Frame: frame, Body: body})
}
