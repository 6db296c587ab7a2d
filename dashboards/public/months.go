package public

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/pantau-id/pantau/internal/page"
)

// monthRows is how many rows of a month stand on one page: as many as fit into one
// round trip.
const monthRows = 100

// silentMonths is how many months without a row a list looks past for the next one.
const silentMonths = 24

// monthNav leads through a list that goes back for ever. A month's pages are counted
// from its beginning, so that an address goes on to show the same rows.
type monthNav struct {
	Name         string // "November 2026"
	Older, Newer *page.Link
	Pages        []page.Link // none if all stands on one
	Newest       bool        // this is the month's newest page
	from         time.Time
}

// month finds the rows of the month and page that the address names, normally the
// newest of this month. list returns those with from <= time < to, the oldest first;
// what comes back begins with the newest.
func month[T any](q ask, list func(from, to time.Time) ([]T, error)) (rows []T, nav monthNav, canonical string, err error) {
	today := dayOf(q.now)
	this := today.AddDate(0, 0, 1-today.Day())
	from := this
	if asked := q.query.Get("bulan"); asked != "" {
		if from, err = time.ParseInLocation("2006-01", asked, page.WIB); err != nil || from.After(this) || from.Year() < 2000 {
			return nil, nav, "", errNotFound
		}
	}
	all, err := list(from, from.AddDate(0, 1, 0))
	if err != nil {
		return nil, nav, "", err
	}
	pages := max(1, (len(all)+monthRows-1)/monthRows)
	shown := pages
	if asked := q.query.Get("halaman"); asked != "" {
		if shown, err = strconv.Atoi(asked); err != nil || shown < 1 || shown > pages {
			return nil, nav, "", errNotFound
		}
	}
	address := func(from time.Time, n int) string {
		v := url.Values{}
		if !from.Equal(this) {
			v.Set("bulan", from.Format("2006-01"))
		}
		if n > 0 {
			v.Set("halaman", strconv.Itoa(n))
		}
		if len(v) == 0 {
			return q.path
		}
		return q.path + "?" + v.Encode()
	}
	number := func(n int) int { // the newest page of a month needs none
		if n == pages {
			return 0
		}
		return n
	}
	rows = slices.Clone(all[(shown-1)*monthRows : min(shown*monthRows, len(all))])
	slices.Reverse(rows)
	nav = monthNav{Name: q.lang.Month(from), Newest: shown == pages, from: from}
	for n := 1; n <= pages && pages > 1; n++ {
		nav.Pages = append(nav.Pages, page.Link{URL: q.lang.Path(address(from, number(n))), Text: q.whole(n), Current: n == shown})
	}
	for _, way := range []struct {
		step int
		to   **page.Link
	}{{-1, &nav.Older}, {1, &nav.Newer}} {
		for i := 1; i <= silentMonths; i++ {
			at := from.AddDate(0, i*way.step, 0)
			if at.After(this) {
				break
			}
			there, err := list(at, at.AddDate(0, 1, 0))
			if err != nil {
				return nil, nav, "", err
			}
			if len(there) > 0 || at.Equal(this) {
				*way.to = &page.Link{URL: q.lang.Path(address(at, 0)), Text: q.lang.Month(at)}
				break
			}
		}
	}
	return rows, nav, address(from, number(shown)), nil
}
