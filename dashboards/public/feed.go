package public

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

// Atom (RFC 4287).
type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	Lang    string      `xml:"xml:lang,attr"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Updated string      `xml:"updated"`
	Author  atomAuthor  `xml:"author"`
	Links   []atomLink  `xml:"link"`
	Entries []atomEntry `xml:"entry"`
}

type atomAuthor struct {
	Name string `xml:"name"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr,omitempty"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	ID      string   `xml:"id"`
	Title   string   `xml:"title"`
	Updated string   `xml:"updated"`
	Link    atomLink `xml:"link"`
	Summary string   `xml:"summary"`
}

// feedDays is how far back a feed tells.
const feedDays = 14

// feed tells of changes of category, and of bulletins, at a station or in a
// district.
func (p *Public) feed(ctx context.Context, q ask) (answer, error) {
	code, ok := strings.CutSuffix(q.value("file"), ".atom")
	if !ok {
		return answer{}, errNotFound
	}
	var sites []*site
	name, path := "", ""
	if s, ok := q.byCode[code]; ok {
		sites, name, path = []*site{s}, s.Name, q.siteURL(s)
	} else if i := slices.IndexFunc(q.districts, func(d *district) bool { return d.Code == code }); i >= 0 {
		d := q.districts[i]
		sites, name, path = d.sites, d.Name, q.districtURL(d)
	} else {
		return answer{}, errNotFound
	}
	base := p.o.BaseURL
	author := q.agency.Name
	if author == "" {
		author = "Pantau"
	}
	f := atomFeed{
		Lang: string(q.lang), ID: base + q.lang.Path("/umpan/"+code+".atom"), Title: page.Plain(q.lang.T("public.feed", name)), Author: atomAuthor{page.Plain(author)},
		Links: []atomLink{{Rel: "alternate", Type: "text/html", Href: base + path}, {Rel: "self", Type: "application/atom+xml", Href: base + q.lang.Path("/umpan/"+code+".atom")}},
	}
	from := q.now.AddDate(0, 0, -feedDays)
	for _, s := range sites {
		list, err := p.span(ctx, figures.Hourly, s, from, q.now)
		if err != nil {
			return answer{}, err
		}
		before := figures.CategoryNone
		for _, fig := range list {
			if !fig.OK || fig.Estimate || fig.Index.Category == before {
				continue
			}
			if before != figures.CategoryNone { // the first one is no change
				f.Entries = append(f.Entries, atomEntry{
					ID: base + "/bukti/" + fig.ID, Updated: fig.Published.UTC().Format(time.RFC3339), Link: atomLink{Rel: "alternate", Href: base + q.traceURL(fig)},
					Title:   page.Plain(q.simulatedText(q.lang.T("public.feed.change", s.Name, word(q.lang, fig.Index.Category), q.lang.Clock(fig.End)), fig.Simulated)),
					Summary: page.Plain(q.lang.T("public.feed.summary", q.lang.Moment(fig.End), index(q.lang, fig.Index.Index), word(q.lang, fig.Index.Category), q.detail(fig), word(q.lang, before))),
				})
			}
			before = fig.Index.Category
		}
	}
	lines, err := p.newestBulletins(ctx, q, feedDays)
	if err != nil {
		return answer{}, err
	}
	for _, l := range lines {
		f.Entries = append(f.Entries, atomEntry{
			ID: fmt.Sprintf("%s/buletin/%s?revisi=%d", base, l.ID, l.Revision), Updated: l.At.UTC().Format(time.RFC3339), Link: atomLink{Rel: "alternate", Href: base + l.URL},
			Title:   q.simulatedText(q.lang.T("public.bulletin.title", q.lang.Moment(l.At)), l.Simulated),
			Summary: q.lang.T("public.bulletin.line", q.whole(l.Judged), q.whole(l.Stations)),
		})
	}
	slices.SortStableFunc(f.Entries, func(a, b atomEntry) int { return strings.Compare(b.Updated, a.Updated) })
	f.Updated = q.at.UTC().Format(time.RFC3339)
	if len(f.Entries) > 0 && f.Entries[0].Updated > f.Updated {
		f.Updated = f.Entries[0].Updated
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", " ")
	if err := e.Encode(f); err != nil {
		return answer{}, fmt.Errorf("write the feed of %s: %w", code, err)
	}
	return answer{contentType: "application/atom+xml; charset=utf-8", body: b.Bytes()}, nil
}
