package places

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// The sheets of a workbook, and the names of the CSV files in a zip.
const (
	SheetSites       = "sites"
	SheetSensors     = "sensors"
	SheetDeployments = "deployments"
)

// Columns returns the heads that a sheet may have. They may stand in any order;
// a column that is left out leaves what is stored as it is, an empty cell
// empties it. The first column names the record.
//
// Times are 2026-11-01, 2026-11-01 07:00 (both WIB) or RFC 3339; a spreadsheet's
// own dates are WIB. Yes and no are true, ya, yes, 1 and false, tidak, no, 0.
// A deployment's node is group/name, its main a list of quantities with spaces
// between, empty for all that nobody else claims, "-" for none; its id may be
// empty if it is new.
func Columns(sheet string) []string {
	switch sheet {
	case SheetSites:
		return heads(siteColumns)
	case SheetSensors:
		return heads(sensorColumns)
	case SheetDeployments:
		return heads(deploymentColumns)
	}
	return nil
}

// column is one field of a record as a cell.
type column[T any] struct {
	name string
	form form
	get  func(*T) string
	set  func(*T, string) (Why, string) // what is wrong, and what would be right
}

// form is how a spreadsheet should hold a cell.
type form int

const (
	asText form = iota
	asNumber
	asTime
)

func heads[T any](columns []column[T]) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.name
	}
	return out
}

func text[T any](name string, field func(*T) *string) column[T] {
	return column[T]{name, asText,
		func(v *T) string { return *field(v) },
		func(v *T, s string) (Why, string) { *field(v) = s; return "", "" },
	}
}

func number[T any](name string, field func(*T) *float64) column[T] {
	return column[T]{name, asNumber,
		func(v *T) string {
			if *field(v) == 0 {
				return ""
			}
			return strconv.FormatFloat(*field(v), 'f', -1, 64)
		},
		func(v *T, s string) (Why, string) {
			if s == "" {
				*field(v) = 0
				return "", ""
			}
			if strings.Count(s, ",") == 1 && !strings.Contains(s, ".") { // as Indonesian writes it
				s = strings.Replace(s, ",", ".", 1)
			}
			n, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return Format, "want a number, for example -6.9903"
			}
			*field(v) = n
			return "", ""
		},
	}
}

func yes[T any](name string, field func(*T) *bool) column[T] {
	return column[T]{name, asText,
		func(v *T) string { return strconv.FormatBool(*field(v)) },
		func(v *T, s string) (Why, string) {
			switch strings.ToLower(s) {
			case "true", "ya", "yes", "1":
				*field(v) = true
			case "false", "tidak", "no", "0", "":
				*field(v) = false
			default:
				return Format, "want true or false"
			}
			return "", ""
		},
	}
}

func when[T any](name string, field func(*T) *time.Time) column[T] {
	return column[T]{name, asTime,
		func(v *T) string { return FormatTime(*field(v)) },
		func(v *T, s string) (Why, string) {
			t, ok := parseTime(s)
			if !ok {
				return Format, "want a date or time, for example 2026-11-01 or 2026-11-01 07:00 (WIB)"
			}
			*field(v) = t
			return "", ""
		},
	}
}

var timeLayouts = []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, "2006-01-02T15:04", time.RFC3339}

func parseTime(s string) (time.Time, bool) {
	if s == "" {
		return time.Time{}, true
	}
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, s, wib); err == nil && t.Year() >= 1990 && t.Year() < 9999 {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// FormatTime writes a time in WIB as briefly as it is exact, as an import takes
// it; zero is empty.
func FormatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	t = t.In(wib)
	for _, layout := range timeLayouts[:3] {
		if s := t.Format(layout); layout == time.DateTime || exact(s, t) {
			return s
		}
	}
	return ""
}

// exact reports whether a time can be read back from what was written.
func exact(s string, t time.Time) bool {
	back, ok := parseTime(s)
	return ok && back.Equal(t)
}

