package public

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/pantau-id/pantau/internal/places"
)

func asJSON(v any) (answer, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return answer{}, fmt.Errorf("write JSON: %w", err)
	}
	return answer{contentType: "application/json", body: body}, nil
}

// words are the parts of a name that people look for, in lower case and without
// accents.
func words(s string) []string {
	plain := strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r):
			return -1
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return ' '
	}, norm.NFD.String(s))
	return strings.Fields(plain)
}

func exact(query, name string) bool { return slices.Equal(words(query), words(name)) }

// common words say nothing about a place by themselves.
var common = map[string]bool{"kota": true, "kabupaten": true, "kab": true, "stasiun": true, "di": true}

// look finds districts, their subdistricts and stations by name or code, stations
// by the name of their subdistrict, too. All words of the query must match the
// beginning of a word of the place; what only sounds like one (a letter more,
// less, wrong or swapped) comes apart.
func (q ask) look(query string, subdistricts *places.Boundaries) (found, near []result) {
	asked := words(query)
	meant := slices.DeleteFunc(slices.Clone(asked), func(w string) bool { return common[w] })
	if len(meant) == 0 {
		meant = asked
	}
	if len(meant) == 0 {
		return nil, nil
	}
	add := func(result func() result, names ...string) {
		has := words(strings.Join(names, " "))
		best := 2
		for _, w := range meant {
			worst := 0
			for _, h := range has {
				worst = max(worst, alike(w, h))
			}
			best = min(best, worst)
		}
		for _, w := range asked { // "kota semarang" is not the kabupaten
			if (w == "kota" || strings.HasPrefix(w, "kab")) && best == 2 && !slices.ContainsFunc(has, func(h string) bool { return strings.HasPrefix(h, w) }) {
				best = 1
			}
		}
		switch best {
		case 2:
			found = append(found, result())
		case 1:
			near = append(near, result())
		}
	}
	for _, d := range q.districts {
		of := func(name, kind string, part bool) func() result {
			return func() result {
				e := q.entry(d)
				return result{Name: name, URL: e.URL, Kind: kind, Level: e.Level, Value: e.Value, Word: e.Word, Detail: e.Detail, part: part}
			}
		}
		add(of(d.Name, q.lang.T("public.district"), false), d.Name, d.Code)
		for _, a := range subdistricts.Within(d.Code) {
			add(of(a.Name, q.lang.T("public.subdistrict", d.Name), true), a.Name, a.Code)
		}
	}
	for _, s := range q.sites {
		area, _ := subdistricts.Find(s.Subdistrict)
		add(func() result {
			l := q.line(s)
			return result{Name: s.Name, URL: l.URL, Kind: q.lang.T("public.station"), Level: l.Level, Value: l.Value, Word: l.Word, Detail: l.Detail}
		}, s.Name, s.Code, area.Name)
	}
	return found, near
}

// alike is 2 if the word begins so, 1 if it nearly does, 0 if not.
func alike(asked, word string) int {
	if strings.HasPrefix(word, asked) {
		return 2
	}
	a, w := []rune(asked), []rune(word)
	most := 0
	switch {
	case len(a) >= 7:
		most = 2
	case len(a) >= 4:
		most = 1
	}
	for _, n := range []int{len(a) - 1, len(a), len(a) + 1, len(w)} { // also of a beginning
		if n > 0 && n <= len(w) && most > 0 && distance(a, w[:n]) <= most {
			return 1
		}
	}
	return 0
}

// distance counts the letters that are missing, too many, wrong or swapped with
// their neighbour (optimal string alignment).
func distance(a, b []rune) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
