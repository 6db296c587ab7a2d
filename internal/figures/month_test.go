package figures

import (
	"slices"
	"testing"
	"time"
)

func TestSummariseMonth(t *testing.T) {
	day := func(n, value int, c Category, hours int) Figure {
		return Figure{OK: value > 0, End: time.Date(2026, 10, n+1, 0, 0, 0, 0, WIB), Index: Station{Index: Index{Value: value, Exact: float64(value), Category: c}}, Parts: []Part{{Parameter: PM25, Hours: hours}, {Parameter: PM10, Hours: 24}}}
	}
	list := []Figure{day(1, 40, Baik, 24), day(2, 120, TidakSehat, 20), day(3, 0, CategoryNone, 4), day(4, 120, TidakSehat, 24)}
	got := SummariseMonth(list, 4, 0.75)
	if got.Judged != 3 || got.Days != 4 || !got.Enough || got.Mean < 93.3 || got.Mean > 93.4 {
		t.Errorf("three of four days: %+v", got)
	}
	if got.Categories != [6]int{1, 1, 0, 2, 0, 0} {
		t.Errorf("days by category: %v", got.Categories)
	}
	if !got.Highest.End.Equal(list[1].End) {
		t.Errorf("the highest of two alike is the first, not %v", got.Highest.End)
	}
	if got.Hours != 72+96 || got.HoursOf != 4*48 {
		t.Errorf("%d of %d hours", got.Hours, got.HoursOf)
	}
	// The same days of a whole month are too few for a mean.
	if got := SummariseMonth(list, 31, 0.75); got.Enough || got.Categories[CategoryNone] != 28 || got.Judged != 3 {
		t.Errorf("three of 31 days: %+v", got)
	}
	if got := SummariseMonth(nil, 31, 0.75); got.Enough || got.Highest.OK || got.Mean != 0 {
		t.Errorf("nothing: %+v", got)
	}
	// Beyond the table the concentration says which day was worse.
	above := func(mean float64) Figure {
		return judge(Daily, time.Date(2026, 10, 5, 0, 0, 0, 0, WIB).UTC(), flat("pm2_5", time.Date(2026, 10, 5, 0, 0, 0, 0, WIB).UTC(), 24, mean), DefaultRules())
	}
	if got := SummariseMonth([]Figure{above(600), above(900)}, 4, 0.75); got.Highest.Parts[0].Mean != 900 {
		t.Errorf("of two days beyond the table the one of %v shows", got.Highest.Parts[0].Mean)
	}
}

func TestTheHighestFigureComesFirst(t *testing.T) {
	beyond := func(mean float64) Figure {
		return Figure{OK: true, Index: Station{Index: Index{Value: 500, Exact: 500, Above: true}, Dominant: PM25}, Parts: []Part{{Parameter: PM25, Mean: mean, OK: true}}}
	}
	list := []Figure{{Site: "none"}, beyond(600), {Site: "low", OK: true, Index: Station{Index: Index{Value: 40, Exact: 40}}}, beyond(900)}
	slices.SortStableFunc(list, Compare)
	if list[0].Parts[0].Mean != 900 || list[1].Parts[0].Mean != 600 || list[2].Site != "low" || list[3].Site != "none" {
		t.Errorf("%+v", list)
	}
}
