package chart

import "time"

// Hour sums up the points of one hour: what a chart shows, as a row of a table.
type Hour struct {
	From, To time.Time
	Valid    int // readings that the three values come from
	Mean     float64
	Low      float64
	High     float64
	Rejected int
	Gaps     int
	Note     string // why values are missing or rejected, the most frequent reason
}

// Hours returns one row for each hour of the zone that holds points, newest
// first. The values are for reading the chart, not for publication: official
// hourly figures have their own rules.
func (c Chart) Hours() []Hour {
	var out []Hour
	var sum float64
	notes := map[string]int{}
	finish := func() {
		if n := len(out); n > 0 {
			if out[n-1].Valid > 0 {
				out[n-1].Mean = sum / float64(out[n-1].Valid)
			}
			if len(notes) > 0 {
				out[n-1].Note = c.note(notes)
			}
		}
		sum = 0
		clear(notes)
	}
	for _, p := range c.Points {
		if !c.within(p) {
			continue
		}
		from := p.Time.Truncate(time.Hour) // whole hours of UTC are whole hours of WIB
		if n := len(out); n == 0 || !out[n-1].From.Equal(from) {
			finish()
			out = append(out, Hour{From: from, To: from.Add(time.Hour)})
		}
		h := &out[len(out)-1]
		switch {
		case p.Gap:
			h.Gaps++
			notes[p.Note]++
		case p.Rejected:
			h.Rejected++
			notes[p.Note]++
		default:
			if h.Valid == 0 || p.Value < h.Low {
				h.Low = p.Value
			}
			if h.Valid == 0 || p.Value > h.High {
				h.High = p.Value
			}
			h.Valid++
			sum += p.Value
		}
	}
	finish()
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
