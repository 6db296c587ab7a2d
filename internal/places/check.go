package places

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Why names what is wrong with a field, for a page's own words.
type Why string

// The reasons.
const (
	Missing Why = "missing" // must not be empty
	Format  Why = "format"  // not written as it must be
	Range   Why = "range"   // outside of what can be
	Unknown Why = "unknown" // nothing of that name
	Order   Why = "order"   // begins after its end
	Fixed   Why = "fixed"   // may not change any more
	Closed  Why = "closed"  // the site is closed
	Taken   Why = "taken"   // something else has it at that time: Other
	Twice   Why = "twice"   // stands twice
)

// Problem is one field that can't be taken.
type Problem struct {
	Record string `json:"record"` // "site smg-1", "sensor …", "deployment …"
	Field  string `json:"field"`  // as in JSON and in the head of an import file
	Value  string `json:"value"`
	Why    Why    `json:"why"`
	Want   string `json:"want"`            // what would be right, in English
	Other  string `json:"other,omitempty"` // ID of the deployment in the way
}

// Error returns it as a sentence.
func (p Problem) Error() string {
	return fmt.Sprintf("%s: %s %q: %s", p.Record, p.Field, p.Value, p.Want)
}

// Problems are all that is wrong with a change; nothing of it holds.
type Problems []Problem

// Error returns them, a line each.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}

// wrong gathers the problems of one record.
type wrong struct {
	record string
	list   *Problems
}

func (w wrong) add(field, value string, why Why, want string, args ...any) {
	*w.list = append(*w.list, Problem{Record: w.record, Field: field, Value: value, Why: why, Want: fmt.Sprintf(want, args...)})
}

// Jawa Tengah with a margin for its islands: a swapped or mistyped coordinate
// lies outside.
const (
	minLat, maxLat = -8.5, -5.0
	minLon, maxLon = 108.0, 112.5
)

// maxText bounds what people write in one field, in characters.
const maxText = 200

// codePattern is what a new site or sensor may be called: it stands in addresses
// for ever.
var codePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckCode says what is wrong with what a new site or sensor is to be called.
func CheckCode(code string) error {
	var p Problems
	if (wrong{list: &p}).code("code", code); len(p) > 0 {
		return errors.New(p[0].Want)
	}
	return nil
}

func (w wrong) code(field, s string) {
	switch {
	case s == "":
		w.add(field, s, Missing, "is needed")
	case !codePattern.MatchString(s):
		w.add(field, s, Format, "want 1 to 64 letters a to z, digits, '.', '_' and '-', the first a letter or digit")
	}
}

// text refuses what would steer a terminal or turn the direction of writing; all
// else, markup and formulas too, is text.
func (w wrong) text(field, s string) {
	if !utf8.ValidString(s) {
		w.add(field, s, Format, "is not valid UTF-8")
		return
	}
	if n := utf8.RuneCountInString(s); n > maxText {
		w.add(field, s, Range, "has %d characters, at most %d are allowed", n, maxText)
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			w.add(field, s, Format, "holds the invisible character %U: take it out", r)
			return
		}
	}
}

// trim takes the spaces off around what people typed.
func trim(fields ...*string) {
	for _, f := range fields {
		*f = strings.TrimSpace(*f)
	}
}

// stamp keeps whole seconds of UTC: finer ones are not meant.
func stamp(times ...*time.Time) {
	for _, t := range times {
		if !t.IsZero() {
			*t = t.UTC().Truncate(time.Second)
		}
	}
}

func (s *Site) tidy() {
	trim(&s.Code, &s.Name, &s.District, &s.Subdistrict, &s.Operator, &s.Certificate.Number, &s.Certificate.Issuer)
	stamp(&s.Certificate.Collocated, &s.Certificate.Expires, &s.ClassSince, &s.Closed)
	if s.Name == "" {
		s.Name = s.Code
	}
	if s.Class == "" {
		s.Class = Indicative
	}
}

