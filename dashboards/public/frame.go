package public

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/chart"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

func sub(files fs.FS) fs.FS {
	below, err := fs.Sub(files, "pages")
	if err != nil {
		panic(err) // a constant name
	}
	return below
}

// frame is what the layout around a page shows.
type frame struct {
	page.Frame
	Style     template.CSS
	Canonical string // the page's own address, with host
	Picture   string // preview, with host; "" = none
	Feed      string // Atom; "" = none
	Icon192   string
	Manifest  string
	Hidden    bool   // keep out of search engines
	Hour      string // of what the page tells as the newest, for scripts; "" = it tells nothing of the kind

	canonical string // language-free path with query; "" = none
	picture   string // name of the preview; "" = none
	feed      string // code of the feed; "" = none
	hidden    bool
	simulated bool
	lasting   bool // what it says does not grow old with the hour
}

// view is what a page's template gets.
type view struct {
	frame
	Body any
}

// frame fills what every page shows; the page changes what is its own.
func (p *Public) frame(q ask, title string) frame {
	f := frame{canonical: q.path, simulated: q.simulated}
	f.Title = title
	if !q.at.IsZero() {
		f.picture = "provinsi-" + hourName(q.at) + ".png"
	}
	return f
}

// html writes a page.
func (p *Public) html(q ask, name string, f frame, body any) (answer, error) {
	f.Lang, f.Brand, f.Home, f.Owner = q.lang, "Pantau", q.lang.Path("/"), q.agency.Name
	f.Style, f.Icon, f.Icon192, f.Manifest = p.look.style, p.look.icon, p.look.icon192, q.lang.Path("/pantau.webmanifest")
	f.Hidden, f.Simulated = f.hidden, f.simulated
	if p.look.script != "" {
		f.Scripts = []string{p.look.script}
	}
	for _, n := range []string{"/udara", "/buletin", "/ralat", "/data"} {
		f.Nav = append(f.Nav, page.Link{URL: q.lang.Path(n), Text: q.lang.T(page.Key("public.nav." + n[1:])), Current: q.path == n || strings.HasPrefix(q.path, n+"/")})
	}
	if f.canonical != "" {
		path, search, _ := strings.Cut(f.canonical, "?")
		if search != "" {
			search = "?" + search
		}
		f.Alternates = page.Alternates(path, search)
		f.Canonical = p.o.BaseURL + q.lang.Path(path) + search
		for i := range f.Alternates {
			f.Alternates[i].URL = p.o.BaseURL + f.Alternates[i].URL
		}
	}
	if f.picture != "" {
		f.Picture = p.o.BaseURL + q.lang.Path("/gambar/"+f.picture)
	}
	if f.feed != "" {
		f.Feed = q.lang.Path("/umpan/" + f.feed + ".atom")
	}
	if !f.lasting && !q.at.IsZero() {
		f.Hour = q.at.UTC().Format(time.RFC3339)
	}
	var b bytes.Buffer
	layout := "public"
	if name == "sematan" {
		layout = "framed"
	}
	if err := p.set.Part(&b, q.lang, name, layout, view{frame: f, Body: body}); err != nil {
		return answer{}, err
	}
	return answer{contentType: "text/html; charset=utf-8", body: b.Bytes()}, nil
}

// Path returns an alternate's address without its host, for links on the page.
func (f frame) Path(a page.Alternate) string {
	u, err := url.Parse(a.URL)
	if err != nil {
		return "/"
	}
	return u.RequestURI()
}

// functions are what templates of this package use beside those of page.Funcs.
func functions(l page.Lang) template.FuncMap {
	return template.FuncMap{
		"mark":   mark,
		"fills":  chart.Fills,
		"levels": func() []figures.Category { return []figures.Category{1, 2, 3, 4, 5} },
		"list":   func(l line) []line { return []line{l} },
		"key":    func(parts ...string) page.Key { return page.Key(strings.Join(parts, "")) },
		"size":   func(n int64) string { return l.Number(float64(n)/1024, 0) + "\u00a0KB" },
		"word":   func(c figures.Category) string { return word(l, c) },
		"date":   func(t time.Time) string { return l.Date(t) },
		"stamp":  func(t time.Time) template.HTML { return stamp(t, l.T("public.at", l.Clock(t))) },
		"day":    func(t time.Time) string { return l.Date(t.Add(-time.Nanosecond)) }, // the day that ends at t
		"param":  func(name figures.Parameter) string { return l.Name("q.", string(name)) },
		"class":  func(c any) string { return l.T(page.Key(fmt.Sprint("class.", c))) },
		"reason": func(code string) string {
			if code == "" {
				return ""
			}
			return l.Name("reason.", code)
		},
	}
}

// mark is a category's swatch with its pattern; the word stands beside it.
func mark(level any) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="sw" viewBox="0 0 24 24" aria-hidden="true"><rect width="24" height="24" rx="4" fill="url(#p%d)"/></svg>`, level))
}

func stamp(t time.Time, text string) template.HTML {
	return template.HTML(`<time datetime="` + t.UTC().Format("2006-01-02T15:04:05Z") + `">` + template.HTMLEscapeString(text) + `</time>`)
}

func word(l page.Lang, c figures.Category) string { return category.Word(l, c) }

// index writes an index as people read it.
func index(l page.Lang, i figures.Index) string {
	switch {
	case i.Category == figures.CategoryNone:
		return l.T("ispu.tidak-dinilai")
	case i.Above:
		return l.T("public.above")
	}
	return l.Number(float64(i.Value), 0)
}

// detail is what stands beside every index: of how many parameters it is, and beyond
// the table by which concentration.
func (q ask) detail(f figures.Figure) string {
	said := q.lang.T("index.judged", q.whole(f.Index.Judged))
	if f.Index.Above {
		said += ", " + q.concentration(dominant(f))
	}
	return said
}

// dominant is the part that names the index.
func dominant(f figures.Figure) figures.Part {
	for _, part := range f.Parts {
		if part.Parameter == f.Index.Dominant {
			return part
		}
	}
	return figures.Part{}
}

// simulatedText says so of a text that stands alone: in a message, a feed, a title.
func (q ask) simulatedText(text string, simulated bool) string {
	if !simulated {
		return text
	}
	return text + " (" + q.lang.T("word.simulated") + ")"
}

func (q ask) siteURL(s *site) string {
	return q.lang.Path("/stasiun/" + url.PathEscape(named(s.Code, s.Name)))
}
func (q ask) districtURL(d *district) string {
	return q.lang.Path("/wilayah/" + named(d.Code, d.Name))
}
func (q ask) traceURL(f figures.Figure) string { return q.evidenceURL(f.ID) }

// evidenceURL is where a figure's or an assessment's trace stands.
func (q ask) evidenceURL(id string) string { return q.lang.Path("/bukti/" + url.PathEscape(id)) }
