package dashboards

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
)

var wallRoutes = []route{
	{"GET", "/layar/{token}", public, (*Dashboards).wall},
	{"GET", "/dinas/atur/layar", staff(account.Admin, whole), (*Dashboards).walls},
	{"POST", "/dinas/atur/layar", staff(account.Admin, whole), (*Dashboards).addWall},
	{"POST", "/dinas/atur/layar/{wall}/cabut", staff(account.Admin, whole), (*Dashboards).revokeWall},
}

// wallView is a staff page that a screen on a wall may show.
type wallView struct {
	name   string // as stored
	path   string
	text   page.Key
	handle func(d *Dashboards, w http.ResponseWriter, r *http.Request) error
}

var wallViews = []wallView{
	{"province", "/dinas/provinsi", "nav.province", (*Dashboards).province},
	{"network", "/dinas/jaringan", "nav.network", (*Dashboards).network},
}

// wallEvery is how often a wall screen is read again.
const wallEvery = time.Minute

// wall is /layar/{token}: the staff page as a viewer of the whole province sees
// it, with everything taken out that leads on or acts. It sets no cookie and needs
// none.
func (d *Dashboards) wall(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address is the key
	found, err := d.o.Walls.Find(r.Context(), r.PathValue("token"))
	if errors.Is(err, fs.ErrNotExist) {
		return problem{status: http.StatusNotFound, text: "problem.wall"}
	}
	if err != nil {
		return err
	}
	i := slices.IndexFunc(wallViews, func(v wallView) bool { return v.name == found.View })
	if i < 0 {
		return problem{status: http.StatusNotFound, text: "problem.wall"}
	}
	view, lang := wallViews[i], page.Lang(found.Lang)
	viewer := &account.User{Name: "wall", Grants: []account.Grant{account.Viewer.Everywhere()}}
	inside := r.Clone(context.WithValue(r.Context(), userKey{}, viewer))
	inside.URL = &url.URL{Path: lang.Path(view.path)}
	inside.Header = http.Header{}
	out := &recorder{header: http.Header{}, status: http.StatusOK}
	if err := view.handle(d, out, inside); err != nil {
		return err
	}
	if out.status != http.StatusOK {
		return fmt.Errorf("wall screen %s: its page answered %d", found.ID, out.status)
	}
	body, err := inert(out.body.Bytes(), lang.T("wall.says", lang.Moment(d.o.Now()), page.Plain(found.Label)), lang.T("wall.stale"))
	if err != nil {
		return fmt.Errorf("wall screen %s: %w", found.ID, err)
	}
	h.Set("Content-Language", string(lang))
	return write(w, r, http.StatusOK, "text/html; charset=utf-8", body)
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (o *recorder) Header() http.Header         { return o.header }
func (o *recorder) WriteHeader(status int)      { o.status = status }
func (o *recorder) Write(b []byte) (int, error) { return o.body.Write(b) }

// inert takes out of a page what leads on, acts or asks the server for more: a
// page of whichever handler, now or later, can then do nothing.
func inert(body []byte, says, stale string) ([]byte, error) {
	doc, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("read the page: %w", err)
	}
	var drop, unwrap []*html.Node
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		n.Attr = slices.DeleteFunc(n.Attr, func(a html.Attribute) bool {
			return strings.HasPrefix(a.Key, "hx-") || strings.HasPrefix(a.Key, "data-stream") || a.Key == "tabindex"
		})
		switch {
		case n.DataAtom == atom.Form, n.DataAtom == atom.Nav, n.DataAtom == atom.Button, n.DataAtom == atom.Input, n.DataAtom == atom.Select, n.DataAtom == atom.Details,
			n.Data == "pantau-live", class(n, "tools"), class(n, "no-print"), class(n, "skip"), class(n, "crumb"),
			n.DataAtom == atom.Link && attr(n, "rel") == "alternate":
			drop = append(drop, n)
		case n.DataAtom == atom.A, n.Namespace == "" && strings.HasPrefix(n.Data, "pantau-"):
			unwrap = append(unwrap, n)
		case n.DataAtom == atom.Body:
			n.Attr = append(n.Attr, html.Attribute{Key: "class", Val: "wall"}, html.Attribute{Key: "data-wall", Val: strconv.Itoa(int(wallEvery / time.Second))})
		case n.DataAtom == atom.Header:
			n.Attr = append(n.Attr, html.Attribute{Key: "data-stale", Val: stale})
		case class(n, "bar"):
			p := &html.Node{Type: html.ElementNode, Data: "p", DataAtom: atom.P, Attr: []html.Attribute{{Key: "class", Val: "wall-says"}}}
			p.AppendChild(&html.Node{Type: html.TextNode, Data: says})
			n.AppendChild(p)
		case n.DataAtom == atom.Head: // a browser with scripts is kept going by them, also while the server is away
			again := &html.Node{Type: html.ElementNode, Data: "noscript", DataAtom: atom.Noscript}
			again.AppendChild(&html.Node{Type: html.RawNode, Data: fmt.Sprintf(`<meta http-equiv="refresh" content="%d">`, int(wallEvery/time.Second))})
			n.AppendChild(again)
		}
	}
	for _, n := range drop {
		if n.Parent != nil {
			n.Parent.RemoveChild(n)
		}
	}
	for _, n := range unwrap {
		if n.Parent == nil {
			continue
		}
		inner := &html.Node{Type: html.ElementNode, Data: "span", DataAtom: atom.Span}
		for _, a := range n.Attr {
			if a.Key == "class" || a.Key == "id" {
				inner.Attr = append(inner.Attr, a)
			}
		}
		switch {
		case n.Namespace == "svg": // a link in a drawing
			inner.Data, inner.DataAtom, inner.Namespace = "g", 0, n.Namespace
		case n.DataAtom != atom.A:
			inner.Data, inner.DataAtom = "div", atom.Div
		}
		for c := n.FirstChild; c != nil; c = n.FirstChild {
			n.RemoveChild(c)
			inner.AppendChild(c)
		}
		n.Parent.InsertBefore(inner, n)
		n.Parent.RemoveChild(n)
	}
	var b bytes.Buffer
	if err := html.Render(&b, doc); err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	return b.Bytes(), nil
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func class(n *html.Node, name string) bool {
	return slices.Contains(strings.Fields(attr(n, "class")), name)
}

