package dashboards

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var peopleRoutes = []route{
	{"GET", "/dinas/atur/pengguna", staff(account.Admin, whole), (*Dashboards).people},
	{"POST", "/dinas/atur/pengguna", staff(account.Admin, whole), (*Dashboards).addPerson},
	{"GET", "/dinas/atur/pengguna/{user}", staff(account.Admin, whole), (*Dashboards).person},
	{"POST", "/dinas/atur/pengguna/{user}/beri", staff(account.Admin, whole), (*Dashboards).grant},
	{"POST", "/dinas/atur/pengguna/{user}/cabut", staff(account.Admin, whole), (*Dashboards).revoke},
	{"POST", "/dinas/atur/pengguna/{user}/sandi", staff(account.Admin, whole), (*Dashboards).resetPerson},
	{"POST", "/dinas/atur/pengguna/{user}/nonaktif", staff(account.Admin, whole), (*Dashboards).disablePerson},
	{"POST", "/dinas/atur/pengguna/{user}/aktif", staff(account.Admin, whole), (*Dashboards).enablePerson},
	{"POST", "/dinas/atur/pengguna/{user}/hapus", staff(account.Admin, whole), (*Dashboards).removePerson},
}

// personView is an account as the pages show it.
type personView struct {
	Name     string
	URL      string
	Grants   []grantView
	Disabled time.Time
	Local    bool
	HasCode  bool
	Fresh    bool // still has its one-time password
	Self     bool
	Changed  time.Time
}

type grantView struct {
	Role, Where, What string // in words
	Value             string // as forms carry it
}

func viewGrant(lang page.Lang, g account.Grant) grantView {
	v := grantView{Role: lang.Name("role.", string(g.Role)), Where: lang.T("people.province"), What: lang.T("people.kinds"), Value: g.String()}
	if g.District != "" {
		v.Where = page.Plain(g.District)
		if d, ok := places.FindDistrict(g.District); ok {
			v.Where = d.Name
		}
	}
	if g.Kind != "" {
		v.What = lang.Name("kind.", string(g.Kind))
	}
	return v
}

func viewPerson(lang page.Lang, u account.User, me string) personView {
	v := personView{Name: u.Name, URL: lang.Path("/dinas/atur/pengguna/" + url.PathEscape(u.Name)), Disabled: u.Disabled, Local: u.Local(), HasCode: u.HasCode, Fresh: u.MustChange, Self: u.Name == me, Changed: u.Changed}
	for _, g := range u.Grants {
		v.Grants = append(v.Grants, viewGrant(lang, g))
	}
	return v
}

// choices are what the forms for a grant offer.
type choices struct {
	Roles, Districts, Kinds []choice
}

type choice struct {
	Value, Text string
	Chosen      bool
}

func grantChoices(lang page.Lang, chosen account.Grant) choices {
	c := choices{Districts: []choice{{"", lang.T("people.province"), chosen.District == ""}}, Kinds: []choice{{"", lang.T("people.kinds"), chosen.Kind == ""}}}
	for _, r := range account.Roles() {
		c.Roles = append(c.Roles, choice{string(r), lang.T(page.Key("role."+string(r))) + " – " + lang.T(page.Key("people.may."+string(r))), r == chosen.Role})
	}
	for _, d := range places.Districts() {
		c.Districts = append(c.Districts, choice{d.Code, d.Name, d.Code == chosen.District})
	}
	for _, k := range []telemetry.Kind{telemetry.KindAir, telemetry.KindWaste, telemetry.KindEnergy, telemetry.KindWater} {
		c.Kinds = append(c.Kinds, choice{string(k), lang.Name("kind.", string(k)), k == chosen.Kind})
	}
	return c
}

type peopleBody struct {
	Settings []page.Link
	People   []personView
	Choices  choices
	Name     string // as typed
	Wrong    string
	Notice   notice
	Told     *toldOnce
}

// toldOnce is what a page says once and never again.
type toldOnce struct{ Name, Password string }

func (d *Dashboards) people(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	return d.showPeople(w, r, http.StatusOK, peopleBody{Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Choices: grantChoices(lang, account.Viewer.Everywhere())})
}

func (d *Dashboards) showPeople(w http.ResponseWriter, r *http.Request, status int, body peopleBody) error {
	lang, path := page.Split(r.URL.Path)
	me := userOf(r)
	all, err := d.accounts.List(r.Context())
	if err != nil {
		return err
	}
	for _, u := range all {
		body.People = append(body.People, viewPerson(lang, u, me.Name))
	}
	body.Settings = settingsNav(lang, path, me)
	return d.send(w, r, status, "people", page.View{Frame: d.frame(r, lang.T("people.title")), Body: body})
}

// grantOf reads a grant from a form.
func grantOf(r *http.Request) account.Grant {
	return account.Grant{Role: account.Role(r.PostForm.Get("peran")), District: r.PostForm.Get("wilayah"), Kind: telemetry.Kind(r.PostForm.Get("jenis"))}
}

func (d *Dashboards) addPerson(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	name, g := strings.ToLower(strings.TrimSpace(r.PostForm.Get("nama"))), grantOf(r)
	wrong := peopleBody{Name: name, Choices: grantChoices(lang, g)}
	password, err := d.accounts.Add(r.Context(), name, g)
	switch {
	case errors.Is(err, account.ErrInvalid):
		wrong.Wrong = lang.T("people.bad_name")
	case errors.Is(err, fs.ErrExist):
		wrong.Wrong = lang.T("people.taken")
	case isBadGrant(err):
		wrong.Wrong = lang.T("people.bad_grant")
	case errors.Is(err, account.ErrBusy):
		wrong.Wrong = lang.T("signin.busy")
	case err != nil:
		return err
	}
	if wrong.Wrong != "" {
		return d.showPeople(w, r, http.StatusUnprocessableEntity, wrong)
	}
	if err := d.tell(r, "user.add", name, g.String()); err != nil {
		return err
	}
	return d.showPeople(w, r, http.StatusOK, peopleBody{Told: &toldOnce{name, password}, Choices: grantChoices(lang, account.Viewer.Everywhere())})
}

