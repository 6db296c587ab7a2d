package dashboards

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Live updates are server-sent events. One browser holds one stream for all its
// pages (dashboards/web shares it), so a stream names what it wants as topics,
// each being a language and an element: "id.ringkas", "en.g-1f2e3d4c5b6a". An
// event carries the new HTML of the elements that changed. After a connection
// all elements are sent once, so nothing is missed while there was none.
//
// What costs more than memory to make, figures above all, no stream makes: the topic
// "angka" carries the version of such parts, and a page with another one reads itself
// again and takes over its elements that are marked data-fresh.
const (
	beatEvery  = 15 * time.Second // also how often the session is looked at again
	sendWithin = 20 * time.Second // a browser that takes nothing for so long is cut
	maxTopics  = 400
)

type topic struct {
	lang    page.Lang
	element string
}

func parseTopics(list []string) ([]topic, error) {
	var out []topic
	seen := map[topic]bool{}
	for _, one := range list {
		for name := range strings.FieldsSeq(one) {
			lang, element, ok := strings.Cut(name, ".")
			t := topic{page.Lang(lang), element}
			if !ok || (t.lang != page.Indonesian && t.lang != page.English) || len(element) > 64 {
				return nil, fmt.Errorf("topic %q is not known", page.Plain(name))
			}
			if !seen[t] {
				seen[t] = true
				out = append(out, t)
			}
		}
	}
	if len(out) == 0 || len(out) > maxTopics {
		return nil, fmt.Errorf("a stream takes 1 to %d topics, not %d", maxTopics, len(out))
	}
	return out, nil
}

// update is the data of one event.
type update struct {
	Lang    page.Lang         `json:"lang"`
	HTML    map[string]string `json:"html"`              // by element id
	Version string            `json:"version,omitempty"` // of what is marked data-fresh
}

// live is /dinas/langsung.
func (d *Dashboards) live(w http.ResponseWriter, r *http.Request) error {
	topics, err := parseTopics(r.URL.Query()["t"])
	if err != nil {
		return problem{status: http.StatusBadRequest, cause: err}
	}
	select {
	case d.limit <- struct{}{}:
		defer func() { <-d.limit }()
	default:
		return problem{status: http.StatusServiceUnavailable}
	}
	d.streams.Add(1)
	defer d.streams.Done()
	d.metrics.streams.Inc()
	defer d.metrics.streams.Dec()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	ctx, done := d.sessions.Live(r.Context())
	defer done()
	s := &stream{d: d, w: w, control: http.NewResponseController(w), user: userOf(r), topics: topics, sent: map[topic]any{}}
	if err := s.run(ctx); err != nil && r.Context().Err() == nil {
		d.o.Logger.Debug("live update ended", "id", requestID(r), "err", err)
	}
	return nil
}

// sayEnd answers a browser that asks for live updates without a session.
func sayEnd(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	if _, err := w.Write([]byte("event: end\ndata: \n\n")); err != nil {
		return fmt.Errorf("send a live update: %w", err)
	}
	return nil
}

// stream is one browser's live update.
type stream struct {
	d       *Dashboards
	w       http.ResponseWriter
	control *http.ResponseController
	user    *account.User
	topics  []topic
	sent    map[topic]any // the view last sent
}

func (s *stream) run(ctx context.Context) error {
	if err := s.event("", "retry: 3000\n"); err != nil {
		return err
	}
	if err := s.beat(); err != nil {
		return err
	}
	tick, beat := time.NewTicker(s.d.o.Refresh), time.NewTicker(beatEvery)
	defer tick.Stop()
	defer beat.Stop()
	if err := s.compare(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-s.d.stopped.Done():
			return nil // the browser comes back by itself
		case <-ctx.Done():
			return s.event("end", "data: \n") // signed out, or the browser has gone
		case <-beat.C:
			u, ok, err := s.d.sessions.Still(ctx)
			if err != nil {
				return err
			}
			if !ok {
				return s.event("end", "data: \n")
			}
			s.user = &u
			if err := s.beat(); err != nil {
				return err
			}
		case <-tick.C:
			if err := s.compare(ctx); err != nil {
				return err
			}
		}
	}
}

// beat shows that the link lives, and tells the server's time.
func (s *stream) beat() error {
	return s.event("beat", "data: "+s.d.o.Now().UTC().Format(time.RFC3339)+"\n")
}

