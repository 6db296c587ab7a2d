// Package places knows where things are measured: the 35 districts of Jawa
// Tengah, their sites, the sensors there, and since when each hangs where.
//
// It promises that a site's code is permanent, that a figure finds its site by
// the time of the reading (a deployment is dated), that replacing a gateway or a
// sensor leaves a site's history whole, that a change holds as a whole or not at
// all, and that whoever computes figures is told which span of which site a
// change touches.
package places

import (
	"slices"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Class says what a site's figures may be used for.
type Class string

// The classes. Only Reference, and SNI9178 where the rules allow it, yield an
// air index; Indicative shows concentrations and an estimate.
const (
	Reference  Class = "acuan"     // reference or equivalent analyser
	SNI9178    Class = "sni9178"   // tested by SNI 9178:2023
	Indicative Class = "indikatif" // everything else; the default
)

// Certificate is what a class rests on.
type Certificate struct {
	Number     string    `json:"number,omitempty"`
	Issuer     string    `json:"issuer,omitempty"`
	Collocated time.Time `json:"collocated,omitzero"` // date of the comparison beside a reference
	Expires    time.Time `json:"expires,omitzero"`
}

func (c Certificate) equal(d Certificate) bool {
	return c.Number == d.Number && c.Issuer == d.Issuer && c.Collocated.Equal(d.Collocated) && c.Expires.Equal(d.Expires)
}

// Grade is a class that was in force before the one of now.
type Grade struct {
	Class       Class       `json:"class,omitempty"`
	Certificate Certificate `json:"certificate,omitzero"`
	Until       time.Time   `json:"until"`
}

// Site is a place where something is measured. Its code is permanent: figures go
// by it.
type Site struct {
	Code        string      `json:"code"`
	Name        string      `json:"name"`
	District    string      `json:"district"`              // BPS code, e.g. 3374
	Subdistrict string      `json:"subdistrict,omitempty"` // code of the map in use, e.g. 337401; "" = not said
	Lat         float64     `json:"lat"`                   // degrees north, WGS 84; 0, 0 = not known yet
	Lon         float64     `json:"lon"`                   // degrees east
	Class       Class       `json:"class,omitempty"`       // "" = Indicative
	Certificate Certificate `json:"certificate,omitzero"`
	// ClassSince is from when Class and Certificate hold; zero = ever. Who changes
	// them without another date here changes them from now on.
	ClassSince time.Time `json:"class_since,omitzero"`
	Earlier    []Grade   `json:"earlier,omitempty"` // oldest first; kept by the Store
	Operator   string    `json:"operator,omitempty"`
	Photo      string    `json:"photo,omitempty"` // SHA-256 of its picture among the kept files; "" = none
	Public     bool      `json:"public"`          // shown to citizens
	Simulated  bool      `json:"simulated,omitempty"`
	Closed     time.Time `json:"closed,omitzero"` // nothing counts from then on; zero = open
}

// ClassAt returns the class in force at a time: an expired certificate makes a
// SNI9178 site indicative.
func (s Site) ClassAt(t time.Time) Class {
	class, certificate := s.Class, s.Certificate
	for _, g := range s.Earlier {
		if t.Before(g.Until) {
			class, certificate = g.Class, g.Certificate
			break
		}
	}
	switch {
	case class == SNI9178 && !certificate.Expires.IsZero() && !t.Before(certificate.Expires), class == "":
		return Indicative
	}
	return class
}

// ClassChanges returns from, and when the class changed in (from, to], oldest first.
func (s Site) ClassChanges(from, to time.Time) []time.Time {
	times := []time.Time{s.Certificate.Expires}
	for _, g := range s.Earlier {
		times = append(times, g.Until, g.Certificate.Expires)
	}
	slices.SortFunc(times, time.Time.Compare)
	out := []time.Time{from}
	for _, t := range times {
		if t.After(from) && !t.After(to) && s.ClassAt(t) != s.ClassAt(out[len(out)-1]) {
			out = append(out, t)
		}
	}
	return out
}

// Sensor is one instrument, wherever it hangs.
type Sensor struct {
	ID         string    `json:"id"` // permanent
	Name       string    `json:"name,omitempty"`
	Maker      string    `json:"maker,omitempty"`
	Model      string    `json:"model,omitempty"`
	Serial     string    `json:"serial,omitempty"`
	Calibrated time.Time `json:"calibrated,omitzero"` // last calibration
	Note       string    `json:"note,omitempty"`
}

// AnyDevice, as a Deployment's device, stands for the whole node: every device
// of it for which nothing else is said.
const AnyDevice = "*"

// Deployment says that readings of one device of one node, taken from From on and
// before To, were taken at a site.
//
// What is said of a device itself holds from its first date on; before that,
// what is said of the whole node (AnyDevice); before that, the site that the
// registry names for the node (an implied deployment, without ID).
type Deployment struct {
	ID     string         `json:"id"` // permanent; made by the Store if empty
	Site   string         `json:"site"`
	Sensor string         `json:"sensor,omitempty"` // Sensor.ID; "" = not registered
	Node   telemetry.Node `json:"node"`
	Device string         `json:"device"`
	From   time.Time      `json:"from,omitzero"` // zero = since ever
	To     time.Time      `json:"to,omitzero"`   // zero = still
	// Main are the quantities for which this sensor is the site's utama; others of
	// the site are collocated. nil: all that no other deployment of the site claims;
	// empty: none.
	Main []string `json:"main,omitzero"`
	// Interval is the time between two readings in seconds, for a node that does not
	// say it itself; 0 = not known. Without one any single reading makes an hour whole.
	Interval float64 `json:"interval_s,omitzero"`
}

// At reports whether the deployment holds at t.
func (d Deployment) At(t time.Time) bool {
	return !t.Before(d.From) && (d.To.IsZero() || t.Before(d.To))
}

// claims reports whether the deployment names the quantity as its own.
func (d Deployment) claims(quantity string) bool { return slices.Contains(d.Main, quantity) }

// forever stands for an end that is not known yet.
var forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func (d Deployment) end() time.Time { return orForever(d.To) }

func orForever(t time.Time) time.Time {
	if t.IsZero() {
		return forever
	}
	return t
}

// overlaps reports whether both hold at some time.
func (d Deployment) overlaps(e Deployment) bool {
	return d.From.Before(e.end()) && e.From.Before(d.end())
}