// check looks at what can be said of a site alone.
func (s *Site) check(w wrong) {
	w.text("name", s.Name)
	w.text("operator", s.Operator)
	w.text("certificate_number", s.Certificate.Number)
	w.text("certificate_issuer", s.Certificate.Issuer)
	if _, ok := FindDistrict(s.District); !ok {
		w.add("district", s.District, Unknown, "want the BPS code of a kabupaten or kota of Jawa Tengah, for example 3374")
	}
	if c := s.Subdistrict; c != "" && (!strings.HasPrefix(c, s.District) || strings.Trim(c, "0123456789") != "" || len(c) < 6 || len(c) > 7) {
		w.add("subdistrict", c, Format, "want the code of a kecamatan of district %s, for example %s01", s.District, s.District)
	}
	if p := s.Photo; p != "" && (len(p) != 64 || strings.Trim(p, "0123456789abcdef") != "") {
		w.add("photo", p, Format, "want a SHA-256 in 64 hexadecimal digits")
	}
	// !(… && …), so that NaN is refused too.
	if known := s.Lat != 0 || s.Lon != 0; known && !(s.Lat >= minLat && s.Lat <= maxLat) {
		w.add("lat", fmt.Sprint(s.Lat), Range, "want %g to %g (Jawa Tengah lies south of the equator: a minus)", minLat, maxLat)
	}
	if known := s.Lat != 0 || s.Lon != 0; known && !(s.Lon >= minLon && s.Lon <= maxLon) {
		w.add("lon", fmt.Sprint(s.Lon), Range, "want %g to %g (Jawa Tengah)", minLon, maxLon)
	}
	switch s.Class {
	case Reference, Indicative:
	case SNI9178:
		if s.Certificate.Number == "" {
			w.add("certificate_number", "", Missing, "class %s rests on a certificate: give its number", SNI9178)
		}
		if s.Certificate.Expires.IsZero() {
			w.add("certificate_expires", "", Missing, "class %s ends with its certificate: give the date", SNI9178)
		}
	default:
		w.add("class", string(s.Class), Unknown, "want %s, %s or %s", Reference, SNI9178, Indicative)
	}
	if c := s.Certificate; !c.Expires.IsZero() && c.Expires.Before(c.Collocated) {
		w.add("certificate_expires", c.Expires.Format(time.DateOnly), Order, "is before the comparison of %s", c.Collocated.Format(time.DateOnly))
	}
}

func (s *Sensor) tidy() {
	trim(&s.ID, &s.Name, &s.Maker, &s.Model, &s.Serial, &s.Note)
	stamp(&s.Calibrated)
}

func (s *Sensor) check(w wrong) {
	w.code("id", s.ID)
	for _, f := range [...][2]string{{"name", s.Name}, {"maker", s.Maker}, {"model", s.Model}, {"serial", s.Serial}, {"note", s.Note}} {
		w.text(f[0], f[1])
	}
}

func (d *Deployment) tidy() {
	trim(&d.ID, &d.Site, &d.Sensor, &d.Node.Group, &d.Node.ID, &d.Device)
	stamp(&d.From, &d.To)
	if d.Main != nil {
		main := make([]string, 0, len(d.Main))
		for _, q := range d.Main {
			if q = strings.TrimSpace(q); !slices.Contains(main, q) {
				main = append(main, q)
			}
		}
		slices.Sort(main)
		d.Main = main
	}
}

// check looks at what can be said of a deployment alone.
func (d *Deployment) check(w wrong) {
	w.code("id", d.ID)
	if _, err := telemetry.ParseNode(d.Node.String()); err != nil {
		w.add("node", d.Node.String(), Format, "want group/name of the gateway, for example 3374/balaikota")
	}
	switch {
	case d.Device == "":
		w.add("device", "", Missing, "name the device as the gateway names it, or %s for all of the gateway", AnyDevice)
	case len(d.Device) > telemetry.MaxIDLength:
		w.add("device", d.Device, Range, "is %d bytes long, at most %d are allowed", len(d.Device), telemetry.MaxIDLength)
	default:
		w.text("device", d.Device)
	}
	if !d.To.IsZero() && !d.From.Before(d.To) {
		w.add("to", local(d.To), Order, "must be after %s, when it begins", local(d.From))
	}
	if d.Interval != 0 && !(d.Interval >= 1 && d.Interval <= 3600) {
		w.add("interval_s", strconv.FormatFloat(d.Interval, 'f', -1, 64), Range, "want seconds between two readings, 1 to 3600, or nothing")
	}
	for _, q := range d.Main {
		if _, ok := telemetry.Lookup(q); !ok {
			w.add("main", q, Unknown, "want names of quantities, for example pm2_5; known are %s", strings.Join(telemetry.Names(), ", "))
		}
	}
}

// wib is the province's time.
var wib = time.FixedZone("WIB", 7*60*60)

// local writes a time for people of the province.
func local(t time.Time) string {
	if t.IsZero() {
		return "ever"
	}
	return t.In(wib).Format("2006-01-02 15:04 MST")
}

// span writes since when and until when a deployment holds.
func (d *Deployment) span() string {
	if d.To.IsZero() {
		return fmt.Sprintf("since %s", local(d.From))
	}
	return fmt.Sprintf("from %s to %s", local(d.From), local(d.To))
}
