package public

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// share is a category and how many stations are in it.
type share struct {
	Level figures.Category
	Word  string
	Range string
	Count int
}

// entryOf is a district in the list of all.
type entryOf struct {
	Name, URL string
	Short     string // "Kab." for "Kabupaten": phones are narrow
	Level     figures.Category
	Value     string
	Word      string
	Detail    string
	Station   string // whose index it is
	Of        string // "1 dari 2 stasiun"
}

type homeBody struct {
	Query     string
	Card      *card
	District  *districtHead // the card is the district's highest
	Place     string        // remembered by the browser: its code
	PlaceName string
	Near      *nearest // the district has no station
	At        time.Time
	Shares    []share
	Without   int // stations that could not be judged
	Districts []entryOf
	Hexagons  any
	Empty     bool
}

// home is the start page; with a place in its address, that place's.
func (p *Public) home(ctx context.Context, q ask) (answer, error) {
	b := homeBody{At: q.at, Empty: len(q.sites) == 0}
	f := p.frame(q, "")
	f.Description = q.lang.T("public.description")
	if code := q.query.Get("tempat"); code != "" {
		var err error
		if s, ok := q.byCode[code]; ok {
			b.Place, b.PlaceName = s.Code, s.Name
			b.Card, err = p.full(ctx, q, s)
		} else if i := slices.IndexFunc(q.districts, func(d *district) bool { return d.Code == code }); i >= 0 {
			d := q.districts[i]
			b.Place, b.PlaceName = d.Code, d.Name
			b.District = q.head(d)
			if high, _, _ := d.best(); high != nil {
				b.Card, err = p.full(ctx, q, high)
			} else if len(d.sites) > 0 {
				b.Card, err = p.full(ctx, q, d.sites[0])
			} else {
				b.Near = q.nearest(d.Lat, d.Lon)
			}
		} else {
			return answer{}, errNotFound
		}
		if err != nil {
			return answer{}, err
		}
		f.canonical = "/?tempat=" + url.QueryEscape(code)
		f.Title = b.PlaceName
		if b.Card != nil {
			f.picture, f.feed = b.Card.Code+"-"+hourName(b.Card.At)+".png", b.Place
			f.Title = q.lang.T("public.title.card", b.PlaceName, b.Card.headline(q.lang))
		}
	}
	counts := [6]int{}
	for _, s := range q.sites {
		switch f, ok := s.current(); {
		case ok:
			counts[f.Index.Category]++
		case s.indexed(q.rules.Rules):
			b.Without++
		}
	}
	for c := figures.Baik; c <= figures.Berbahaya; c++ {
		b.Shares = append(b.Shares, share{Level: c, Word: word(q.lang, c), Range: q.lang.T(page.Key("public.range." + category.Name(c))), Count: counts[c]})
	}
	for _, d := range q.districts {
		b.Districts = append(b.Districts, q.entry(d))
	}
	slices.SortStableFunc(b.Districts, func(a, b entryOf) int { return strings.Compare(bare(a.Name), bare(b.Name)) })
	b.Hexagons = q.hexagons()
	return p.html(q, "beranda", f, b)
}

// bare is a district's name without "Kabupaten" or "Kota": what people look for.
func bare(name string) string {
	for _, prefix := range []string{"Kabupaten ", "Kab. ", "Kota "} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name
}

// brief is a district's name for narrow places.
func brief(name string) string { return strings.Replace(name, "Kabupaten ", "Kab. ", 1) }

func (q ask) entry(d *district) entryOf {
	e := entryOf{Name: d.Name, Short: brief(d.Name), URL: q.districtURL(d)}
	high, _, valid := d.best()
	switch {
	case high != nil:
		f := high.figure
		e.Level, e.Value, e.Word, e.Detail, e.Station = f.Index.Category, index(q.lang, f.Index.Index), word(q.lang, f.Index.Category), q.detail(*f), high.Name
		e.Of = q.lang.T("public.of", q.whole(valid), q.whole(d.stations(q.rules.Rules)))
	case d.stations(q.rules.Rules) > 0:
		e.Word = q.lang.T("public.insufficient")
	case len(d.sites) > 0:
		e.Word = q.lang.T("public.onlyestimate")
	default:
		e.Word = q.lang.T("public.nostation")
	}
	return e
}

