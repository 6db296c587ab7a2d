package figures

import "time"

// WIB is Waktu Indonesia Barat, the province's time. It has whole hours, so its
// hours are those of UTC.
var WIB = time.FixedZone("WIB", 7*60*60)

// Day returns the first instant of the day (WIB) to which the hour that ends at
// end belongs: midnight ends the day before.
func Day(end time.Time) time.Time {
	y, m, d := end.Add(-time.Nanosecond).In(WIB).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, WIB).UTC()
}

// MonthOf names the month (WIB, "2026-11") to which the hour or day that ends at
// end belongs.
func MonthOf(end time.Time) string { return end.Add(-time.Nanosecond).In(WIB).Format("2006-01") }

// MonthSpan returns a month's first instant and the first after it.
func MonthSpan(month string) (from, to time.Time, err error) {
	from, err = time.ParseInLocation("2006-01", month, WIB)
	if err != nil {
		return from, to, err
	}
	return from.UTC(), from.AddDate(0, 1, 0).UTC(), nil
}

// YearSpan returns a calendar year's first instant (WIB) and the first after it.
func YearSpan(year int) (from, to time.Time) {
	return time.Date(year, 1, 1, 0, 0, 0, 0, WIB).UTC(), time.Date(year+1, 1, 1, 0, 0, 0, 0, WIB).UTC()
}
