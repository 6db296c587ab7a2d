package dashboards

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// fragment is what every part of the live page's template gets. Its View holds
// nothing that changes by time alone, so that a live update is sent only when
// something happened; Now is for ages.
type fragment struct {
	ID     string // of the element
	Now    time.Time
	View   any
	MayAct bool   // the reader may acknowledge
	Back   string // address to return to after a form
}

// ledgerView is the ledger of all that the server knows.
type ledgerView struct {
	Totals
	Failed bool
}

// notice is told once, after a form. Swap puts it into a page that is open.
type notice struct {
	Text, Class string
	Swap        bool
}

// functions are what this room's templates need beside those of package page.
func functions(l page.Lang) template.FuncMap {
	out := airFunctions(l)
	maps.Copy(out, template.FuncMap{
		"clockKey": func(q telemetry.TimeQuality) page.Key { return page.Key("clock." + q.String()) },
		"filterKey": func(s State) page.Key {
			if s == anyTrouble {
				return "gateways.trouble"
			}
			return page.Key("state." + string(s))
		},
		"rows": func(now, device time.Time, rows []valueView) rowsView { return rowsView{now, device, rows} },
	})
	return out
}

// rowsView is what the rows of one device need: their ages against now, and the
// device's own time, which a row repeats only if it differs.
type rowsView struct {
	Now, Time time.Time
	Rows      []valueView
}

// summaryView is the line of figures at the top.
type summaryView struct {
	Gateways, Online     int
	Offline              int
	Alerts, Untaken      int
	Ledger               Totals
	Failed, LedgerFailed bool
	AlertsFailed         bool
	Expiring             int // gateways whose certificate ends soon
}

// expiryWarning is how long before its end a certificate is worth a warning. A
// gateway renews by itself when a third of its certificate's life is left, 30
// days: one with a fortnight has failed to.
const expiryWarning = 14 * 24 * time.Hour

// expires says whether a gateway's certificate ends soon, or has ended.
func (g *Gateway) expires(now time.Time) bool {
	return !g.Expires.IsZero() && g.State != StateRevoked && g.Expires.Sub(now) <= expiryWarning
}

func summarize(s snapshot) summaryView {
	v := summaryView{
		Gateways: len(s.gateways), Failed: s.gatewaysErr != nil,
		Ledger: s.total, LedgerFailed: s.totalErr != nil,
		Alerts: len(s.alerts), AlertsFailed: s.alertsErr != nil,
	}
	for _, g := range s.gateways {
		switch g.State {
		case StateOnline:
			v.Online++
		case StateOffline:
			v.Offline++
		}
		if g.expires(s.now) {
			v.Expiring++
		}
	}
	for _, a := range s.alerts {
		if a.AckAt.IsZero() {
			v.Untaken++
		}
	}
	return v
}

// alertView is one open alert in words.
type alertView struct {
	ID, Key    string // Key is fit for an element's id
	Severity   Severity
	Class      string // of its state mark
	Title      string
	Value      string // "" = no value
	Gateway    string
	GatewayURL string
	Device     string
	Since      time.Time
	AckBy      string
	AckAt      time.Time
	AckNote    string
	Action     string // where to acknowledge
	Simulated  bool
}

type alertsView struct {
	Alerts   []alertView
	Announce string // what a screen reader hears when it changes
	Only     string // the gateway whose alerts these are; "" = all
	More     int    // open, but not in Alerts
	Failed   bool
}

// maxAlerts is how many alerts one page shows: the gravest and newest. Where
// thousands fire at once nobody reads them one by one.
const maxAlerts = 100

// grave ranks a severity; an unknown one is the least.
func grave(s Severity) int { return slices.Index([]Severity{Information, Warning, Critical}, s) }

// inOrder puts what is not yet taken, graver and newer first.
func inOrder(alerts []Alert) []Alert {
	alerts = slices.Clone(alerts)
	slices.SortFunc(alerts, func(a, b Alert) int {
		return cmp.Or(
			boolCompare(!a.AckAt.IsZero(), !b.AckAt.IsZero()),
			cmp.Compare(grave(b.Severity), grave(a.Severity)),
			b.Since.Compare(a.Since), cmp.Compare(a.ID, b.ID))
	})
	return alerts
}