func isBadGrant(err error) bool {
	return errors.Is(err, account.ErrNoSuchRole) || errors.Is(err, account.ErrNoSuchKind) || errors.Is(err, account.ErrNoSuchDistrict)
}

type personBody struct {
	Settings []page.Link
	Back     string
	Person   personView
	Choices  choices
	Wrong    string
	Notice   notice
	Told     *toldOnce
	Recent   []recordView
	Audit    string // address of all that this person did
	Asked    bool   // admins are asked for a second factor
}

func (d *Dashboards) person(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	return d.showPerson(w, r, http.StatusOK, personBody{Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Choices: grantChoices(lang, account.Viewer.Everywhere())})
}

func (d *Dashboards) showPerson(w http.ResponseWriter, r *http.Request, status int, body personBody) error {
	lang, path := page.Split(r.URL.Path)
	me, name := userOf(r), r.PathValue("user")
	u, err := d.accounts.Get(r.Context(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return problem{status: http.StatusNotFound}
	}
	if err != nil {
		return err
	}
	body.Settings, body.Back, body.Person = settingsNav(lang, path, me), lang.Path("/dinas/atur/pengguna"), viewPerson(lang, u, me.Name)
	body.Asked = !d.o.CodeOptional && u.Highest() == account.Admin
	if body.Recent, err = d.recent(r, lang, u.Name); err != nil {
		return err
	}
	body.Audit = lang.Path("/dinas/atur/audit") + "?" + query("siapa", u.Name)
	f := d.frame(r, page.Plain(u.Name))
	return d.send(w, r, status, "person", page.View{Frame: f, Body: body})
}

// changePerson does one change of the account that the path names and leads back
// to its page.
func (d *Dashboards) changePerson(w http.ResponseWriter, r *http.Request, action, detail string, change func(name string) error) error {
	lang, _ := page.Split(r.URL.Path)
	name := r.PathValue("user")
	err := change(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return problem{status: http.StatusNotFound}
	case errors.Is(err, account.ErrLastAdmin):
		return d.showPerson(w, r, http.StatusConflict, personBody{Wrong: lang.T("people.last"), Choices: grantChoices(lang, account.Viewer.Everywhere())})
	case errors.Is(err, account.ErrNotLocal):
		return d.showPerson(w, r, http.StatusConflict, personBody{Wrong: lang.T("people.not_local"), Choices: grantChoices(lang, account.Viewer.Everywhere())})
	case isBadGrant(err):
		return d.showPerson(w, r, http.StatusUnprocessableEntity, personBody{Wrong: lang.T("people.bad_grant"), Choices: grantChoices(lang, account.Viewer.Everywhere())})
	case err != nil:
		return err
	}
	if err := d.tell(r, action, name, detail); err != nil {
		return err
	}
	to := lang.Path("/dinas/atur/pengguna")
	if action != "user.remove" {
		to += "/" + url.PathEscape(name)
	}
	http.Redirect(w, r, to+"?pesan=diubah", http.StatusSeeOther)
	return nil
}

func (d *Dashboards) grant(w http.ResponseWriter, r *http.Request) error {
	g := grantOf(r)
	return d.changePerson(w, r, "user.grant", g.String(), func(name string) error {
		_, err := d.accounts.Grant(r.Context(), name, g)
		return err
	})
}

func (d *Dashboards) revoke(w http.ResponseWriter, r *http.Request) error {
	g, err := account.ParseGrant(r.PostForm.Get("hak"))
	return d.changePerson(w, r, "user.revoke", g.String(), func(name string) error {
		if err != nil {
			return err
		}
		_, err := d.accounts.Revoke(r.Context(), name, g)
		return err
	})
}

func (d *Dashboards) resetPerson(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	name, also := r.PathValue("user"), r.PostForm.Get("kode") != ""
	password, err := d.accounts.Reset(r.Context(), name, also)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return problem{status: http.StatusNotFound}
	case errors.Is(err, account.ErrNotLocal):
		return d.showPerson(w, r, http.StatusConflict, personBody{Wrong: lang.T("people.not_local"), Choices: grantChoices(lang, account.Viewer.Everywhere())})
	case err != nil:
		return err
	}
	detail := ""
	if also {
		detail = "with the second factor"
	}
	if err := d.tell(r, "user.reset", name, detail); err != nil {
		return err
	}
	return d.showPerson(w, r, http.StatusOK, personBody{Told: &toldOnce{name, password}, Choices: grantChoices(lang, account.Viewer.Everywhere())})
}

func (d *Dashboards) disablePerson(w http.ResponseWriter, r *http.Request) error {
	return d.changePerson(w, r, "user.disable", "", func(name string) error { _, err := d.accounts.Disable(r.Context(), name); return err })
}

func (d *Dashboards) enablePerson(w http.ResponseWriter, r *http.Request) error {
	return d.changePerson(w, r, "user.enable", "", func(name string) error { _, err := d.accounts.Enable(r.Context(), name); return err })
}

func (d *Dashboards) removePerson(w http.ResponseWriter, r *http.Request) error {
	return d.changePerson(w, r, "user.remove", "", func(name string) error { return d.accounts.Remove(r.Context(), name) })
}
