package places

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// state is everything that is known, at one time. It never changes: a change is
// a new one.
type state struct {
	revision    uint64
	sites       map[string]Site
	sensors     map[string]Sensor
	deployments map[string]Deployment // by ID

	devices map[telemetry.Node]map[string][]Deployment // by device, oldest first
	at      map[string][]Deployment                    // by site, oldest first
	carried map[string][]Deployment                    // by sensor
}

// Registry says where gateways hang by their own entry.
type Registry interface {
	// SiteOf returns the site that a node's entry names; "" = none.
	SiteOf(n telemetry.Node) string
	// NodesAt lists the nodes whose entries name the site.
	NodesAt(site string) []telemetry.Node
}

// change is what is to be put, and the keys of what is to be removed.
type change struct {
	sites       map[string]Site
	sensors     map[string]Sensor
	deployments map[string]Deployment
	remove      []string // deployments
	noSites     []string
	noSensors   []string
}

func newChange() *change {
	return &change{sites: map[string]Site{}, sensors: map[string]Sensor{}, deployments: map[string]Deployment{}}
}

// with returns the state after a change.
func (s *state) with(c *change) *state {
	next := &state{
		revision: s.revision, sites: maps.Clone(s.sites), sensors: maps.Clone(s.sensors), deployments: maps.Clone(s.deployments),
		devices: s.devices, at: s.at, carried: s.carried,
	}
	maps.Copy(next.sites, c.sites)
	maps.Copy(next.sensors, c.sensors)
	maps.Copy(next.deployments, c.deployments)
	for _, id := range c.remove {
		delete(next.deployments, id)
	}
	for _, code := range c.noSites {
		delete(next.sites, code)
	}
	for _, id := range c.noSensors {
		delete(next.sensors, id)
	}
	if len(c.deployments)+len(c.remove) > 0 {
		next.index()
	}
	return next
}

func (s *state) index() {
	s.devices, s.at, s.carried = map[telemetry.Node]map[string][]Deployment{}, map[string][]Deployment{}, map[string][]Deployment{}
	all := slices.SortedFunc(maps.Values(s.deployments), func(a, b Deployment) int {
		return cmp.Or(a.From.Compare(b.From), strings.Compare(a.ID, b.ID))
	})
	for _, d := range all {
		if s.devices[d.Node] == nil {
			s.devices[d.Node] = map[string][]Deployment{}
		}
		s.devices[d.Node][d.Device] = append(s.devices[d.Node][d.Device], d)
		s.at[d.Site] = append(s.at[d.Site], d)
		if d.Sensor != "" {
			s.carried[d.Sensor] = append(s.carried[d.Sensor], d)
		}
	}
}

// find returns the deployment of a device that holds at t.
func (s *state) find(n telemetry.Node, device string, t time.Time, r Registry) (Deployment, bool) {
	devices := s.devices[n]
	for _, name := range [...]string{device, AnyDevice} {
		list := devices[name]
		if len(list) == 0 || t.Before(list[0].From) {
			continue
		}
		for i := len(list) - 1; i >= 0; i-- {
			if !t.Before(list[i].From) {
				d := list[i]
				d.Device = device
				return d, d.At(t) && s.open(d.Site, t)
			}
		}
	}
	site := r.SiteOf(n)
	return Deployment{Site: site, Node: n, Device: device}, site != "" && s.open(site, t)
}

// open reports whether a site still counts at t. One that is only known to the
// registry does.
func (s *state) open(site string, t time.Time) bool {
	closed := s.sites[site].Closed
	return closed.IsZero() || t.Before(closed)
}

// timeline returns where a device was, oldest first, each with the time for
// which it was so.
func (s *state) timeline(n telemetry.Node, device, implied string) []Deployment {
	devices := s.devices[n]
	lists := [][]Deployment{devices[device]}
	if device != AnyDevice {
		lists = append(lists, devices[AnyDevice])
	}
	if implied != "" {
		lists = append(lists, []Deployment{{Site: implied, Node: n}})
	}
	var out []Deployment
	before := forever // what follows has to end by then
	for _, list := range lists {
		for _, d := range list {
			if !d.From.Before(before) {
				continue
			}
			if d.Device = device; before.Before(d.end()) {
				d.To = before
			}
			out = append(out, d)
		}
		if len(list) > 0 && list[0].From.Before(before) {
			before = list[0].From
		}
	}
	slices.SortFunc(out, func(a, b Deployment) int { return a.From.Compare(b.From) })
	return out
}

