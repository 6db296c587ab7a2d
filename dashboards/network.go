package dashboards

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// perPage is how many gateways one page lists.
const perPage = 48

type networkBody struct {
	Summary, Alerts fragment
	Chart           chartView
	Cards           []fragment
	Notice          notice
	Live            liveView
	Filter          filterView
	Empty           bool // there is no gateway at all
	Failed          bool
}

type filterView struct {
	Action, Query, State string
	States               []State
	Found, All           int
	Page, Pages          int
	Previous, Next       string
}

// liveView is what the live element needs.
type liveView struct {
	Now    string // the server's time, RFC 3339
	Stream string // where the updates come from
	Topics string // what this page shows, separated by spaces
	// Version is snapshot.version, for what is marked data-fresh.
	Version string
	Reload  string
	SignIn  string
}

// network is /dinas/jaringan.
func (d *Dashboards) network(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	q := r.URL.Query()
	u := userOf(r)
	s := d.snapshot(r.Context(), u)
	d.report(requestID(r), s)
	here := lang.Path(path)
	back := here + searchOf(r)

	matching := filter(s, q.Get("cari"), State(q.Get("keadaan")))
	pages := max(1, (len(matching)+perPage-1)/perPage)
	number, _ := strconv.Atoi(q.Get("hal"))
	number = min(max(number, 1), pages)
	shown := matching[(number-1)*perPage : min(number*perPage, len(matching))]

	topics := []string{"ringkas", "peringatan"}
	body := networkBody{Empty: len(s.gateways) == 0 && s.gatewaysErr == nil, Failed: s.gatewaysErr != nil}
	body.Summary = s.fragment("ringkas", summarize(s))
	body.Alerts = s.fragment("peringatan", viewAlerts(lang, s, telemetry.Node{}))
	body.Alerts.Back, body.Alerts.MayAct = back, u.May(account.Operator, account.Somewhere, account.SomeKind)
	body.Notice = noticeOf(lang, q.Get("pesan"))

	wanted, err := ParseSeriesID(q.Get("deret"))
	have := err == nil
	var first Gateway
	var favoured SeriesID
	found := false
	for _, g := range shown {
		values, err := d.values(r.Context(), u, g)
		if err != nil {
			d.o.Logger.Error("page is incomplete", "id", requestID(r), "part", "values", "gateway", g.Node.String(), "err", err)
		}
		if id, ok := favourite(g, values); ok && err == nil && !have && (!found || better(g, id, first, favoured)) {
			first, favoured, found = g, id, true
		}
		v := viewGateway(lang, g, values, err, s.now)
		body.Cards = append(body.Cards, s.fragment("g-"+v.Key, v))
		topics = append(topics, "g-"+v.Key)
	}
	if !have {
		wanted, have = alarming(s)
	}
	if !have {
		wanted, have = favoured, found
	}
	body.Chart = d.chartOf(r, lang, s, wanted, have)
	body.Filter = filterView{
		Action: here, Query: page.Clean(q.Get("cari")), State: q.Get("keadaan"), States: filterStates,
		Found: len(matching), All: len(s.gateways), Page: number, Pages: pages,
	}
	if number > 1 {
		body.Filter.Previous = pageURL(here, q, number-1)
	}
	if number < pages {
		body.Filter.Next = pageURL(here, q, number+1)
	}
	body.Live = liveOf(lang, s, topics, back)
	frame := d.frame(r, lang.T("network.title"))
	frame.Simulated = s.simulated()
	return d.send(w, r, http.StatusOK, "network", page.View{Frame: frame, Body: body})
}

type gatewayBody struct {
	Name   string
	Detail fragment
	Alerts fragment
	Chart  chartView
	Live   liveView
	Back   string
	Notice notice
}

