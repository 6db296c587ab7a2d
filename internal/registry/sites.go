package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Site is a place where gateways hang. Its code is permanent: stored figures go
// by it. Its district is the one that its figures count for.
type Site struct {
	Code     string  `json:"code"`
	Name     string  `json:"name"`
	District string  `json:"district"` // BPS code
	Lat      float64 `json:"lat"`      // degrees north, WGS 84; 0, 0 = not known yet
	Lon      float64 `json:"lon"`      // degrees east
	Public   bool    `json:"public"`   // shown to citizens
}

const sitePrefix = "site/"

// Jawa Tengah with a margin for its islands: a swapped or mistyped coordinate
// lies outside.
const (
	minLat, maxLat = -8.5, -5.0
	minLon, maxLon = 108.0, 112.5
)

func (s *Site) check() error {
	if err := telemetry.CheckID(s.Code); err != nil {
		return fmt.Errorf("site code: %w", err)
	}
	if err := checkDistrict(s.District); err != nil {
		return fmt.Errorf("site %s: %w", s.Code, err)
	}
	if (s.Lat != 0 || s.Lon != 0) && !(s.Lat >= minLat && s.Lat <= maxLat && s.Lon >= minLon && s.Lon <= maxLon) {
		return fmt.Errorf("site %s: latitude %g, longitude %g: want %g…%g and %g…%g (Jawa Tengah)", s.Code, s.Lat, s.Lon, minLat, maxLat, minLon, maxLon)
	}
	return nil
}

// PutSite adds a site or changes all but its code. Its district stays once a
// gateway hangs there: past figures were counted for it.
func (r *Registry) PutSite(ctx context.Context, s Site) error {
	if s.Name == "" {
		s.Name = s.Code
	}
	if err := s.check(); err != nil {
		return err
	}
	if have, ok := r.Site(s.Code); ok && have.District != s.District {
		for _, g := range r.Gateways() {
			if g.Site == s.Code {
				return fmt.Errorf("site %s: its district stays %s, since %s hangs there: %w", s.Code, have.District, g.Node, fs.ErrExist)
			}
		}
	}
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write site %s: %w", s.Code, err)
	}
	revision, err := r.o.KV.Put(ctx, sitePrefix+s.Code, body)
	if err != nil {
		return fmt.Errorf("write site %s: %w", s.Code, err)
	}
	r.learn(sitePrefix+s.Code, body, revision)
	return nil
}

// Site finds a site by its code.
func (r *Registry) Site(code string) (Site, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.sites[code]
	return s, ok
}

// Sites lists all sites by code.
func (r *Registry) Sites() []Site {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]Site, 0, len(r.sites))
	for _, s := range r.sites {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Site) int { return strings.Compare(a.Code, b.Code) })
	return out
}

func (r *Registry) learnSite(code string, value []byte) error {
	if value == nil {
		delete(r.sites, code)
		return nil
	}
	var s Site
	if err := json.Unmarshal(value, &s); err != nil {
		return err
	}
	r.sites[code] = s
	return nil
}

// checkSiteOf checks where a gateway is said to hang; without a district it gets
// the site's.
func (r *Registry) checkSiteOf(g *Gateway) error {
	if err := telemetry.CheckID(g.Site); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	s, ok := r.Site(g.Site)
	switch {
	case !ok && g.District == "":
		return fmt.Errorf("site %q is new: name its district", g.Site)
	case ok && g.District == "":
		g.District = s.District
	case ok && g.District != s.District:
		return fmt.Errorf("site %q lies in district %s, not %s", g.Site, s.District, g.District)
	}
	return nil
}

// needSite registers the gateway's site if nobody has: name and position can
// follow.
func (r *Registry) needSite(ctx context.Context, g *Gateway) error {
	if g.Site == "" {
		return nil
	}
	if _, ok := r.Site(g.Site); ok {
		return nil
	}
	s := Site{Code: g.Site, Name: g.Site, District: g.District}
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write site %s: %w", s.Code, err)
	}
	revision, err := r.o.KV.Create(ctx, sitePrefix+s.Code, body)
	if errors.Is(err, fs.ErrExist) {
		return nil // somebody else was faster
	}
	if err != nil {
		return fmt.Errorf("write site %s: %w", s.Code, err)
	}
	r.learn(sitePrefix+s.Code, body, revision)
	return nil
}
