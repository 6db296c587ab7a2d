package dashboards

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

type sensorBody struct {
	Sensor      places.Sensor
	Name        string
	Site        string // where it hangs now
	SiteURL     string
	Gateway     *gatewayView // through which it is read now
	Device      string
	Told        telemetry.Identity // by the part itself
	Swapped     bool               // it is another one than people entered
	Interval    string
	Live        fragment // []liveRow
	Updates     liveView
	Charts      []siteChart
	Marked      bool
	Reads       string // the worst that its newest readings tell of; "" = it is not read
	ReadsClass  string
	Ledger      []seriesLedger
	Intervals   []intervalRow
	Deployments []sensorHang
	Edit        string
	Failed      []string
}

// ledgerDays is how far back the ledger of a sensor's series goes.
const ledgerDays = 30

// seriesLedger tells what became of a series' readings.
type seriesLedger struct {
	Quantity                                 string
	Expected, Valid, Rejected, Gaps, Missing int
}

// intervalRow is since when a sensor was read how often.
type intervalRow struct {
	Since    time.Time
	Interval string
}

// sensorHang is where a sensor hung once.
type sensorHang struct {
	sensorRow
	Site, SiteURL string
	Now           bool
}

// sensor is /dinas/sensor/{sensor}.
func (d *Dashboards) sensor(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	s, ok := d.o.Places.Sensor(r.PathValue("sensor"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	u, ctx := userOf(r), r.Context()
	snap := d.snapshot(ctx, u)
	now, element := snap.now, "a-"+keyOf("sensor", s.ID)
	body := sensorBody{Sensor: s, Name: s.Name, Live: snap.fragment(element, nil), Updates: liveOf(lang, snap, []string{"angka", element}, lang.Path(path))}
	if body.Name == "" {
		body.Name = strings.TrimSpace(s.Maker + " " + s.Model)
	}
	if body.Name == "" {
		body.Name = s.ID
	}
	part := func(what page.Key, err error) {
		if err != nil {
			d.o.Logger.Error("page is incomplete", "id", requestID(r), "part", string(what), "sensor", page.Plain(s.ID), "err", err)
			body.Failed = append(body.Failed, lang.T(what))
		}
	}
	current, hangs := d.hangs(s.ID, now)
	district, simulated := account.Somewhere, false
	for _, dep := range slices.Backward(d.o.Places.SensorDeployments(s.ID)) {
		row := sensorHang{sensorRow: d.sensorRow(lang, dep), Site: dep.Site, SiteURL: siteURL(lang, dep.Site), Now: dep.At(now)}
		site, ok := d.o.Places.Site(dep.Site)
		if ok {
			row.Site = site.Name
		}
		body.Deployments = append(body.Deployments, row)
		if !hangs || dep.ID != current.ID || !ok {
			continue
		}
		body.Site, body.SiteURL, body.Device, district, simulated = site.Name, row.SiteURL, dep.Device, site.District, site.Simulated
		part("site.live", d.sensorNow(r, lang, &body, site, dep, now))
	}
	if u.May(account.Technician, district, account.SomeKind) {
		body.Edit = lang.Path("/dinas/atur/sensor/" + s.ID)
	}
	var err error
	body.Ledger, body.Intervals, err = d.seriesLedgers(ctx, lang, u, s.ID, now)
	part("ledger.title", err)
	frame := d.frame(r, page.Plain(body.Name))
	frame.Simulated = simulated
	return d.send(w, r, http.StatusOK, "sensor", page.View{Frame: frame, Body: body})
}

// sensorNow reads what a sensor gives now, and its last day as it came.
func (d *Dashboards) sensorNow(r *http.Request, l page.Lang, body *sensorBody, site places.Site, dep places.Deployment, now time.Time) error {
	u, ctx := userOf(r), r.Context()
	all, err := d.o.Network.Gateways(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(g Gateway) bool { return g.Node == dep.Node })
	if i < 0 {
		return nil // nobody has heard of it yet
	}
	values, err := d.sensorReadings(ctx, u, all[i], dep)
	v := viewGateway(l, all[i], nil, err, now)
	body.Gateway = &v
	body.Told = all[i].Told[dep.Device]
	body.Swapped = swapped(body.Sensor.Serial, body.Told.Serial)
	if err != nil {
		return err
	}
	var live []liveRow
	defer func() { body.Live.View = live }()
	win := window{code: "24j", from: now.Add(-24 * time.Hour), to: now}
	for _, value := range values {
		view := viewValue(l, dep.Node, value, now)
		if class := map[string]int{"": 0, "ok": 1, "warn": 2, "bad": 3}; class[view.Status] > class[body.ReadsClass] {
			body.Reads, body.ReadsClass = view.Word, view.Status
		}
		live = append(live, liveRow{value.Device, view})
		if value.Interval > 0 {
			body.Interval = l.Span(value.Interval)
		}
		if value.Value.Type != telemetry.Number || len(body.Charts) == maxCharts {
			continue
		}
		id := SeriesID{dep.Node, value.Device, value.Quantity}
		c, series, err := d.readChart(ctx, l, id, now)
		if err != nil {
			return err
		}
		s := siteSeries{chart: c, quantity: value.Quantity, unit: series.Unit}
		if s.unit == telemetry.Unknown {
			s.unit = value.Unit
		}
		rules, err := d.rules(ctx, now)
		if err != nil {
			return err
		}
		s.chart.From, s.chart.To = win.from, win.to
		d.dress(l, site, &s, rules.Rules, nil)
		body.Marked = body.Marked || s.marked
		body.Charts = append(body.Charts, siteChart{
			Quantity: value.Quantity, Title: l.Name("q.", value.Quantity) + suffix(page.Unit(s.unit)), Desc: s.chart.Desc, SVG: s.chart.SVG(),
			Data: l.Path("/dinas/jaringan/deret") + "?" + query("deret", id.String()), Empty: len(s.chart.Points) == 0,
		})
	}
	return nil
}

// swapped reports whether a part tells another serial number than people entered.
// They copy it from a label, which groups it by dashes where the part has none and
// may begin with zeros where the part counts.
func swapped(entered, told string) bool {
	bare := func(s string) string {
		return strings.TrimLeft(strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToUpper(r)
			}
			return -1
		}, s), "0")
	}
	return entered != "" && told != "" && bare(entered) != bare(told)
}