// compare sends what changed since the last time.
func (s *stream) compare(ctx context.Context) error {
	snap := s.d.snapshot(ctx, s.user)
	select {
	case <-ctx.Done():
		return nil // run says goodbye
	default:
	}
	changed, versions := map[page.Lang]map[string]string{}, map[page.Lang]string{}
	byKey := make(map[string]Gateway, len(snap.gateways))
	for _, g := range snap.gateways {
		byKey[keyOf("gateway", g.Node.String())] = g
	}
	for _, t := range s.topics {
		part, view, ok := s.view(ctx, t, snap, byKey)
		if !ok || reflect.DeepEqual(s.sent[t], view) {
			continue
		}
		if changed[t.lang] == nil {
			changed[t.lang] = map[string]string{}
		}
		if version, ok := view.(string); ok {
			s.sent[t], versions[t.lang] = view, version
			continue
		}
		f := snap.fragment(t.element, view)
		f.MayAct, f.Back = s.user.May(account.Operator, account.Somewhere, account.SomeKind), t.lang.Path("/dinas/jaringan")
		var b bytes.Buffer
		if err := s.d.set.Part(&b, t.lang, "network", part, f); err != nil {
			return err
		}
		s.sent[t] = view
		changed[t.lang][t.element] = b.String()
	}
	for lang, html := range changed {
		body, err := json.Marshal(update{lang, html, versions[lang]})
		if err != nil {
			return fmt.Errorf("encode a live update: %w", err)
		}
		if err := s.event("", "data: "+string(body)+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// view makes what one topic shows now; false = there is nothing of that name.
func (s *stream) view(ctx context.Context, t topic, snap snapshot, byKey map[string]Gateway) (part string, view any, ok bool) {
	switch t.element {
	case "ringkas":
		return "summary", summarize(snap), true
	case "peringatan":
		return "alerts", viewAlerts(t.lang, snap, telemetry.Node{}), true
	case "angka":
		return "", snap.version(), true
	case "buku":
		return "ledger-live", ledgerView{snap.total, snap.totalErr != nil}, true
	}
	kind, key, _ := strings.Cut(t.element, "-")
	switch kind {
	case "s":
		return s.siteValues(ctx, t.lang, key, snap)
	case "a":
		return s.sensorValues(ctx, t.lang, key, snap)
	case "k":
		return s.areaValues(ctx, t.lang, key, snap)
	}
	g, ok := byKey[key]
	switch {
	case !ok:
		return "", nil, false
	case kind == "p":
		return "alerts", viewAlerts(t.lang, snap, g.Node), true
	}
	values, err := s.d.values(ctx, s.user, g)
	switch kind {
	case "g":
		return "gateway-card", viewGateway(t.lang, g, values, err, snap.now), true
	case "d":
		return "gateway-detail", s.d.viewDetail(ctx, t.lang, g, values, err, snap.now), true
	}
	return "", nil, false
}

// siteValues are the newest values of the site with that key.
func (s *stream) siteValues(ctx context.Context, l page.Lang, key string, snap snapshot) (part string, view any, ok bool) {
	for _, site := range s.d.o.Places.Sites() {
		if keyOf("site", site.Code) != key {
			continue
		}
		may := func(quantity string) bool { return s.user.May(account.Viewer, site.District, kindOf(quantity)) }
		rows, err := s.d.liveAt(ctx, l, site.Code, snap.now, may)
		return "values-live", rows, err == nil
	}
	return "", nil, false
}

// sensorValues are the newest values of the sensor with that key, where it hangs now.
func (s *stream) sensorValues(ctx context.Context, l page.Lang, key string, snap snapshot) (part string, view any, ok bool) {
	for _, sensor := range s.d.o.Places.Sensors() {
		if keyOf("sensor", sensor.ID) != key {
			continue
		}
		dep, ok := s.d.hangs(sensor.ID, snap.now)
		g, known := snap.find(dep.Node) // of those that the visitor may see
		if !ok || !known {
			return "", nil, false
		}
		values, err := s.d.sensorReadings(ctx, s.user, g, dep)
		rows := []liveRow{}
		for _, v := range values {
			rows = append(rows, liveRow{v.Device, viewValue(l, dep.Node, v, snap.now)})
		}
		return "values-live", rows, err == nil
	}
	return "", nil, false
}

// areaValues are what a district, or one of its subdistricts, measures of the kinds
// that have no figures yet.
func (s *stream) areaValues(ctx context.Context, l page.Lang, code string, snap snapshot) (part string, view any, ok bool) {
	if len(code) < 4 {
		return "", nil, false
	}
	of, ok := places.FindDistrict(code[:4])
	if !ok {
		return "", nil, false
	}
	here := area{district: of}
	if code != of.Code {
		here.code = code
	}
	blocks, err := s.d.kindsIn(ctx, l, s.user, snap.of(s.d.gatewaysIn(here, snap.now)))
	return "kinds-live", blocks, err == nil
}

// viewDetail is a gateway on its own page: with its ledger.
func (d *Dashboards) viewDetail(ctx context.Context, l page.Lang, g Gateway, values []Value, err error, now time.Time) gatewayView {
	v := viewGateway(l, g, values, err, now)
	if district, ok := places.FindDistrict(g.District); ok {
		v.DistrictURL, v.DistrictName = districtURL(l, district.Code), district.Name
	}
	if site, ok := d.o.Places.Site(g.Site); ok {
		v.SiteURL = siteURL(l, site.Code)
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	total, totalErr := d.o.Ledger.Gateway(ctx, g.Node)
	v.Total, v.NoTotal = total, totalErr != nil
	return v
}

// event writes one server-sent event and pushes it out.
func (s *stream) event(name, lines string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil {
		return fmt.Errorf("set a deadline for a live update: %w", err)
	}
	if name != "" {
		lines = "event: " + name + "\n" + lines
	}
	if _, err := s.w.Write([]byte(lines + "\n")); err != nil {
		return fmt.Errorf("send a live update: %w", err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("send a live update: %w", err)
	}
	return nil
}