// full is a station's card with advice and the last 24 hours.
func (p *Public) full(ctx context.Context, q ask, s *site) (*card, error) {
	c, err := p.card(ctx, q, s)
	if err != nil {
		return nil, err
	}
	if s.indexed(q.rules.Rules) && s.figure != nil {
		list, err := p.span(ctx, figures.Hourly, s, c.At.Add(-24*time.Hour), c.At)
		if err != nil {
			return nil, err
		}
		c.Bars = q.bars("jam", list, c.At)
	}
	return &c, nil
}

// hourName writes an hour into an address, in WIB.
func hourName(t time.Time) string { return t.In(page.WIB).Format("2006-01-02-1504") }

func parseHour(s string) (time.Time, bool) {
	t, err := time.ParseInLocation("2006-01-02-1504", s, page.WIB)
	return t, err == nil && t.Minute() == 0
}

// nearest is the station that is next to a place without one.
type nearest struct {
	Line     line
	Distance string
}

func (q ask) nearest(lat, lon float64) *nearest {
	var best *site
	least := math.Inf(1)
	for _, s := range q.sites {
		if (s.Lat == 0 && s.Lon == 0) || !s.indexed(q.rules.Rules) {
			continue
		}
		if d := kilometres(lat, lon, s.Lat, s.Lon); d < least {
			best, least = s, d
		}
	}
	if best == nil {
		return nil
	}
	return &nearest{Line: q.line(best), Distance: q.lang.T("public.km", q.lang.Number(least, 0))}
}

// kilometres is the distance of two places on a sphere (haversine).
func kilometres(lat1, lon1, lat2, lon2 float64) float64 {
	const rad = math.Pi / 180
	a := math.Pow(math.Sin((lat2-lat1)*rad/2), 2) + math.Cos(lat1*rad)*math.Cos(lat2*rad)*math.Pow(math.Sin((lon2-lon1)*rad/2), 2)
	return 2 * 6371 * math.Asin(math.Sqrt(min(a, 1)))
}

// districtHead is what stands at the top of a district's page.
type districtHead struct {
	Code, Name, URL string
	Station         string
	StationURL      string
	Level           figures.Category
	Value, Word     string
	Detail          string // "2 dari 7 parameter"
	Long            bool   // the value is words
	Range           string // "41 sampai 89"; "" with fewer than two
	Of              string // "2 dari 3 stasiun"
	At              time.Time
	Sentence        string
	Trace           string
	Status          figures.Status
	Revision        int
}

func (q ask) head(d *district) *districtHead {
	h := &districtHead{Code: d.Code, Name: d.Name, URL: q.districtURL(d), At: q.at}
	high, low, valid := d.best()
	stations := d.stations(q.rules.Rules)
	if stations > 0 {
		h.Of = q.lang.T("public.of", q.whole(valid), q.whole(stations))
	}
	if high == nil {
		return h
	}
	f := high.figure
	h.Station, h.StationURL, h.At, h.Trace, h.Status, h.Revision = high.Name, q.siteURL(high), f.End, q.traceURL(*f), f.Status, f.Revision
	h.Level, h.Value, h.Word, h.Detail = f.Index.Category, index(q.lang, f.Index.Index), word(q.lang, f.Index.Category), q.detail(*f)
	h.Long = f.Index.Above
	h.Sentence = q.lang.T(page.Key("public.say."+category.Name(h.Level)), high.Name)
	if lowest := index(q.lang, low.figure.Index.Index); lowest != h.Value {
		h.Range = q.lang.T("public.fromto", lowest, h.Value)
	}
	return h
}

type districtBody struct {
	Head      *districtHead
	Advice    *advice
	Lines     []line
	Near      *nearest
	Days      []districtDay
	Bulletins []bulletinLine
	Feed      string
}

type districtDay struct {
	End     time.Time
	Level   figures.Category
	Value   string
	Word    string
	Detail  string
	Station string
	Trace   string
	Status  figures.Status
	figure  figures.Figure
}