type wallsBody struct {
	Settings []page.Link
	Walls    []wallLine
	Views    []choice
	Langs    []choice
	Whiles   []choice
	Label    string
	Wrong    string
	Notice   notice
	Address  string // of the new one, told once
	Now      time.Time
}

type wallLine struct {
	account.Wall
	View, Language, Revoke string
	Over                   bool
}

// wallDays are for how many days a link may be good.
var wallDays = []int{7, 30, 90, 365}

func (d *Dashboards) walls(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	return d.showWalls(w, r, http.StatusOK, wallsBody{Notice: noticeOf(lang, r.URL.Query().Get("pesan"))})
}

func (d *Dashboards) showWalls(w http.ResponseWriter, r *http.Request, status int, body wallsBody) error {
	lang, path := page.Split(r.URL.Path)
	all, err := d.o.Walls.List(r.Context())
	if err != nil {
		return err
	}
	body.Now = d.o.Now()
	for _, wall := range all {
		line := wallLine{Wall: wall, View: wall.View, Language: languages[page.Lang(wall.Lang)], Over: !body.Now.Before(wall.Expires),
			Revoke: lang.Path("/dinas/atur/layar/" + url.PathEscape(wall.ID) + "/cabut")}
		for _, v := range wallViews {
			if v.name == wall.View {
				line.View = lang.T(v.text)
			}
		}
		body.Walls = append(body.Walls, line)
	}
	for _, v := range wallViews {
		body.Views = append(body.Views, choice{v.name, lang.T(v.text), false})
	}
	for _, l := range page.Langs() {
		body.Langs = append(body.Langs, choice{string(l), languages[l], l == lang})
	}
	for _, n := range wallDays {
		body.Whiles = append(body.Whiles, choice{strconv.Itoa(n), lang.Span(time.Duration(n) * 24 * time.Hour), n == 90})
	}
	body.Settings = settingsNav(lang, path, userOf(r))
	return d.send(w, r, status, "walls", page.View{Frame: d.frame(r, lang.T("nav.walls")), Body: body})
}

var languages = map[page.Lang]string{page.Indonesian: "Bahasa Indonesia", page.English: "English"}

func (d *Dashboards) addWall(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	days, _ := strconv.Atoi(r.PostForm.Get("hari"))
	wall := account.Wall{Label: strings.TrimSpace(strings.ToValidUTF8(r.PostForm.Get("tempat"), "\uFFFD")), View: r.PostForm.Get("tampilan"), Lang: r.PostForm.Get("bahasa"), By: userOf(r).Name}
	switch {
	case wall.Label == "" || len(wall.Label) > 200:
		return d.showWalls(w, r, http.StatusUnprocessableEntity, wallsBody{Wrong: lang.T("wall.bad_label"), Label: wall.Label})
	case !slices.Contains(wallDays, days), !slices.ContainsFunc(wallViews, func(v wallView) bool { return v.name == wall.View }), languages[page.Lang(wall.Lang)] == "":
		return d.showWalls(w, r, http.StatusUnprocessableEntity, wallsBody{Wrong: lang.T("wall.bad_choice"), Label: wall.Label})
	}
	wall, token, err := d.o.Walls.Add(r.Context(), wall, time.Duration(days)*24*time.Hour)
	if err != nil {
		return err
	}
	if err := d.tell(r, "wall.add", wall.ID, fmt.Sprintf("%s, %s, until %s", wall.Label, wall.View, wall.Expires.Format(time.RFC3339))); err != nil {
		return err
	}
	return d.showWalls(w, r, http.StatusOK, wallsBody{Address: d.origin(r) + "/layar/" + token})
}

// origin is how people reach the pages: the setting, else as this request did.
func (d *Dashboards) origin(r *http.Request) string {
	if d.o.BaseURL != "" {
		return strings.TrimSuffix(d.o.BaseURL, "/")
	}
	scheme := "http"
	if d.o.HTTPS {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

func (d *Dashboards) revokeWall(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	wall, err := d.o.Walls.Revoke(r.Context(), r.PathValue("wall"))
	if errors.Is(err, fs.ErrNotExist) {
		return problem{status: http.StatusNotFound}
	}
	if err != nil {
		return err
	}
	if err := d.tell(r, "wall.revoke", wall.ID, wall.Label); err != nil {
		return err
	}
	http.Redirect(w, r, lang.Path("/dinas/atur/layar")+"?pesan=dicabut", http.StatusSeeOther)
	return nil
}
