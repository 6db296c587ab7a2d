package figures

import "time"

// Present is the "now" of one parameter: the mean of its last valid hour. It is no
// index: Category is that of the concentration ("kategori konsentrasi 1 jam, bukan
// ISPU").
type Present struct {
	Parameter Parameter `json:"parameter"`
	End       time.Time `json:"end"`
	Mean      float64   `json:"mean"` // µg/m³ at 25 °C, 1 atm
	Category  Category  `json:"category"`
}

// PresentOf finds them for a site at a time, in the order of Parameters; an hour
// older than Gates.NewestHour is no "now" any more.
func PresentOf(site string, at time.Time, hours []SiteHour, r Rules) []Present {
	end := at.Truncate(time.Hour)
	var out []Present
	for _, p := range Parameters() {
		series, _ := r.series(p, site, end, hours)
		for i := 23; i >= 23-r.Gates.NewestHour && i >= 0; i-- {
			if !series[i].Valid {
				continue
			}
			index, ok := SubIndex(p, series[i].Mean, r.Breakpoints, r.Nodes)
			if ok {
				out = append(out, Present{Parameter: p, End: end.Add(-time.Duration(23-i) * time.Hour), Mean: series[i].Mean, Category: index.Category})
			}
			break
		}
	}
	return out
}
