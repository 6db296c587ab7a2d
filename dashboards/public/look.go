package public

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"strings"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/web"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

//go:embed pages/*.html
var embedded embed.FS

//go:embed style.css
var style string

//go:embed icons/*.png
var icons embed.FS

// files are the templates, as page.NewSet wants them.
var files = sub(embedded)

// look is what all pages share: the style inside each, and addresses of the rest.
type look struct {
	style   template.CSS
	policy  string // Content-Security-Policy; framed: of what other sites may frame
	framed  string
	icon    string
	icon192 string
	icon512 string
	script  string // "" = built without the browser code
	worker  []byte // the service worker; nil = none
}

func newLook(assets *page.Assets, o Options) (l look, err error) {
	l.style = template.CSS(squeeze(string(page.Tokens()) + style + swatchRules(o.Categories)))
	sum := sha256.Sum256([]byte(l.style))
	// The style travels inside the page, named by its hash: a second request would
	// cost a citizen on a slow line two seconds more.
	policy := "default-src 'none'; script-src 'self'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src 'self'; " +
		"connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors "
	l.policy, l.framed = policy+"'none'", policy+"*"
	if l.icon, err = assets.Add("icon.svg", page.Icon()); err != nil {
		return l, err
	}
	for name, into := range map[string]*string{"icon-192.png": &l.icon192, "icon-512.png": &l.icon512} {
		body, err := icons.ReadFile("icons/" + name)
		if err != nil {
			return l, fmt.Errorf("read an icon: %w", err)
		}
		if *into, err = assets.Add(name, body); err != nil {
			return l, err
		}
	}
	var bundle web.Bundle
	if o.Bundle != nil {
		bundle = *o.Bundle
	} else if bundle, err = web.Load(); err != nil {
		return l, err
	}
	for _, f := range bundle.Files {
		switch f.Name {
		case bundle.Public:
			if l.script, err = assets.AddAs(f.Name, f.Body, f.Gzip, f.Brotli); err != nil {
				return l, err
			}
		case bundle.Worker:
			l.worker = f.Body
		}
	}
	return l, nil
}

var (
	comments = regexp.MustCompile(`(?s)/\*.*?\*/`)
	blanks   = regexp.MustCompile(`\s+`)
	tight    = regexp.MustCompile(`\s*([{};,>])\s*`)
)

// squeeze takes out of a style sheet what browsers do not need.
func squeeze(css string) string {
	css = comments.ReplaceAllString(css, "")
	css = blanks.ReplaceAllString(css, " ")
	css = tight.ReplaceAllString(css, "$1")
	return strings.TrimSpace(strings.ReplaceAll(css, ";}", "}"))
}

// swatchRules gives the categories their colours, and each pattern its ink.
func swatchRules(of category.Settings) string {
	var b strings.Builder
	for c := figures.Baik; c <= figures.Berbahaya; c++ {
		fmt.Fprintf(&b, ".cat-%d{fill:%s}.on-cat-%d{stroke:%s}", c, of.Swatch(c), c, of.Ink(c))
	}
	return b.String()
}

// worker serves the service worker, which browsers want at a name that stays.
func (p *Public) worker(w http.ResponseWriter, r *http.Request) {
	if p.look.worker == nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	if r.Method != http.MethodHead {
		_, _ = w.Write(p.look.worker)
	}
}

// manifest makes the pages installable.
func (p *Public) manifest(_ context.Context, q ask) (answer, error) {
	type icon struct {
		Src     string `json:"src"`
		Sizes   string `json:"sizes"`
		Type    string `json:"type"`
		Purpose string `json:"purpose,omitempty"`
	}
	body, err := json.Marshal(struct {
		Name       string `json:"name"`
		ShortName  string `json:"short_name"`
		Lang       string `json:"lang"`
		ID         string `json:"id"`
		StartURL   string `json:"start_url"`
		Scope      string `json:"scope"`
		Display    string `json:"display"`
		Background string `json:"background_color"`
		Theme      string `json:"theme_color"`
		Icons      []icon `json:"icons"`
	}{
		Name: q.lang.T("public.app"), ShortName: "Pantau", Lang: string(q.lang), ID: q.lang.Path("/"), StartURL: q.lang.Path("/"), Scope: "/",
		Display: "standalone", Background: "#f4f6f7", Theme: "#0b4a63",
		Icons: []icon{
			{Src: p.look.icon192, Sizes: "192x192", Type: "image/png"},
			{Src: p.look.icon512, Sizes: "512x512", Type: "image/png", Purpose: "any maskable"},
			{Src: p.look.icon, Sizes: "any", Type: "image/svg+xml"},
		},
	})
	if err != nil {
		return answer{}, fmt.Errorf("write the manifest: %w", err)
	}
	return answer{contentType: "application/manifest+json", body: body}, nil
}

// slug is the readable end of an address.
func slug(name string) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(name) {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			dash = false
			b.WriteRune(r)
		} else {
			dash = true
		}
	}
	return b.String()
}

// named joins a code and a slug, unless the code says it all.
func named(code, name string) string {
	s := slug(name)
	if s == "" || s == slug(code) {
		return code
	}
	return code + "-" + s
}

// coded finds the code at the beginning of the last part of an address.
func coded[T any](byCode map[string]T, name string) (found T, ok bool) {
	for at := len(name); at > 0; at = strings.LastIndexByte(name[:at], '-') {
		if found, ok = byCode[name[:at]]; ok {
			return found, true
		}
	}
	return found, false
}