// hangs is the deployment by which a sensor is read at a time.
func (d *Dashboards) hangs(sensor string, at time.Time) (dep places.Deployment, ok bool) {
	for _, dep := range slices.Backward(d.o.Places.SensorDeployments(sensor)) {
		if _, ok := d.o.Places.Site(dep.Site); ok && dep.At(at) {
			return dep, true
		}
	}
	return dep, false
}

// sensorReadings are the newest readings of what hangs there by a deployment.
func (d *Dashboards) sensorReadings(ctx context.Context, u *account.User, g Gateway, dep places.Deployment) ([]Value, error) {
	values, err := d.values(ctx, u, g)
	values = slices.DeleteFunc(values, func(v Value) bool {
		return v.Kind == telemetry.KindGateway || dep.Device != places.AnyDevice && v.Device != dep.Device
	})
	slices.SortStableFunc(values, func(a, b Value) int {
		return cmp.Or(rank(a.Quantity)-rank(b.Quantity), cmp.Compare(a.Quantity, b.Quantity), cmp.Compare(a.Device, b.Device))
	})
	return values, err
}

// seriesLedgers counts what became of a sensor's readings wherever it hung, out of the
// hours that rest on them, and lists the intervals that held meanwhile, the newest
// first.
func (d *Dashboards) seriesLedgers(ctx context.Context, l page.Lang, u *account.User, sensor string, now time.Time) ([]seriesLedger, []intervalRow, error) {
	since := now.Truncate(time.Hour).AddDate(0, 0, -ledgerDays)
	counts := map[string]*seriesLedger{}
	expected := map[time.Time]int{} // an hour's, of the series that is read most often
	for _, dep := range d.o.Places.SensorDeployments(sensor) {
		site, ok := d.o.Places.Site(dep.Site)
		from, to := later(since, dep.From), now
		if !dep.To.IsZero() && dep.To.Before(to) {
			to = dep.To.Add(time.Hour) // its last hour ends after it
		}
		if !ok || !from.Before(to) {
			continue
		}
		hours, err := d.o.Figures.Hours(ctx, dep.Site, nil, from, to)
		if err != nil {
			return nil, nil, err
		}
		for i := range hours {
			h := &hours[i]
			its := func(of figures.Source) bool {
				return of.Sensor == sensor || of.Sensor == "" && of.Node == dep.Node && (dep.Device == places.AnyDevice || of.Device == dep.Device)
			}
			if !u.May(account.Viewer, site.District, kindOf(h.Quantity)) || len(h.Sources) != 1 || !its(h.Sources[0]) {
				continue
			}
			c := counts[h.Quantity]
			if c == nil {
				c = &seriesLedger{Quantity: h.Quantity}
				counts[h.Quantity] = c
			}
			rejected, gaps := sum(h.Rejected), sum(h.Gaps)
			c.Valid, c.Rejected, c.Gaps = c.Valid+h.Valid, c.Rejected+rejected, c.Gaps+gaps
			c.Expected += max(h.Expected, h.Valid+rejected+gaps)
			c.Missing += max(0, h.Expected-h.Valid-rejected-gaps)
			expected[h.End] = max(expected[h.End], h.Expected)
		}
	}
	var ledgers []seriesLedger
	for _, c := range counts {
		ledgers = append(ledgers, *c)
	}
	slices.SortFunc(ledgers, func(a, b seriesLedger) int {
		return cmp.Or(rank(a.Quantity)-rank(b.Quantity), cmp.Compare(a.Quantity, b.Quantity))
	})
	var intervals []intervalRow
	last := 0
	for _, end := range slices.SortedFunc(maps.Keys(expected), time.Time.Compare) {
		if n := expected[end]; n > 0 && n != last {
			intervals = append(intervals, intervalRow{end.Add(-time.Hour), l.Span(time.Hour / time.Duration(n))})
			last = n
		}
	}
	slices.Reverse(intervals)
	return ledgers, intervals[:min(len(intervals), 10)], nil
}
