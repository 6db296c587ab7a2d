package figures

// Area is what a district shows: the highest valid index of its stations, never a
// mean (the index belongs to a station).
type Area struct {
	OK      bool   `json:"ok"`
	Highest Figure `json:"highest,omitzero"` // without meaning if not OK
	Lowest  Figure `json:"lowest,omitzero"`
	Valid   int    `json:"valid"` // stations that can be judged
	Of      int    `json:"of"`    // stations that yield an index
}

// AreaOf joins the figures of one time of an area's sites, which are asked for by
// site. Estimates and sites without a figure do not count; of equal ones the
// first in the order of sites shows.
func AreaOf(sites []string, at map[string]Figure) (a Area) {
	for _, site := range sites {
		f, ok := at[site]
		if !ok || f.Estimate {
			continue
		}
		a.Of++
		if !f.OK {
			continue
		}
		a.Valid++
		if !a.OK || Higher(f, a.Highest) {
			a.Highest = f
		}
		if !a.OK || Higher(a.Lowest, f) {
			a.Lowest = f
		}
		a.OK = true
	}
	return a
}

// Higher compares two figures that are OK. Beyond the table the concentration
// over its last node decides.
func Higher(a, b Figure) bool {
	if a.Index.Above && b.Index.Above {
		return a.beyond() > b.beyond()
	}
	return a.Index.Exact > b.Index.Exact
}

// Compare orders figures, the highest first; those that are not OK come last.
func Compare(a, b Figure) int {
	switch {
	case a.OK != b.OK && a.OK, a.OK && b.OK && Higher(a, b):
		return -1
	case a.OK != b.OK, a.OK && Higher(b, a):
		return 1
	}
	return 0
}

func (f Figure) beyond() float64 {
	for _, p := range f.Parts {
		if last, ok := BreakpointsP14()[p.Parameter]; ok && p.Parameter == f.Index.Dominant {
			return p.Mean / last[4]
		}
	}
	return 0
}

// Counts says how many stations lie in each category; CategoryNone counts those
// that cannot be judged. Estimates do not count.
func Counts(sites []string, at map[string]Figure) map[Category]int {
	out := map[Category]int{}
	for _, site := range sites {
		f, ok := at[site]
		switch {
		case !ok || f.Estimate:
		case f.OK:
			out[f.Index.Category]++
		default:
			out[CategoryNone]++
		}
	}
	return out
}