// gateway is /dinas/jaringan/{group}/{gateway}.
func (d *Dashboards) gateway(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	node := telemetry.Node{Group: r.PathValue("group"), ID: r.PathValue("gateway")}
	s := d.snapshot(r.Context(), userOf(r))
	d.report(requestID(r), s)
	if s.gatewaysErr != nil {
		return s.gatewaysErr
	}
	g, ok := s.find(node)
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	here := gatewayURL(lang, node)
	values, err := d.values(r.Context(), userOf(r), g)
	if err != nil {
		d.o.Logger.Error("page is incomplete", "id", requestID(r), "part", "values", "gateway", node.String(), "err", err)
	}
	v := d.viewDetail(r.Context(), lang, g, values, err, s.now)
	body := gatewayBody{Name: v.Name, Detail: s.fragment("d-"+v.Key, v), Alerts: s.fragment("p-"+v.Key, viewAlerts(lang, s, node)), Back: lang.Path("/dinas/jaringan")}
	body.Alerts.Back, body.Alerts.MayAct = here+searchOf(r), userOf(r).May(account.Operator, g.District, account.SomeKind)
	body.Notice = noticeOf(lang, r.URL.Query().Get("pesan"))
	wanted, parseErr := ParseSeriesID(r.URL.Query().Get("deret"))
	have := parseErr == nil
	if !have {
		wanted, have = favourite(g, values)
	}
	body.Chart = d.chartOf(r, lang, s, wanted, have)
	body.Live = liveOf(lang, s, []string{"d-" + v.Key, "p-" + v.Key}, here+searchOf(r))
	frame := d.frame(r, page.Plain(v.Name))
	frame.Alternates = page.Alternates(path, searchOf(r))
	for i := range frame.Alternates {
		frame.Alternates[i].URL = gatewayURL(frame.Alternates[i].Lang, node) + searchOf(r)
	}
	frame.Simulated = g.Simulated
	return d.send(w, r, http.StatusOK, "gateway", page.View{Frame: frame, Body: body})
}

// ofGateway is the district of the path's {group} and {gateway}.
func ofGateway(d *Dashboards, r *http.Request) (string, telemetry.Kind, error) {
	return d.ofNode(r, telemetry.Node{Group: r.PathValue("group"), ID: r.PathValue("gateway")}, account.SomeKind)
}

// ofSeries is district and kind of the query's deret.
func ofSeries(d *Dashboards, r *http.Request) (string, telemetry.Kind, error) {
	id, err := ParseSeriesID(r.URL.Query().Get("deret"))
	if err != nil {
		return account.Somewhere, account.SomeKind, nil //nolint:nilerr // the handler says what is wrong with it
	}
	return d.ofNode(r, id.Node, kindOf(id.Quantity))
}

// ofAlert is district and kind of the open alert of the path's {id}.
func ofAlert(d *Dashboards, r *http.Request) (string, telemetry.Kind, error) {
	open, err := d.o.Alerts.Open(r.Context())
	if err != nil {
		return "", "", err
	}
	for _, a := range open {
		if a.ID == r.PathValue("id") {
			return d.ofNode(r, a.Node, kindOf(a.Quantity))
		}
	}
	return account.Somewhere, account.SomeKind, nil // the handler says that it is no longer open
}

// ofNode is a gateway's district; one that nobody registered belongs to none, and
// is the province's.
func (d *Dashboards) ofNode(r *http.Request, n telemetry.Node, kind telemetry.Kind) (string, telemetry.Kind, error) {
	all, err := d.o.Network.Gateways(r.Context())
	if err != nil {
		return "", "", err
	}
	for _, g := range all {
		if g.Node == n {
			return g.District, kind, nil
		}
	}
	return "", kind, nil
}

// kindOf is a quantity's kind. What tells of the gateway rather than of a place,
// or is not known, everybody may see who sees the gateway.
func kindOf(quantity string) telemetry.Kind {
	q, ok := telemetry.Lookup(quantity)
	if !ok || q.Kind == telemetry.KindGateway || q.Kind == telemetry.KindOther {
		return account.SomeKind
	}
	return q.Kind
}

func liveOf(l page.Lang, s snapshot, topics []string, here string) liveView {
	return liveView{
		Now:    s.now.UTC().Format(time.RFC3339),
		Stream: "/dinas/langsung", Topics: strings.Join(topics, " "), Version: s.version(), Reload: here,
		SignIn: l.Path("/masuk") + "?" + query("lanjut", here) + "&pesan=berakhir",
	}
}

// anyTrouble is a choice of the list's filter: gateways that need somebody.
const anyTrouble State = "trouble"

var filterStates = []State{anyTrouble, StateOnline, StateOffline, StateUnknown}

func filter(s snapshot, text string, state State) []Gateway {
	text = strings.ToLower(strings.TrimSpace(text))
	alerted := map[telemetry.Node]bool{}
	for _, a := range s.alerts {
		alerted[a.Node] = true
	}
	var out []Gateway
	for _, g := range s.gateways {
		fits := text == ""
		for _, field := range []string{g.Name, g.Node.String(), g.District, g.Site} {
			fits = fits || strings.Contains(strings.ToLower(field), text)
		}
		switch state {
		case "":
		case anyTrouble:
			fits = fits && (troubled(g.State) || alerted[g.Node] || g.expires(s.now))
		default:
			fits = fits && g.State == state
		}
		if fits {
			out = append(out, g)
		}
	}
	return out
}

