package figures

import (
	"slices"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// SiteHour is one quantity of one site over the hour [End−1 h, End), as measured
// (a gas in ppb stays in ppb). Every figure is computed from these and from
// nothing else. A changed one is a new Version: what was published goes on to
// name the one that entered it.
type SiteHour struct {
	Site     string    `json:"site"`
	Quantity string    `json:"quantity"` // catalogue name
	End      time.Time `json:"end"`
	Version  int       `json:"version"` // from 0
	// What the quantity's aggregation gives; all 0 and without meaning if Valid is 0.
	Mean     float64 `json:"mean,omitzero"`
	Min      float64 `json:"min,omitzero"`
	Max      float64 `json:"max,omitzero"`
	First    float64 `json:"first,omitzero"`
	Last     float64 `json:"last,omitzero"`
	Increase float64 `json:"increase,omitzero"`
	Resets   int     `json:"resets,omitzero"`
	Sum      float64 `json:"sum,omitzero"`

	Valid    int            `json:"valid"`              // readings that count
	Expected int            `json:"expected"`           // by the interval in force; 0 = not known
	Rejected map[string]int `json:"rejected,omitempty"` // by telemetry.Flag or validator's reason code
	Gaps     map[string]int `json:"gaps,omitempty"`     // by telemetry.GapReason
	Sources  []Source       `json:"sources,omitempty"`
	Marks    []string       `json:"marks,omitempty"` // Mark.ID of those that took something out
	Computed time.Time      `json:"computed"`
}

// Source is what one deployment gave to an hour.
type Source struct {
	Node   telemetry.Node `json:"node"`
	Device string         `json:"device"`
	Sensor string         `json:"sensor,omitempty"`
}

// Kind tells figures apart that must never be mixed.
type Kind string

// The kinds. A bulletin freezes hourly ones.
const (
	Hourly Kind = "ispu"   // the mean of the valid hours in (End−24 h, End]
	Daily  Kind = "harian" // the mean of the day (WIB) that ends at End
)

// Status says whether a validator has closed the month.
type Status string

// The states.
const (
	Provisional Status = "sementara"
	Validated   Status = "tervalidasi"
)

// Part is one parameter of a figure.
type Part struct {
	Parameter Parameter `json:"parameter"`
	Mean      float64   `json:"mean"`           // µg/m³ at 25 °C, 1 atm; without meaning if Hours is 0
	Hours     int       `json:"hours"`          // valid hours that entered
	Age       int       `json:"age"`            // hours since the newest valid one
	Index     Index     `json:"index,omitzero"` // only if OK
	OK        bool      `json:"ok"`             // the gates let it count
}

// Figure is one station's index at one time. Without OK it says that it could
// not be judged; that is a figure too.
type Figure struct {
	ID        string    `json:"id"` // of its trace, see FigureID
	Kind      Kind      `json:"kind"`
	Site      string    `json:"site"`
	End       time.Time `json:"end"`
	Revision  int       `json:"revision"` // from 0; more than 0: a correction
	OK        bool      `json:"ok"`
	Index     Station   `json:"index,omitzero"`
	Parts     []Part    `json:"parts,omitempty"` // of the parameters that the site measures
	Estimate  bool      `json:"estimate"`        // of an indicative site: "perkiraan", enters nothing else
	Status    Status    `json:"status"`
	Rules     int       `json:"rules"` // version of the rules in force
	Computed  time.Time `json:"computed"`
	Published time.Time `json:"published,omitzero"` // zero: not shown to the public yet
	Reason    string    `json:"reason,omitempty"`   // of a revision: LateData, Validation, Deployment, RuleChange
	Simulated bool      `json:"simulated"`
	Hash      string    `json:"hash"` // SHA-256 of Trace.Canonical, hexadecimal
}

// Trace is everything that a figure was computed from; Recompute does it again.
type Trace struct {
	Figure   Figure     `json:"figure"`
	Hours    []SiteHour `json:"hours"` // those of Window, in the version that entered
	Rules    Rules      `json:"rules"`
	Since    time.Time  `json:"rules_since"`
	Class    string     `json:"class"`
	Articles []string   `json:"articles"` // of the regulations
}

// Rules are all settings that figures depend on. They are dated: a change holds
// from its date on and alters no past figure.
type Rules struct {
	Gates       Gates       `json:"gates"`
	Nodes       Nodes       `json:"nodes"`
	Breakpoints Breakpoints `json:"breakpoints"`
	AllowSNI    bool        `json:"allow_sni9178"` // sites of class SNI 9178 yield ISPU
	ZeroRun     int         `json:"zero_run"`      // so many hours of nothing but exact zeros in a row are suspect and do not count; 0 = never
	// HCGas names, by site, the gas in which the hydrocarbon analyser was calibrated
	// (methane, propane). Without one its readings have no sub-index.
	HCGas       map[string]string `json:"hc_gas,omitempty"`
	Limits      []Limit           `json:"limits"`
	LimitShare  float64           `json:"limit_share"` // valid share of a window of PP 22/2021
	YearShare   float64           `json:"year_share"`  // valid days of a year from which it is judged
	Bulletins   []int             `json:"bulletins"`   // hours of the day, WIB
	GraceMin    int               `json:"grace_min"`   // minutes after the hour before a figure is published
	AutoPublish bool              `json:"auto_publish"`
	// Articles are the regulations that the rules rest on, as traces name them; empty:
	// those of Articles.
	Articles []string `json:"articles,omitempty"`
}

// DatedRules are rules with the time from which they hold, and why.
type DatedRules struct {
	Version int       `json:"version"`
	Since   time.Time `json:"since"`
	Rules   Rules     `json:"rules"`
	Reason  string    `json:"reason"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

// InForce returns the rules that hold at a time: of those that began by then the
// latest, of two that began at once the one that was entered later; before any the
// first. all are by version; without rules there are none.
func InForce(all []DatedRules, t time.Time) (best DatedRules) {
	for i, r := range all {
		if i == 0 || (!r.Since.After(t) && !r.Since.Before(best.Since)) {
			best = r
		}
	}
	return best
}

// Mark is a validator's verdict on a span of one quantity at one site.
type Mark struct {
	ID       string    `json:"id"`
	Site     string    `json:"site"`
	Quantity string    `json:"quantity"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`      // not included
	Invalid  bool      `json:"invalid"` // false: valid again, undoes earlier marks
	Code     string    `json:"code"`    // one of MarkCodes
	Note     string    `json:"note"`
	By       string    `json:"by"`
	At       time.Time `json:"at"`
}

// Annotation is a remark that stays on the chart, or a correction of one.
type Annotation struct {
	ID   string    `json:"id"`
	Site string    `json:"site"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Text string    `json:"text"`
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	// Corrects is the ID of the one whose place this one takes, Why says for what
	// reason. Withdrawn: it takes its place only to end it, and says nothing itself.
	Corrects  string `json:"corrects,omitempty"`
	Why       string `json:"why,omitempty"`
	Withdrawn bool   `json:"withdrawn,omitempty"`
}

// Month is the state of one site's month (WIB).
type Month struct {
	Site   string    `json:"site"`
	Month  string    `json:"month"` // 2026-11
	Status Status    `json:"status"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Note   string    `json:"note,omitempty"`
}

// BulletinState says how far a bulletin is.
type BulletinState string

// The states.
const (
	Draft     BulletinState = "draft"
	Published BulletinState = "published"
)

// Bulletin is what the agency publishes at a fixed hour: every station's hourly
// index at that time, frozen. A revision is a new one that names what changed.
type Bulletin struct {
	ID        string        `json:"id"` // 2026-11-23-0900
	At        time.Time     `json:"at"`
	Revision  int           `json:"revision"`
	State     BulletinState `json:"state"`
	Figures   []Figure      `json:"figures"`
	Agency    Agency        `json:"agency"`
	Number    string        `json:"number,omitempty"` // the letter's
	Made      time.Time     `json:"made"`
	Published time.Time     `json:"published,omitzero"`
	By        string        `json:"by,omitempty"`      // who approved; "" = by itself
	Reason    string        `json:"reason,omitempty"`  // of a revision
	Changes   []Change      `json:"changes,omitempty"` // against the revision before
	Simulated bool          `json:"simulated"`
	Hash      string        `json:"hash"` // SHA-256 of the bulletin without it, hexadecimal
}

// Status is that of all the bulletin's figures: validated if each is.
func (b Bulletin) Status() Status {
	if len(b.Figures) == 0 || slices.ContainsFunc(b.Figures, func(f Figure) bool { return f.Status != Validated }) {
		return Provisional
	}
	return Validated
}

// Change is one figure that a revision corrects.
type Change struct {
	Site   string `json:"site"`
	Before Figure `json:"before"`
	After  Figure `json:"after"`
	Reason string `json:"reason"`
}

// Agency is the letterhead and who signs.
type Agency struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"`
	Contact string `json:"contact,omitempty"`
	City    string `json:"city,omitempty"`
	Signer  string `json:"signer,omitempty"`
	NIP     string `json:"nip,omitempty"`
	Title   string `json:"title,omitempty"`
	Number  string `json:"number,omitempty"` // pattern of the letters' numbers, {n} and {year} filled in
}

// Exceedance is an episode above a limit of PP 22/2021.
type Exceedance struct {
	Site     string    `json:"site"`
	Quantity string    `json:"quantity"`
	Period   Period    `json:"period"`
	Limit    float64   `json:"limit"` // µg/m³
	From     time.Time `json:"from"`  // end of the first window
	To       time.Time `json:"to"`    // end of the last window
	Peak     float64   `json:"peak"`  // highest mean
}

// Waiting is an hour of a validated month for which something came later: the
// figures stay until the month is opened again.
type Waiting struct {
	Site   string    `json:"site"`
	End    time.Time `json:"end"`
	Reason string    `json:"reason"` // late_data, deployment
	Since  time.Time `json:"since"`
}

// The reasons of revisions.
const (
	LateData   = "late_data"
	Validation = "validation"
	Deployment = "deployment"
	RuleChange = "rules"
)
