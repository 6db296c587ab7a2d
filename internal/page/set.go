package page

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Frame is what the layout around a page shows.
type Frame struct {
	Lang        Lang
	Title       string // of the page, without the name of the product
	Description string // for search engines; public pages only
	Brand       string // the product's name, normally "Pantau"
	Owner       string // beside it: the agency, or the gateway's name
	Home        string // where the brand links to
	Styles      []string
	Scripts     []string
	Icon        string
	Alternates  []Alternate // this page in all languages, itself included
	Nav         []Link
	User        *User // nil = nobody is signed in
	Simulated   bool  // says at the top that simulated data are on the page
	Private     bool  // keep out of search engines
	Narrow      bool  // a short form or text rather than a wide table
	Version     string
}

// Alternate is the same page in one language.
type Alternate struct {
	Lang Lang
	URL  string
	Text string // the language's own name
}

// Short is the language's code as narrow pages show it.
func (a Alternate) Short() string { return strings.ToUpper(string(a.Lang)) }

// Link is one entry of the navigation.
type Link struct {
	URL, Text string
	Current   bool
}

// User is who is signed in.
type User struct {
	Name, Role string // Role in the page's language
	URL        string // the account's page
	SignOut    string // takes a POST
}

// Alternates returns a language-free path in every language. query starts with
// "?" or is empty.
func Alternates(path, query string) []Alternate {
	names := map[Lang]string{Indonesian: "Bahasa Indonesia", English: "English"}
	var out []Alternate
	for _, l := range Langs() {
		out = append(out, Alternate{Lang: l, URL: l.Path(path) + query, Text: names[l]})
	}
	return out
}

// View is what a page's template gets: the frame's fields and the page's own.
type View struct {
	Frame
	Body any
}

//go:embed layout/*.html
var layout embed.FS

// Set holds a room's templates, parsed once for each language.
//
// Each file name.html is a page and defines the template "main"; files whose
// name starts with "_" are parts that every page of the set may use.
type Set struct {
	pages map[Lang]map[string]*template.Template
}

// NewSet parses the .html files at the root of files. extra functions join those
// of this package (Funcs); each is made for one language.
func NewSet(files fs.FS, extra func(Lang) template.FuncMap) (*Set, error) {
	names, err := fs.Glob(files, "*.html")
	if err != nil {
		return nil, fmt.Errorf("list page templates: %w", err)
	}
	s := &Set{pages: map[Lang]map[string]*template.Template{}}
	for _, lang := range Langs() {
		base := template.New("layout").Funcs(Funcs(lang)).Option("missingkey=error")
		if extra != nil {
			base.Funcs(extra(lang))
		}
		if base, err = base.ParseFS(layout, "layout/*.html"); err != nil {
			return nil, fmt.Errorf("parse the layout: %w", err)
		}
		s.pages[lang] = map[string]*template.Template{}
		for _, part := range names {
			if strings.HasPrefix(part, "_") {
				if base, err = base.ParseFS(files, part); err != nil {
					return nil, fmt.Errorf("parse page part %s: %w", part, err)
				}
			}
		}
		for _, name := range names {
			if strings.HasPrefix(name, "_") {
				continue
			}
			one, err := base.Clone()
			if err == nil {
				one, err = one.ParseFS(files, name)
			}
			if err != nil {
				return nil, fmt.Errorf("parse page %s: %w", name, err)
			}
			s.pages[lang][strings.TrimSuffix(path.Base(name), ".html")] = one
		}
	}
	return s, nil
}

// Page writes a whole page. Nothing is written if the template fails, so that
// the caller can answer with an error page instead.
func (s *Set) Page(w io.Writer, name string, v View) error {
	return s.Part(w, v.Lang, name, "layout", v)
}

// Part writes one template of a page by its name: a fragment for a live update.
func (s *Set) Part(w io.Writer, lang Lang, page, part string, data any) error {
	t, ok := s.pages[lang][page]
	if !ok {
		return fmt.Errorf("page %q does not exist in language %q: %w", page, lang, fs.ErrNotExist)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, part, data); err != nil {
		return fmt.Errorf("write page %s: %w", page, err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("send page %s: %w", page, err)
	}
	return nil
}

// Funcs are the functions of every template, bound to one language.
func Funcs(l Lang) template.FuncMap {
	return template.FuncMap{
		"lang":   func() Lang { return l },
		"path":   l.Path,
		"t":      func(key Key, args ...any) string { return l.T(key, args...) },
		"name":   l.Name,
		"number": l.Number,
		"value":  l.Value,
		"count":  l.Count,
		"unit":   func(u telemetry.Unit) string { return Unit(u) },
		"span":   l.Span,
		"plain":  bdi,
		"said":   said,
		"when":   func(t time.Time) template.HTML { return timeTag(t, "", l.Moment(t)) },
		"clock":  func(t time.Time) template.HTML { return timeTag(t, "", l.Clock(t)+" WIB") },
		"hour":   func(t time.Time) template.HTML { return timeTag(t, "", l.Clock(t)) }, // where the zone stands beside
		"whole":  func(n int) string { return l.Number(float64(n), 0) },
		"age": func(t, now time.Time) template.HTML {
			return timeTag(t, ` data-age title="`+template.HTMLEscapeString(l.Moment(t))+`"`, l.Age(now.Sub(t)))
		},
	}
}

// bdi isolates foreign text, so that its writing direction ends where it ends.
func bdi(s string) template.HTML {
	return template.HTML("<bdi>" + template.HTMLEscapeString(Plain(s)) + "</bdi>")
}

// said is bdi for what signed-in people wrote, as long as they wrote it.
func said(s string) template.HTML {
	return template.HTML("<bdi>" + strings.ReplaceAll(template.HTMLEscapeString(Said(s)), "\n", "<br>") + "</bdi>")
}

func timeTag(t time.Time, attributes, text string) template.HTML {
	return template.HTML(`<time datetime="` + t.UTC().Format("2006-01-02T15:04:05Z") + `"` + attributes + `>` + template.HTMLEscapeString(text) + `</time>`)
}