func (p *Public) district(ctx context.Context, q ask) (answer, error) {
	byCode := map[string]*district{}
	for _, d := range q.districts {
		byCode[d.Code] = d
	}
	d, ok := coded(byCode, q.value("name"))
	if !ok {
		return answer{}, errNotFound
	}
	if to := "/wilayah/" + named(d.Code, d.Name); to != q.path {
		return moved(q.lang.Path(to))
	}
	b := districtBody{Head: q.head(d), Feed: q.lang.Path("/umpan/" + d.Code + ".atom")}
	f := p.frame(q, d.Name)
	f.feed, f.picture = d.Code, d.Code+"-"+hourName(b.Head.At)+".png"
	f.simulated = false
	if b.Head.Level != figures.CategoryNone {
		b.Advice = p.advice(q.lang, b.Head.Level)
		f.Title = q.lang.T("public.title.card", d.Name, q.lang.T("public.ispu")+" "+b.Head.Value+", "+b.Head.Word)
		f.Description = b.Head.Sentence
	}
	for _, s := range d.sites {
		b.Lines = append(b.Lines, q.line(s))
		f.simulated = f.simulated || s.Simulated
	}
	if len(d.sites) == 0 {
		b.Near = q.nearest(d.Lat, d.Lon)
	}
	days, err := p.days(ctx, q, d)
	if err != nil {
		return answer{}, err
	}
	b.Days = days
	if b.Bulletins, err = p.newestBulletins(ctx, q, 3); err != nil {
		return answer{}, err
	}
	b.Bulletins = b.Bulletins[:min(len(b.Bulletins), 4)]
	return p.html(q, "wilayah", f, b)
}

// days are the highest ISPU harian of the last seven days, the newest first.
func (p *Public) days(ctx context.Context, q ask, d *district) ([]districtDay, error) {
	midnight := dayOf(q.now)
	byDay := map[int64]districtDay{}
	for _, s := range d.sites {
		list, err := p.span(ctx, figures.Daily, s, midnight.AddDate(0, 0, -7), midnight)
		if err != nil {
			return nil, err
		}
		for _, f := range list {
			at := f.End.Unix()
			if !f.OK || f.Estimate || (byDay[at].figure.OK && !figures.Higher(f, byDay[at].figure)) {
				continue
			}
			byDay[at] = districtDay{figure: f, Detail: q.detail(f), End: f.End, Level: f.Index.Category, Value: index(q.lang, f.Index.Index), Word: word(q.lang, f.Index.Category), Station: s.Name, Trace: q.traceURL(f), Status: f.Status}
		}
	}
	if len(byDay) == 0 {
		return nil, nil
	}
	var out []districtDay
	for i := range 7 {
		end := midnight.AddDate(0, 0, -i)
		row, ok := byDay[end.Unix()]
		if !ok {
			row = districtDay{End: end, Word: q.lang.T("public.insufficient")}
		}
		out = append(out, row)
	}
	return out, nil
}

// dayOf is the midnight (WIB) that began the day of t.
func dayOf(t time.Time) time.Time {
	t = t.In(page.WIB)
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, page.WIB)
}

type airBody struct {
	At           time.Time
	Live         bool // the newest hour
	Older, Newer string
	Lines        []airLine
	Hexagons     any
	Empty        bool
}

type airLine struct {
	line
	District string
	Dominant figures.Parameter
}

// air lists all stations at one hour: the newest, or the one in the address.
func (p *Public) air(ctx context.Context, q ask) (answer, error) {
	b := airBody{At: q.at, Live: true, Empty: len(q.sites) == 0}
	f := p.frame(q, q.lang.T("public.nav.udara"))
	f.Description = q.lang.T("public.air.description")
	if asked := q.query.Get("jam"); asked != "" {
		at, ok := parseHour(asked)
		if !ok || at.After(q.at) {
			return answer{}, errNotFound
		}
		f.canonical = "/udara?jam=" + asked
		if !at.Equal(q.at) {
			b.At, b.Live, f.lasting = at, false, true
			all, err := p.everywhere(ctx, at)
			if err != nil {
				return answer{}, err
			}
			then := *q.state // the same sites with that hour's figures
			then.at, then.sites, then.districts = at, nil, nil
			moved := map[string]*district{}
			for _, d := range q.districts {
				moved[d.Code] = &district{District: d.District}
				then.districts = append(then.districts, moved[d.Code])
			}
			for _, s := range q.sites {
				old := *s
				old.figure, old.good, old.class, old.district = nil, nil, s.ClassAt(at), moved[s.District]
				if fig, ok := all[s.Code]; ok {
					old.figure = &fig
				}
				then.sites = append(then.sites, &old)
				old.district.sites = append(old.district.sites, &old)
			}
			q.state = &then
		} else {
			return moved(q.lang.Path("/udara"))
		}
	}
	f.picture = "provinsi-" + hourName(b.At) + ".png"
	b.Older = q.lang.Path("/udara?jam=" + hourName(b.At.Add(-time.Hour)))
	if !b.Live {
		b.Newer = q.lang.Path("/udara?jam=" + hourName(b.At.Add(time.Hour)))
	}
	for _, s := range q.sites {
		l := airLine{line: q.line(s), District: brief(s.district.Name)}
		if fig, ok := s.current(); ok {
			l.Dominant = fig.Index.Dominant
		}
		b.Lines = append(b.Lines, l)
	}
	slices.SortStableFunc(b.Lines, func(a, b airLine) int { return strings.Compare(bare(a.District), bare(b.District)) })
	b.Hexagons = q.hexagons()
	return p.html(q, "udara", f, b)
}