var siteColumns = []column[Site]{
	text("code", func(s *Site) *string { return &s.Code }),
	text("name", func(s *Site) *string { return &s.Name }),
	text("district", func(s *Site) *string { return &s.District }),
	text("subdistrict", func(s *Site) *string { return &s.Subdistrict }),
	number("lat", func(s *Site) *float64 { return &s.Lat }),
	number("lon", func(s *Site) *float64 { return &s.Lon }),
	text("class", func(s *Site) *string { return (*string)(&s.Class) }),
	when("class_since", func(s *Site) *time.Time { return &s.ClassSince }),
	text("certificate_number", func(s *Site) *string { return &s.Certificate.Number }),
	text("certificate_issuer", func(s *Site) *string { return &s.Certificate.Issuer }),
	when("certificate_collocated", func(s *Site) *time.Time { return &s.Certificate.Collocated }),
	when("certificate_expires", func(s *Site) *time.Time { return &s.Certificate.Expires }),
	text("operator", func(s *Site) *string { return &s.Operator }),
	yes("public", func(s *Site) *bool { return &s.Public }),
	yes("simulated", func(s *Site) *bool { return &s.Simulated }),
	when("closed", func(s *Site) *time.Time { return &s.Closed }),
}

var sensorColumns = []column[Sensor]{
	text("id", func(s *Sensor) *string { return &s.ID }),
	text("name", func(s *Sensor) *string { return &s.Name }),
	text("maker", func(s *Sensor) *string { return &s.Maker }),
	text("model", func(s *Sensor) *string { return &s.Model }),
	text("serial", func(s *Sensor) *string { return &s.Serial }),
	when("calibrated", func(s *Sensor) *time.Time { return &s.Calibrated }),
	text("note", func(s *Sensor) *string { return &s.Note }),
}

// noMain is the cell of a deployment that claims nothing.
const noMain = "-"

var deploymentColumns = []column[Deployment]{
	text("id", func(d *Deployment) *string { return &d.ID }),
	text("site", func(d *Deployment) *string { return &d.Site }),
	text("sensor", func(d *Deployment) *string { return &d.Sensor }),
	{"node", asText,
		func(d *Deployment) string { return d.Node.String() },
		func(d *Deployment, s string) (Why, string) {
			n, err := telemetry.ParseNode(s)
			if err != nil {
				return Format, "want group/name of the gateway, for example 3374/balaikota"
			}
			d.Node = n
			return "", ""
		},
	},
	text("device", func(d *Deployment) *string { return &d.Device }),
	when("from", func(d *Deployment) *time.Time { return &d.From }),
	when("to", func(d *Deployment) *time.Time { return &d.To }),
	{"main", asText,
		func(d *Deployment) string {
			if d.Main != nil && len(d.Main) == 0 {
				return noMain
			}
			return strings.Join(d.Main, " ")
		},
		func(d *Deployment, s string) (Why, string) {
			switch s {
			case "":
				d.Main = nil
			case noMain:
				d.Main = []string{}
			default:
				d.Main = strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == ';' })
			}
			return "", ""
		},
	},
	number("interval_s", func(d *Deployment) *float64 { return &d.Interval }),
}

// Formula reports whether a spreadsheet takes a CSV cell for a formula: it begins
// with one of a few signs, or their full-width forms, also behind spaces. An
// apostrophe before it makes it text there.
func Formula(s string) bool {
	rest := strings.TrimLeft(s, " \u00a0\u3000")
	first, _ := utf8.DecodeRuneInString(rest)
	return rest != "" && strings.ContainsRune("=+-@＝＋－＠\t\r", first)
}

// quote makes text of what a spreadsheet would run; import takes the apostrophe
// away again.
func quote(s string) string {
	if Formula(s) || strings.HasPrefix(s, "'") {
		return "'" + s
	}
	return s
}

func unquote(s string) string {
	if rest, ok := strings.CutPrefix(s, "'"); ok && quote(rest) == s {
		return rest
	}
	return s
}

// sheetOf names the sheet that has these heads; "" = none.
func sheetOf(head []string) string {
	for _, c := range []struct{ column, sheet string }{{"node", SheetDeployments}, {"code", SheetSites}, {"id", SheetSensors}} {
		if slices.Contains(head, c.column) {
			return c.sheet
		}
	}
	return ""
}

// reference names a cell as spreadsheets do; column from 0, row from 1.
func reference(column, row int) string {
	name := ""
	for n := column + 1; n > 0; n = (n - 1) / 26 {
		name = string(rune('A'+(n-1)%26)) + name
	}
	return fmt.Sprint(name, row)
}