// holding is a device's timeline, also ended by the end of sites.
func (s *state) holding(n telemetry.Node, device, implied string) []Deployment {
	var out []Deployment
	for _, d := range s.timeline(n, device, implied) {
		if closed := s.sites[d.Site].Closed; !closed.IsZero() && closed.Before(d.end()) {
			d.To = closed
		}
		if d.From.Before(d.end()) {
			out = append(out, d)
		}
	}
	return out
}

// spans gathers, by site, the time that a change touches.
type spans map[string]Span

// Span is a time at a site that must be computed anew: from From (zero = ever)
// and before To (zero = still).
type Span struct {
	Site string    `json:"site"`
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
}

// touch widens what is touched of a site. to may be forever.
func (s spans) touch(site string, from, to time.Time) {
	if site == "" || !from.Before(to) {
		return
	}
	if to.Equal(forever) {
		to = time.Time{}
	}
	have, ok := s[site]
	switch {
	case !ok:
		have = Span{site, from, to}
	default:
		if from.Before(have.From) {
			have.From = from
		}
		if to.IsZero() || (!have.To.IsZero() && have.To.Before(to)) {
			have.To = to
		}
	}
	s[site] = have
}

// list returns them by site.
func (s spans) list() []Span {
	return slices.SortedFunc(maps.Values(s), func(a, b Span) int { return strings.Compare(a.Site, b.Site) })
}

// touched compares two states where a change may have made a difference.
func touched(old, next *state, c *change, r Registry) spans {
	out := spans{}
	nodes := map[telemetry.Node]bool{}
	for id := range c.deployments {
		nodes[old.deployments[id].Node], nodes[next.deployments[id].Node] = true, true
	}
	for _, id := range c.remove {
		nodes[old.deployments[id].Node] = true
	}
	delete(nodes, telemetry.Node{})
	for n := range nodes {
		devices := map[string]bool{AnyDevice: true}
		for _, s := range []*state{old, next} {
			for d := range s.devices[n] {
				devices[d] = true
			}
		}
		implied := r.SiteOf(n)
		for d := range devices {
			differ(old.timeline(n, d, implied), next.timeline(n, d, implied), out)
		}
	}
	for code := range c.sites {
		a, known := old.sites[code]
		b := next.sites[code]
		if !known {
			continue // nothing was ever counted for it
		}
		if x, y := orForever(a.Closed), orForever(b.Closed); x.Before(y) {
			out.touch(code, x, y)
		} else {
			out.touch(code, y, x)
		}
		if a.Class != b.Class || !a.Certificate.equal(b.Certificate) || !a.ClassSince.Equal(b.ClassSince) {
			out.touch(code, b.ClassSince, forever)
		}
		if a.Simulated != b.Simulated {
			out.touch(code, time.Time{}, forever)
		}
	}
	return out
}

// differ compares two timelines piece by piece: wherever one joins readings to
// another site, sensor or role than the other, both sites are touched.
func differ(old, next []Deployment, out spans) {
	var cuts []time.Time
	for _, list := range [][]Deployment{old, next} {
		for _, d := range list {
			cuts = append(cuts, d.From, d.end())
		}
	}
	slices.SortFunc(cuts, time.Time.Compare)
	holding := func(list []Deployment, t time.Time) Deployment {
		for _, d := range list {
			if d.At(t) {
				return d
			}
		}
		return Deployment{}
	}
	for i := range len(cuts) - 1 {
		a, b := holding(old, cuts[i]), holding(next, cuts[i])
		if a.Site == b.Site && a.Sensor == b.Sensor && a.Interval == b.Interval && slices.Equal(a.Main, b.Main) && (a.Main == nil) == (b.Main == nil) {
			continue
		}
		out.touch(a.Site, cuts[i], cuts[i+1])
		out.touch(b.Site, cuts[i], cuts[i+1])
	}
}

