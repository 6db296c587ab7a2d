package figures

// MonthSummary is what a month of one station's daily figures comes to.
type MonthSummary struct {
	Days       int    // of the month that have ended
	Judged     int    // of Days, those with an index
	Categories [6]int // of Days, by Category; CategoryNone: not judged
	// Mean is of the daily indices, without meaning unless Enough: below the share of
	// judged days there is none.
	Mean    float64
	Enough  bool
	Highest Figure // of the highest day, the first of several; without OK there is none
	// Hours of HoursOf are valid, over all days that have a figure and all parameters
	// that the station measured on them.
	Hours, HoursOf int
	Estimate       bool // an indicative station's: estimates, no index
	Simulated      bool
}

// SummariseMonth sums up a station's daily figures of one month. days is how many
// days of the month have ended, share the part of them that must be judged
// (Rules.YearShare).
func SummariseMonth(list []Figure, days int, share float64) MonthSummary {
	s := MonthSummary{Days: days}
	total := 0
	for _, f := range list {
		s.Simulated = s.Simulated || f.Simulated
		for _, p := range f.Parts {
			s.Hours, s.HoursOf = s.Hours+p.Hours, s.HoursOf+24
		}
		if !f.OK {
			continue
		}
		s.Estimate = s.Estimate || f.Estimate
		s.Judged++
		s.Categories[f.Index.Category]++
		total += f.Index.Value
		if !s.Highest.OK || Higher(f, s.Highest) {
			s.Highest = f
		}
	}
	s.Categories[CategoryNone] = max(0, days-s.Judged)
	if s.Judged > 0 {
		s.Mean = float64(total) / float64(s.Judged)
	}
	s.Enough = s.Judged > 0 && float64(s.Judged) >= share*float64(days)
	return s
}
