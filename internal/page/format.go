package page

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// WIB is Waktu Indonesia Barat, UTC+7, the zone of Central Java. It has no
// daylight saving.
var WIB = time.FixedZone("WIB", 7*60*60)

// Number writes v with the given number of decimals, with the language's
// decimal mark and thousands separator: 1.234,5 in Indonesian, 1,234.5 in
// English. Negative numbers carry a real minus sign.
func (l Lang) Number(v float64, decimals int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	s := strconv.FormatFloat(math.Abs(v), 'f', decimals, 64)
	whole, fraction, _ := strings.Cut(s, ".")
	mark, group := ",", "."
	if l == English {
		mark, group = ".", ","
	}
	var b strings.Builder
	if v < 0 && strings.Trim(s, "0.") != "" {
		b.WriteString("−")
	}
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString(group)
		}
		b.WriteRune(digit)
	}
	if fraction != "" {
		b.WriteString(mark)
		b.WriteString(fraction)
	}
	return b.String()
}

// Count writes a whole number.
func (l Lang) Count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	group := "."
	if l == English {
		group = ","
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + group + s[i:]
	}
	return s
}

// Value writes a measured number with as many decimals as its quantity
// deserves: those that its sensors resolve, not those that a float carries.
func (l Lang) Value(quantity string, v float64) string {
	return l.Number(v, Decimals(quantity, v))
}

// Decimals returns how many decimals a value of the quantity is shown with.
func Decimals(quantity string, v float64) int {
	switch quantity {
	case "co2", "distance", "disk_free", "spool_depth", "uptime", "clock_quality", "under_voltage":
		return 0
	case "energy", "energy_export", "power_factor", "ph", "frequency":
		return 2
	case "current", "particle_size":
		return 3
	}
	if a := math.Abs(v); a != 0 && a < 1 {
		return 2
	}
	return 1
}

// maxUnit bounds a foreign unit, which stands unbroken beside its number.
const maxUnit = 12

// Unit writes a unit for people; a number without one ("1") has none.
func Unit(u telemetry.Unit) string {
	if u == telemetry.One {
		return ""
	}
	return shorten(Plain(string(u)), maxUnit)
}

func shorten(s string, most int) string {
	if utf8.RuneCountInString(s) > most {
		return string([]rune(s)[:most-1]) + "…"
	}
	return s
}

var months = map[Lang][]string{
	Indonesian: {"Januari", "Februari", "Maret", "April", "Mei", "Juni", "Juli", "Agustus", "September", "Oktober", "November", "Desember"},
	English:    {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"},
}

// Clock writes the time of day in WIB without the zone: 09.05 or 09:05.
func (l Lang) Clock(t time.Time) string {
	if l == English {
		return t.In(WIB).Format("15:04")
	}
	return t.In(WIB).Format("15.04")
}

// Date writes the day in WIB: 23 November 2026.
func (l Lang) Date(t time.Time) string {
	t = t.In(WIB)
	return strconv.Itoa(t.Day()) + " " + months[l][t.Month()-1] + " " + strconv.Itoa(t.Year())
}

// ShortDate writes the day in WIB as an axis has room for it: 23 Nov.
func (l Lang) ShortDate(t time.Time) string {
	return strconv.Itoa(t.In(WIB).Day()) + " " + l.ShortMonth(t)
}

// ShortMonth writes the month in WIB in three letters: Nov, Agu.
func (l Lang) ShortMonth(t time.Time) string {
	name := months[l][t.In(WIB).Month()-1]
	if name == "Agustus" {
		return "Agu"
	}
	return name[:3]
}

// Month writes month and year in WIB: November 2026.
func (l Lang) Month(t time.Time) string {
	t = t.In(WIB)
	return months[l][t.Month()-1] + " " + strconv.Itoa(t.Year())
}

var weekdays = map[Lang][7]string{
	Indonesian: {"Minggu", "Senin", "Selasa", "Rabu", "Kamis", "Jumat", "Sabtu"},
	English:    {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"},
}

// Weekday names a day of the week.
func (l Lang) Weekday(d time.Weekday) string { return weekdays[l][d] }

// Moment writes day, time and zone: "23 November 2026 pukul 09.05 WIB".
func (l Lang) Moment(t time.Time) string {
	return l.T("time.moment", l.Date(t), l.Clock(t))
}

// Span writes a duration in its largest fitting unit: "12 menit".
func (l Lang) Span(d time.Duration) string {
	n, unit := span(d)
	if n == 1 {
		return l.T(Key("span." + unit))
	}
	return l.T(Key("span."+unit+"s"), l.Number(float64(n), 0))
}

// Age writes how long ago something was, as browsers' Intl.RelativeTimeFormat
// does, which keeps it current where scripts run: "12 menit yang lalu". What
// is at most five seconds old, or ahead by a clock's inaccuracy, is "baru saja".
func (l Lang) Age(d time.Duration) string {
	switch {
	case d < -5*time.Second:
		return l.T("age.ahead", l.Span(-d))
	case d <= 5*time.Second:
		return l.T("age.now")
	}
	return l.T("age.ago", l.Span(d))
}

func span(d time.Duration) (n int64, unit string) {
	switch {
	case d < time.Minute:
		return int64(d / time.Second), "second"
	case d < time.Hour:
		return int64(d / time.Minute), "minute"
	case d < 48*time.Hour:
		return int64(d / time.Hour), "hour"
	}
	return int64(d / (24 * time.Hour)), "day"
}

// maxPlain bounds what a device or a person may put into one place of a page.
const maxPlain = 160

// Clean makes foreign text harmless to read: control characters and marks that
// change the writing direction or hide (Unicode Cf) become U+FFFD, what is not
// UTF-8 too. It does not escape HTML: templates do.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return utf8.RuneError
		}
		return r
	}, s)
}

// Said is what somebody wrote into a field of several lines: Clean, with its line
// breaks.
func Said(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		lines = append(lines, Clean(strings.TrimRight(line, "\r\n")))
	}
	return strings.Join(lines, "\n")
}

// Plain is Clean, and ends with an ellipsis after 160 characters.
func Plain(s string) string { return shorten(Clean(s), maxPlain) }
