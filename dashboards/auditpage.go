package dashboards

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/page"
)

var auditRoutes = []route{
	{"GET", "/dinas/atur/audit", staff(account.Admin, whole), (*Dashboards).auditPage},
}

type auditBody struct {
	Settings                        []page.Link
	Action                          string // of the form
	Who, What, Object, Since, Until string
	Actions                         []choice
	Records                         []recordView
	Next, Newest                    string
	Wrong                           string
	Verdict                         *audit.Verdict
	VerifyURL                       string
}

// recordView is one line of the log.
type recordView struct {
	Seq                       uint64
	Time                      time.Time
	Who, From, Object, Detail string
	What                      string
	Nobody                    bool
}

func viewRecord(lang page.Lang, r audit.Record) recordView {
	v := recordView{Seq: r.Seq, Time: r.Time, Who: r.Who, Object: r.Object, Detail: r.Detail, What: lang.Name("audit.", r.Action), Nobody: r.Who == ""}
	if r.From.IsValid() {
		v.From = r.From.String()
	}
	return v
}

// groups are the first words of actions, which the page can ask for.
var groups = []string{"signin", "user", "code", "password", "alert", "site", "sensor", "deployment", "photo", "place", "agency", "gateway", "rules", "mark", "annotation", "month", "letter", "wall", "page", "audit"}

const auditPerPage = 50

// auditPage is /dinas/atur/audit: the log, newest first, with search.
func (d *Dashboards) auditPage(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	q := r.URL.Query()
	body := auditBody{
		Settings: settingsNav(lang, path, userOf(r)), Action: lang.Path(path),
		Who: page.Clean(q.Get("siapa")), What: q.Get("apa"), Object: page.Clean(q.Get("objek")), Since: q.Get("dari"), Until: q.Get("sampai"),
	}
	body.Actions = append(body.Actions, choice{"", lang.T("audit.any"), body.What == ""})
	for _, g := range groups {
		body.Actions = append(body.Actions, choice{g, lang.T(page.Key("auditgroup." + g)), g == body.What})
	}
	ask, err := audit.ParseQuery(url.Values{"who": {body.Who}, "action": {body.What}, "object": {body.Object}, "from": {body.Since}, "to": {body.Until}, "before": {q.Get("sebelum")}})
	if err != nil {
		body.Wrong = lang.T("audit.bad_query")
	} else {
		ask.Limit = auditPerPage
		found, next, err := d.o.Audit.Search(r.Context(), ask)
		if err != nil {
			return err
		}
		for _, rec := range found {
			body.Records = append(body.Records, viewRecord(lang, rec))
		}
		here := url.Values{}
		for _, name := range []string{"siapa", "apa", "objek", "dari", "sampai"} {
			if v := q.Get(name); v != "" {
				here.Set(name, v)
			}
		}
		if ask.Before > 0 {
			body.Newest = body.Action + "?" + here.Encode()
		}
		if next > 0 {
			here.Set("sebelum", strconv.FormatUint(next, 10))
			body.Next = body.Action + "?" + here.Encode()
		}
	}
	body.VerifyURL = body.Action + "?periksa=1"
	if q.Get("periksa") != "" {
		v, err := d.o.Audit.Verify(r.Context(), "")
		if err != nil {
			return err
		}
		body.Verdict = &v
	}
	return d.send(w, r, http.StatusOK, "audit", page.View{Frame: d.frame(r, lang.T("audit.title")), Body: body})
}

// recent are the newest things that somebody did.
func (d *Dashboards) recent(r *http.Request, lang page.Lang, who string) ([]recordView, error) {
	found, _, err := d.o.Audit.Search(r.Context(), audit.Query{Who: who, Limit: 10})
	var out []recordView
	for _, rec := range found {
		if rec.Who == who {
			out = append(out, viewRecord(lang, rec))
		}
	}
	return out, err
}