// verify checks a change against all else that is known; s is the state with it,
// old the one before, kecamatan the map of them if there is one.
func (s *state) verify(old *state, c *change, r Registry, kecamatan *Boundaries) Problems {
	var all Problems
	for code := range c.sites {
		site := s.sites[code]
		w := wrong{"site " + code, &all}
		have, known := old.sites[code]
		if !known {
			w.code("code", code)
		}
		site.check(w)
		if _, there := kecamatan.Find(site.Subdistrict); kecamatan != nil && site.Subdistrict != "" && !there {
			w.add("subdistrict", site.Subdistrict, Unknown, "the imported map has no kecamatan of this code")
		}
		if known && have.District != site.District {
			if hangs := old.hangs(code, r); hangs != "" {
				w.add("district", site.District, Fixed, "stays %s, since %s hangs there: past figures were counted for it", have.District, hangs)
			}
		}
		if !site.Closed.IsZero() {
			for _, d := range s.at[code] {
				if !d.From.Before(site.Closed) {
					w.add("closed", local(site.Closed), Taken, "deployment %s (%s %s) holds there %s", d.ID, d.Node, d.Device, d.span())
				}
			}
		}
	}
	for _, code := range c.noSites {
		w := wrong{"site " + code, &all}
		if list := s.at[code]; len(list) > 0 {
			w.add("code", code, Taken, "deployment %s (%s %s) holds there %s", list[0].ID, list[0].Node, list[0].Device, list[0].span())
		} else if list := r.NodesAt(code); len(list) > 0 {
			w.add("code", code, Taken, "%s hangs there", list[0])
		}
	}
	for _, id := range c.noSensors {
		if list := s.carried[id]; len(list) > 0 {
			wrong{"sensor " + id, &all}.add("id", id, Taken, "deployment %s names it", list[0].ID)
		}
	}
	for id := range c.sensors {
		sensor := s.sensors[id]
		sensor.check(wrong{"sensor " + id, &all})
	}
	for id := range c.deployments {
		d := s.deployments[id]
		w := wrong{"deployment " + id, &all}
		d.check(w)
		s.verifyNames(&d, w)
		s.verifyDeployment(&d, w)
	}
	slices.SortStableFunc(all, func(a, b Problem) int { return strings.Compare(a.Record, b.Record) })
	return all
}

// hangs names what hangs, or hung, at a site.
func (s *state) hangs(site string, r Registry) string {
	if list := s.at[site]; len(list) > 0 {
		return list[0].Node.String()
	}
	if list := r.NodesAt(site); len(list) > 0 {
		return list[0].String()
	}
	return ""
}

// verifyNames finds what a deployment names and nobody knows.
func (s *state) verifyNames(d *Deployment, w wrong) {
	site, ok := s.sites[d.Site]
	switch {
	case !ok:
		w.add("site", d.Site, Unknown, "there is no site of this code: add it first")
	case !site.Closed.IsZero() && !d.From.Before(site.Closed):
		w.add("site", d.Site, Closed, "it was closed on %s", local(site.Closed))
	}
	if d.Sensor != "" {
		if _, ok := s.sensors[d.Sensor]; !ok {
			w.add("sensor", d.Sensor, Unknown, "there is no sensor of this ID: add it first")
		}
	}
}

// verifyDeployment finds what a deployment collides with.
func (s *state) verifyDeployment(d *Deployment, w wrong) {
	taken := func(field, value string, by *Deployment, want string, args ...any) {
		w.add(field, value, Taken, want, args...)
		(*w.list)[len(*w.list)-1].Other = by.ID
	}
	for _, e := range s.devices[d.Node][d.Device] {
		if e.ID != d.ID && d.overlaps(e) {
			taken("device", d.Device, &e, "hangs at %s %s (deployment %s): end that first, or begin later", e.Site, e.span(), e.ID)
		}
	}
	if d.Sensor != "" {
		for _, e := range s.carried[d.Sensor] {
			if e.ID != d.ID && (e.Node != d.Node || e.Device != d.Device) && d.overlaps(e) {
				taken("sensor", d.Sensor, &e, "hangs at %s on %s %s %s (deployment %s): end that first, or begin later", e.Site, e.Node, e.Device, e.span(), e.ID)
			}
		}
	}
	for _, e := range s.at[d.Site] {
		if e.ID == d.ID || !d.overlaps(e) {
			continue
		}
		for _, q := range d.Main {
			if e.claims(q) {
				taken("main", q, &e, "deployment %s (%s %s) is utama for it at %s %s: end that claim first, or begin later", e.ID, e.Node, e.Device, e.Site, e.span())
			}
		}
	}
}
