package server

import (
	"fmt"
	"net/http"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/public"
	"github.com/pantau-id/pantau/ingest/quality"
	"github.com/pantau-id/pantau/internal/page"
)

// PublicOptions are the citizens' pages.
type PublicOptions struct {
	// Swatches are the colours of the five categories of the air index, #rrggbb, from
	// Baik to Berbahaya; empty = the ministry's.
	Swatches []string `toml:"swatches"`
	// AdviceSource and Advice are the ministry's official words and where they stand,
	// by category (baik, sedang, tidak-sehat, sangat-tidak-sehat, berbahaya); without
	// them pages show words of our own and say so.
	AdviceSource string                   `toml:"advice_source"`
	Advice       map[string]AdviceOptions `toml:"advice"`
}

// AdviceOptions are the words for one category; the English ones may be missing.
type AdviceOptions struct {
	Sensitive   string `toml:"sensitive"`
	Everyone    string `toml:"everyone"`
	SensitiveEN string `toml:"sensitive_en"`
	EveryoneEN  string `toml:"everyone_en"`
}

// categories are what of it pages and bulletins share.
func (o PublicOptions) categories() (category.Settings, error) {
	c := category.Settings{Source: o.AdviceSource}
	if n := len(o.Swatches); n != 0 && n != len(c.Swatches) {
		return c, fmt.Errorf("public.swatches has %d colours, want %d: Baik to Berbahaya", n, len(c.Swatches))
	}
	copy(c.Swatches[:], o.Swatches)
	if len(o.Advice) > 0 {
		c.Advice = map[string]category.Advice{}
		for name, a := range o.Advice {
			c.Advice[name] = category.Advice{Sensitive: page.Text{ID: a.Sensitive, EN: a.SensitiveEN}, Everyone: page.Text{ID: a.Everyone, EN: a.EveryoneEN}}
		}
	}
	if err := c.Check(); err != nil {
		return c, fmt.Errorf("public: %w", err)
	}
	return c, nil
}

// citizens makes the public pages.
func (s *Server) citizens(r *readers) (*public.Public, error) {
	o := public.Options{
		Places: s.places, Book: s.publication, Files: r, Documents: r.files, Reference: r.api.Explain, Changed: func() uint64 { return s.publication.Changed() + s.places.Revision() + r.kept.Count() },
		Floors: quality.Floors(), BaseURL: s.pagesURL(), Categories: r.files.Categories, Logger: s.log.With("room", "public"), Metrics: s.metrics,
	}
	return public.New(o)
}

// trees sends each request to the staff's pages or to the citizens'.
func trees(staff, citizens http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if dashboards.Owns(r.URL.Path) {
			staff.ServeHTTP(w, r)
			return
		}
		citizens.ServeHTTP(w, r)
	})
}