func viewAlerts(l page.Lang, s snapshot, only telemetry.Node) alertsView {
	out := alertsView{Failed: s.alertsErr != nil}
	if !only.IsZero() {
		out.Only = only.String()
	}
	for _, a := range inOrder(s.alerts) {
		if !only.IsZero() && a.Node != only {
			continue
		}
		if len(out.Alerts) == maxAlerts {
			out.More++
			continue
		}
		v := alertView{
			ID: a.ID, Key: keyOf("alert", a.ID), Severity: a.Severity, Class: "warn", Gateway: s.name(a.Node),
			GatewayURL: gatewayURL(l, a.Node), Device: a.Device, Since: a.Since,
			AckBy: a.AckBy, AckAt: a.AckAt, AckNote: a.AckNote, Simulated: a.Simulated,
			Action: l.Path("/dinas/peringatan/" + url.PathEscape(a.ID) + "/tangani"),
		}
		if a.Node.IsZero() { // of the server itself
			v.Gateway, v.GatewayURL = l.T("alerts.server"), l.Path("/dinas/atur/sistem")
		}
		switch a.Severity {
		case Critical:
			v.Class = "bad"
		case Information:
			v.Class = "note"
		}
		what := l.Name("q.", a.Quantity)
		switch {
		case a.Condition == CondAbove:
			v.Title = l.T("alerts.above", what, limit(l, a))
		case a.Condition == CondBelow:
			v.Title = l.T("alerts.below", what, limit(l, a))
		case a.Condition == CondNoData && a.Quantity == "":
			v.Title = l.T("alerts.silent")
		case a.Condition == CondNoData:
			v.Title = l.T("alerts.no_data", what)
		default:
			v.Title = page.Plain(a.Rule)
		}
		if a.Condition == CondAbove || a.Condition == CondBelow {
			v.Value = l.T("alerts.value", withUnit(l, a.Quantity, a.Value, a.Unit))
		}
		out.Alerts = append(out.Alerts, v)
	}
	out.Announce = l.T("live.alerts", l.Number(float64(len(out.Alerts)+out.More), 0))
	return out
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func withUnit(l page.Lang, quantity string, v float64, u telemetry.Unit) string {
	return strings.TrimSpace(l.Value(quantity, v) + "\u00a0" + page.Unit(u))
}

// limit writes a rule's threshold as its author did: without padding.
func limit(l page.Lang, a Alert) string {
	decimals := 0
	for decimals < 3 && math.Abs(a.Limit*math.Pow10(decimals)-math.Round(a.Limit*math.Pow10(decimals))) > 1e-9 {
		decimals++
	}
	return strings.TrimSpace(l.Number(a.Limit, decimals) + "\u00a0" + page.Unit(a.Unit))
}

// valueView is one row: a quantity's last value in words.
type valueView struct {
	Quantity string
	Text     string // the value, or "–"
	Unit     string
	Time     time.Time
	Status   string // ok, warn, bad
	Word     string // the status in words
	Chart    string // address of the page with this quantity's chart; "" = not a number
	Number   bool
}

// deviceView is a sensor with its rows. Time is its newest reading's; a row's own
// age is shown only where it differs.
type deviceView struct {
	Name string // "" = the gateway itself
	Time time.Time
	Rows []valueView
}

// gatewayView is a gateway with its sensors.
type gatewayView struct {
	Key       string
	Name      string
	Node      string
	URL       string
	State     State
	Class     string
	Since     time.Time
	Heard     time.Time
	Clock     telemetry.TimeQuality
	ClockTold bool
	Version   string
	District  string
	Site      string
	Simulated bool
	Devices   []deviceView
	Own       []valueView // the gateway's own health
	Failed    bool
	Expires   time.Time // of its certificate; zero = it has none
	Expiring  string    // a warning in words, "" = none is due
	// On the gateway's page only:
	Total                     Totals
	NoTotal                   bool
	DistrictURL, DistrictName string // "" = none, or no known one
	SiteURL                   string
}

// staleAfter is when a value counts as no longer coming: three missed readings,
// at least ten seconds; a quarter of an hour where the interval is not known.
func staleAfter(interval time.Duration) time.Duration {
	if interval <= 0 {
		return 15 * time.Minute
	}
	return max(3*interval, 10*time.Second)
}

func viewGateway(l page.Lang, g Gateway, values []Value, err error, now time.Time) gatewayView {
	v := gatewayView{
		Key: keyOf("gateway", g.Node.String()), Name: g.Name, Node: g.Node.String(), URL: gatewayURL(l, g.Node),
		State: g.State, Since: g.Since, Heard: g.Heard, Clock: g.Clock, Version: g.Version,
		District: g.District, Site: g.Site, Simulated: g.Simulated, Failed: err != nil,
	}
	if v.Name == "" {
		v.Name = g.Node.ID
	}
	if v.Expires = g.Expires; g.expires(now) {
		v.Expiring = l.T("gateway.expired")
		if days := int(g.Expires.Sub(now) / (24 * time.Hour)); g.Expires.After(now) {
			v.Expiring = l.T("gateway.expiring", l.Number(float64(days), 0))
		}
	}
	v.ClockTold = g.Version != "" || g.Clock != telemetry.TimeNone
	v.Class = map[State]string{StateOnline: "ok", StateOffline: "bad", StateRevoked: "bad"}[g.State]
	values = slices.Clone(values)
	first := map[string]int{} // a device stands where its foremost quantity does
	for _, value := range values {
		r := rank(value.Quantity)
		if have, ok := first[value.Device]; !ok || r < have {
			first[value.Device] = r
		}
	}
	slices.SortFunc(values, func(a, b Value) int {
		return cmp.Or(cmp.Compare(slices.Index(telemetry.Kinds(), a.Kind), slices.Index(telemetry.Kinds(), b.Kind)),
			cmp.Compare(first[a.Device], first[b.Device]), cmp.Compare(a.Device, b.Device), cmp.Compare(rank(a.Quantity), rank(b.Quantity)), cmp.Compare(a.Quantity, b.Quantity))
	})
	for _, value := range values {
		row := viewValue(l, g.Node, value, now)
		if value.Kind == telemetry.KindGateway && value.Device == "" {
			v.Own = append(v.Own, row)
			continue
		}
		i := slices.IndexFunc(v.Devices, func(d deviceView) bool { return d.Name == value.Device })
		if i < 0 {
			i = len(v.Devices)
			v.Devices = append(v.Devices, deviceView{Name: value.Device})
		}
		v.Devices[i].Rows = append(v.Devices[i].Rows, row)
		if value.Time.After(v.Devices[i].Time) {
			v.Devices[i].Time = value.Time
		}
	}
	return v
}

// rank puts the quantities that people ask for first.
func rank(quantity string) int {
	order := []string{"pm2_5", "pm10", "pm1", "pm4", "co2", "fill", "distance", "power", "energy", "voltage", "current", "temperature", "humidity"}
	if i := slices.Index(order, quantity); i >= 0 {
		return i
	}
	return len(order)
}

func viewValue(l page.Lang, node telemetry.Node, value Value, now time.Time) valueView {
	v := valueView{Quantity: value.Quantity, Unit: page.Unit(value.Unit), Time: value.Time, Status: "ok", Word: l.T("value.good")}
	if value.Value.Type != telemetry.Text {
		v.Chart = gatewayURL(l, node) + "?" + query("deret", SeriesID{node, value.Device, value.Quantity}.String()) + "#grafik"
	}
	v.Text, v.Unit, v.Number = valueText(l, value)
	switch {
	case value.Gap != telemetry.GapNone:
		v.Text, v.Unit, v.Number = "–", "", false
		v.Status, v.Word = "warn", l.T("value.gap", l.Name("gap.", string(value.Gap)))
	case value.Flag != telemetry.FlagNone:
		v.Status, v.Word = "bad", l.T("value.rejected", l.Name("flag.", value.Flag.String()))
	case value.Stale || now.Sub(value.Time) > staleAfter(value.Interval):
		v.Status, v.Word = "warn", l.T("value.late")
	}
	return v
}

// valueText writes a value as people read it: what is a word stays a word.
func valueText(l page.Lang, value Value) (text, unit string, number bool) {
	n := value.Value.Number
	switch {
	case value.Value.Type == telemetry.Text:
		return page.Plain(value.Value.Text), "", false
	case !value.Value.Finite():
		return "–", "", false
	case value.Value.Type == telemetry.Bool || value.Quantity == "under_voltage":
		if n != 0 {
			return l.T("word.yes"), "", false
		}
		return l.T("word.no"), "", false
	case value.Quantity == "clock_quality":
		return l.T(page.Key("clock." + telemetry.TimeQuality(min(max(n, 0), 255)).String())), "", false
	case value.Quantity == "uptime" && n >= 0 && n < 1e9:
		return l.Span(time.Duration(n) * time.Second), "", false
	}
	return l.Value(value.Quantity, n), page.Unit(value.Unit), true
}

func gatewayURL(l page.Lang, n telemetry.Node) string {
	return l.Path("/dinas/jaringan/" + url.PathEscape(n.Group) + "/" + url.PathEscape(n.ID))
}

// keyOf makes a short name of any text, fit for an element's id and a topic.
func keyOf(kind, text string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + text))
	return hex.EncodeToString(sum[:6])
}

// String writes the series as addresses carry it: group/id/device/quantity.
func (s SeriesID) String() string {
	return s.Node.Group + "/" + s.Node.ID + "/" + s.Device + "/" + s.Quantity
}

// ParseSeriesID reads what String wrote. A foreign quantity may hold slashes.
func ParseSeriesID(s string) (SeriesID, error) {
	parts := strings.SplitN(s, "/", 4)
	if len(parts) != 4 || parts[3] == "" {
		return SeriesID{}, fmt.Errorf("series %q: want group/gateway/device/quantity", page.Plain(s))
	}
	node, err := telemetry.ParseNode(parts[0] + "/" + parts[1])
	if err != nil {
		return SeriesID{}, fmt.Errorf("series %q: %w", page.Plain(s), err)
	}
	return SeriesID{Node: node, Device: parts[2], Quantity: parts[3]}, nil
}