type searchBody struct {
	Query   string
	Results []result
	Near    []result // no result, but these sound alike
}

type result struct {
	Name, URL, Kind string
	Level           figures.Category
	Value, Word     string
	Detail          string
	part            bool // of what stands at URL: a subdistrict has no page of its own
}

// search finds places by name; the only one of a name is the answer itself.
func (p *Public) search(_ context.Context, q ask) (answer, error) {
	b := searchBody{Query: page.Clean(q.query.Get("q"))}
	f := p.frame(q, q.lang.T("public.search"))
	f.canonical, f.hidden, f.lasting = "", true, true
	b.Results, b.Near = q.look(b.Query, p.o.Places.Boundaries(places.LevelSubdistrict))
	if len(b.Results) == 1 && len(b.Near) == 0 && !b.Results[0].part && exact(b.Query, b.Results[0].Name) {
		return answer{status: http.StatusFound, location: b.Results[0].URL}, nil
	}
	return p.html(q, "cari", f, b)
}

// near lists the stations for a phone that knows where it is and tells nobody.
func (p *Public) near(_ context.Context, q ask) (answer, error) {
	type place struct {
		Name  string  `json:"n"`
		URL   string  `json:"u"`
		Lat   float64 `json:"a"`
		Lon   float64 `json:"o"`
		Value string  `json:"v"`
	}
	list := []place{}
	for _, s := range q.sites {
		if s.Lat == 0 && s.Lon == 0 {
			continue
		}
		l := q.line(s)
		list = append(list, place{Name: s.Name, URL: l.URL, Lat: s.Lat, Lon: s.Lon, Value: q.simulatedText(strings.TrimSuffix(strings.TrimSpace(l.Value+" "+l.Word)+", "+l.Detail, ", "), s.Simulated)})
	}
	return asJSON(list)
}

// embed is a card for other sites' pages.
func (p *Public) embed(ctx context.Context, q ask) (answer, error) {
	code := q.value("code")
	s, ok := q.byCode[code]
	var head *districtHead
	if i := slices.IndexFunc(q.districts, func(d *district) bool { return d.Code == code }); !ok && i >= 0 {
		head = q.head(q.districts[i])
		if s, _, _ = q.districts[i].best(); s == nil && len(q.districts[i].sites) > 0 {
			s = q.districts[i].sites[0]
		}
		ok = true
	}
	if !ok {
		return answer{}, errNotFound
	}
	body := struct {
		Card     *card
		District *districtHead
	}{District: head}
	f := p.frame(q, code)
	f.canonical, f.hidden, f.simulated = "", true, false
	if s != nil {
		c, err := p.card(ctx, q, s)
		if err != nil {
			return answer{}, err
		}
		body.Card, f.Title, f.simulated = &c, c.Name, s.Simulated
	}
	a, err := p.html(q, "sematan", f, body)
	a.framed = true
	return a, err
}

// text makes a page of the catalogue's words alone: public.NAME.title, .lead and
// .1, .1.p, .2, …
func text(name string) func(*Public, context.Context, ask) (answer, error) {
	type section struct{ Head, Text string }
	return func(p *Public, _ context.Context, q ask) (answer, error) {
		key := func(part string) page.Key { return page.Key("public." + name + "." + part) }
		b := struct {
			Name, Lead string
			Sections   []section
			Agency     figures.Agency
			Seen       bool
		}{Name: name, Lead: q.lang.T(key("lead")), Agency: q.agency, Seen: name == "luring"}
		for i := 1; page.Has(key(strconv.Itoa(i))); i++ {
			b.Sections = append(b.Sections, section{q.lang.T(key(strconv.Itoa(i))), q.lang.T(key(fmt.Sprint(i, ".p")))})
		}
		f := p.frame(q, q.lang.T(key("title")))
		f.Description, f.simulated, f.lasting = b.Lead, false, true
		f.hidden = b.Seen
		return p.html(q, "teks", f, b)
	}
}