// searchOf returns the request's query with its "?", without what is told once.
func searchOf(r *http.Request) string {
	q := r.URL.Query()
	q.Del("pesan")
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func pageURL(here string, q url.Values, number int) string {
	next := url.Values{}
	for _, name := range []string{"cari", "keadaan", "deret"} {
		if v := q.Get(name); v != "" {
			next.Set(name, v)
		}
	}
	next.Set("hal", strconv.Itoa(number))
	return here + "?" + next.Encode() + "#gateway"
}

// The results of acknowledging, as addresses carry them.
var notices = map[string]struct {
	text  page.Key
	class string
}{
	"ditangani": {"alerts.done", "ok"},
	"selesai":   {"alerts.gone", ""},
	"sudah":     {"alerts.taken", ""},
	"gagal":     {"alerts.failed", "bad"},
	"diubah":    {"people.changed", "ok"},

	"tersimpan":       {"settings.saved", "ok"},
	"diimpor":         {"import.done", "ok"},
	"peta-diimpor":    {"settings.map_done", "ok"},
	"dihitung-ulang":  {"rules.recomputing", "ok"},
	"ditandai":        {"mark.done", "ok"},
	"dicatat":         {"annotation.done", "ok"},
	"foto-tersimpan":  {"photo.saved", "ok"},
	"foto-dihapus":    {"photo.removed", "ok"},
	"catatan-diubah":  {"annotation.changed", "ok"},
	"catatan-ditarik": {"annotation.withdrawn", "ok"},
	"bulan-ditutup":   {"month.closed", "ok"},
	"bulan-dibuka":    {"month.opened", "ok"},
	"buletin-terbit":  {"letter.approved", "ok"},
	"buletin-diralat": {"letter.revised", "ok"},
	"dicabut":         {"wall.revoked", "ok"},
}

func noticeOf(l page.Lang, code string) notice {
	n, ok := notices[code]
	if !ok {
		return notice{}
	}
	return notice{Text: l.T(n.text), Class: n.class}
}

// maxNote bounds an acknowledgement's note, in bytes.
const maxNote = 1000

// acknowledge records who looks after an alert. Without JavaScript it leads back
// to the page; with it, the alerts come back as a fragment.
func (d *Dashboards) acknowledge(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	note := strings.TrimSpace(strings.ToValidUTF8(r.PostForm.Get("catatan"), "\uFFFD"))
	if len(note) > maxNote {
		return problem{status: http.StatusBadRequest}
	}
	u, id := userOf(r), r.PathValue("id")
	code := "ditangani"
	switch err := d.o.Alerts.Acknowledge(r.Context(), id, u.Name, note); {
	case errors.Is(err, fs.ErrNotExist):
		code = "selesai"
	case errors.Is(err, fs.ErrExist):
		code = "sudah"
	case err != nil:
		code = "gagal"
		d.o.Logger.Error("acknowledge failed", "id", requestID(r), "alert", page.Plain(id), "err", err)
	default:
		if err := d.tell(r, "alert.acknowledge", id, note); err != nil {
			return err
		}
		d.o.Logger.Info("alert acknowledged", "alert", page.Plain(id), "by", u.Name)
	}
	back := local(r.PostForm.Get("kembali"), lang.Path("/dinas/jaringan"))
	if r.Header.Get("HX-Request") != "true" {
		to, err := url.Parse(back)
		if err != nil {
			return problem{status: http.StatusBadRequest, cause: err}
		}
		q := to.Query()
		q.Set("pesan", code)
		to.RawQuery, to.Fragment = q.Encode(), "pemberitahuan"
		http.Redirect(w, r, to.String(), http.StatusSeeOther)
		return nil
	}
	s := d.snapshot(r.Context(), userOf(r))
	var only telemetry.Node
	element := "peringatan"
	if n, err := telemetry.ParseNode(r.PostForm.Get("gateway")); err == nil {
		only, element = n, "p-"+keyOf("gateway", n.String())
	}
	f := s.fragment(element, viewAlerts(lang, s, only))
	f.Back, f.MayAct = back, true
	told := noticeOf(lang, code)
	told.Swap = true
	return d.part(w, r, lang, "network", "alerts-answer", map[string]any{"Alerts": f, "Notice": told})
}
