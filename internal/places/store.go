package places

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pantau-id/pantau/internal/lifecycle"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// KV is the durable store.
type KV interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Watch(ctx context.Context, prefix string, fn func(key string, value []byte, revision uint64)) error
}

// Options of a Store.
type Options struct {
	KV       KV
	Registry Registry // nil: no gateway hangs anywhere by its own entry
	Logger   *slog.Logger
	Now      func() time.Time // default time.Now
	// Changed is called for each site that a change of deployments or of the site
	// itself touches, with the time that must be computed anew: from (zero = ever)
	// and before to (zero = still). By then the change is durable and At obeys it.
	// Open repeats it for the last change, since the process may have ended before
	// anybody heard of it; a time may come twice. It must not block, and must not
	// change places.
	Changed func(site string, from, to time.Time)
	// Older are sites of an earlier version by key ("site/CODE"); Open takes over
	// those that are not here yet. May be nil.
	Older func(ctx context.Context) (map[string][]byte, error)
}

// Store is the open store. What it returns comes from memory.
//
// A change of several records is one: it is first written as a whole into the
// key "head" (this is where it becomes true, and where the second of two
// concurrent changes fails and is checked anew), then into a key for each record.
// Whoever finds a head that is not carried out carries it out.
type Store struct {
	o     Options
	state atomic.Pointer[state]
	stack lifecycle.Stack

	changing sync.Mutex // one change at a time in this process; before telling
	telling  sync.Mutex // whoever learned a change has told it before the next is learned; before mu

	mu      sync.Mutex
	records map[string]record
	head    head
	news    chan struct{} // closed when head changes
	loading bool
	maps    map[Level]levelMap
}

// record is a key's value as known here.
type record struct {
	value    []byte // empty: removed
	revision uint64 // the key's own; older than the value if only the head has it yet
}

const headKey = "head"

const (
	sitePrefix       = "site/"
	sensorPrefix     = "sensor/"
	deploymentPrefix = "deployment/"
)

// head is the last change.
type head struct {
	revision uint64
	Writes   []write `json:"writes,omitempty"`
	Touched  []Span  `json:"touched,omitempty"`
}

type write struct {
	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value,omitempty"` // none: removed
	Revision uint64          `json:"revision"`        // of the key before this change; 0 = none
}

// maxHead bounds a change, compressed: a value of the store.
const maxHead = 448 << 10

func (h *head) encode() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(h), z.Close()); err != nil {
		return nil, err
	}
	if b.Len() > maxHead {
		return nil, fmt.Errorf("%d records are too many for one change: split it", len(h.Writes))
	}
	return b.Bytes(), nil
}

func decodeHead(value []byte, revision uint64) (head, error) {
	z, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return head{}, fmt.Errorf("read the last change of places: %w", err)
	}
	h := head{revision: revision}
	if err := json.NewDecoder(z).Decode(&h); err != nil {
		return head{}, fmt.Errorf("read the last change of places: %w", err)
	}
	return h, nil
}

type nobody struct{}

func (nobody) SiteOf(telemetry.Node) string    { return "" }
func (nobody) NodesAt(string) []telemetry.Node { return nil }

// Open reads all places and follows their changes until Close.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.KV == nil {
		return nil, errors.New("places option KV is not set")
	}
	if o.Registry == nil {
		o.Registry = nobody{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Changed == nil {
		o.Changed = func(string, time.Time, time.Time) {}
	}
	s := &Store{o: o, records: map[string]record{}, news: make(chan struct{}), loading: true, maps: map[Level]levelMap{}}
	value, revision, err := o.KV.Get(ctx, headKey)
	if errors.Is(err, fs.ErrNotExist) {
		var empty []byte
		if empty, err = (&head{}).encode(); err != nil {
			return nil, fmt.Errorf("open places: %w", err)
		}
		if _, err = o.KV.Create(ctx, headKey, empty); err == nil || errors.Is(err, fs.ErrExist) {
			value, revision, err = o.KV.Get(ctx, headKey)
		}
	}
	if err == nil {
		_, err = decodeHead(value, revision)
	}
	if err != nil {
		return nil, fmt.Errorf("open places: %w", err)
	}
	s.stack.Go("following the places", s.follow)
	last, err := s.await(ctx, revision)
	if err == nil {
		err = s.readMaps(ctx)
	}
	if err == nil {
		err = s.takeOver(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open places: %w", err), s.Close(context.WithoutCancel(ctx)))
	}
	for _, t := range last.Touched {
		o.Changed(t.Site, t.From, t.To)
	}
	return s, nil
}

// Close ends following.
func (s *Store) Close(ctx context.Context) error { return s.stack.Close(ctx) }

// follow learns what other processes change.
func (s *Store) follow(ctx context.Context) {
	if err := s.o.KV.Watch(ctx, "", s.learn); err != nil && ctx.Err() == nil {
		s.o.Logger.Error("the places are followed no more; what is known of them stays", "error", err)
	}
}

// learn takes one value of the store. Keys come in the order of their revisions,
// so with the head comes everything that was true before it.
func (s *Store) learn(key string, value []byte, revision uint64) {
	var err error
	var told spans
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	if level, isMap := strings.CutPrefix(key, mapPrefix); isMap {
		err = s.learnMap(Level(level), value, revision)
	} else if key == headKey {
		if revision > s.head.revision {
			told, err = s.learnHead(value, revision)
		}
	} else if have := s.records[key]; revision > have.revision {
		told, err = s.adopt([]write{{Key: key, Value: value, Revision: revision}})
		s.records[key] = record{s.records[key].value, revision}
	}
	s.mu.Unlock()
	if err != nil {
		s.o.Logger.Error("the places hold an entry that can't be read; what was known of it stays", "key", key, "error", err)
	}
	s.tell(told)
}

func (s *Store) tell(told spans) {
	for _, t := range told.list() {
		s.o.Changed(t.Site, t.From, t.To)
	}
}

func (s *Store) learnHead(value []byte, revision uint64) (spans, error) {
	h, err := decodeHead(value, revision)
	if err != nil {
		return nil, err
	}
	var fresh []write
	for _, w := range h.Writes {
		if s.records[w.Key].revision <= w.Revision { // else it is carried out, and maybe changed again
			fresh = append(fresh, w)
		}
	}
	told, err := s.adopt(fresh)
	if s.loading {
		s.loading = false
		told = nil // all that is there was there before
		err = errors.Join(err, s.build())
	}
	next := *s.state.Load()
	next.revision = revision
	s.state.Store(&next)
	s.head = h
	close(s.news)
	s.news = make(chan struct{})
	return told, err
}

// adopt takes values into memory and returns what that touches. A value that
// can't be read is left out.
func (s *Store) adopt(writes []write) (spans, error) {
	c := newChange()
	var errs []error
	fresh := false
	for _, w := range writes {
		have := s.records[w.Key]
		if bytes.Equal(have.value, w.Value) {
			continue
		}
		if err := c.decode(w.Key, w.Value); err != nil {
			errs = append(errs, err)
			continue
		}
		have.value, fresh = w.Value, true
		s.records[w.Key] = have
	}
	if s.loading || !fresh {
		return nil, errors.Join(errs...)
	}
	old := s.state.Load()
	next := old.with(c)
	s.state.Store(next)
	return touched(old, next, c, s.o.Registry), errors.Join(errs...)
}

// build makes the first state.
func (s *Store) build() error {
	c := newChange()
	for key, r := range s.records {
		if err := c.decode(key, r.value); err != nil {
			return err
		}
	}
	empty := &state{sites: map[string]Site{}, sensors: map[string]Sensor{}, deployments: map[string]Deployment{}}
	next := empty.with(c)
	next.index()
	s.state.Store(next)
	return nil
}

// decode adds one record to a change.
func (c *change) decode(key string, value []byte) error {
	into := func(v any) error {
		if err := json.Unmarshal(value, v); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		return nil
	}
	if id, ok := strings.CutPrefix(key, deploymentPrefix); ok {
		if len(value) == 0 {
			c.remove = append(c.remove, id)
			return nil
		}
		var d Deployment
		err := into(&d)
		if err == nil {
			c.deployments[id] = d
		}
		return err
	}
	if code, ok := strings.CutPrefix(key, sitePrefix); ok {
		if len(value) == 0 {
			c.noSites = append(c.noSites, code)
			return nil
		}
		var site Site
		err := into(&site)
		if err == nil {
			c.sites[code] = site
		}
		return err
	}
	if id, ok := strings.CutPrefix(key, sensorPrefix); ok {
		if len(value) == 0 {
			c.noSensors = append(c.noSensors, id)
			return nil
		}
		var sensor Sensor
		err := into(&sensor)
		if err == nil {
			c.sensors[id] = sensor
		}
		return err
	}
	return nil // of a later version
}

// await returns the head once it is at least that revision.
func (s *Store) await(ctx context.Context, revision uint64) (head, error) {
	for {
		s.mu.Lock()
		h, news := s.head, s.news
		s.mu.Unlock()
		if h.revision >= revision {
			return h, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return head{}, fmt.Errorf("wait for the newest places: %w", ctx.Err())
		}
	}
}

// takeOver adds the sites that an earlier version kept elsewhere.
func (s *Store) takeOver(ctx context.Context) error {
	if s.o.Older == nil {
		return nil
	}
	older, err := s.o.Older(ctx)
	if err != nil {
		return fmt.Errorf("read the sites of the earlier version: %w", err)
	}
	c := newChange()
	for key, value := range older {
		if err := c.decode(key, value); err != nil {
			s.o.Logger.Error("a site of the earlier version can't be read and is left out", "error", err)
		}
	}
	return s.commit(ctx, func(_ *state, to *change) (Problems, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for code, site := range c.sites {
			if _, known := s.records[sitePrefix+code]; !known { // nor was it ever, and taken away
				site.tidy()
				to.sites[code] = site
			}
		}
		return nil, nil // they were checked when they were written
	})
}

// commit makes a change true. fill adds to the change what differs from the
// state; it may be called again with a newer one.
func (s *Store) commit(ctx context.Context, fill func(*state, *change) (Problems, error)) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	for {
		_, revision, err := s.o.KV.Get(ctx, headKey)
		if err != nil {
			return fmt.Errorf("change places: %w", err)
		}
		last, err := s.await(ctx, revision)
		if err != nil {
			return fmt.Errorf("change places: %w", err)
		}
		if err := s.carryOut(ctx, last); err != nil {
			return fmt.Errorf("change places: carry out the change before: %w", err)
		}
		c := newChange()
		old := s.state.Load()
		problems, err := fill(old, c)
		switch {
		case err != nil:
			return err
		case len(problems) > 0:
			return problems
		}
		h, body, err := s.compose(old, c)
		if err != nil {
			return fmt.Errorf("change places: %w", err)
		}
		if len(h.Writes) == 0 {
			return nil
		}
		revision, err = s.o.KV.Update(ctx, headKey, body, last.revision)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("change places: %w", err)
		}
		s.learn(headKey, body, revision)
		h.revision = revision
		if err := s.carryOut(ctx, h); err != nil {
			s.o.Logger.Warn("a change of places holds and will be carried out with the next one", "error", err)
		}
		return nil
	}
}

// compose makes a change the next head.
func (s *Store) compose(old *state, c *change) (head, []byte, error) {
	writes, err := s.writes(c)
	if err != nil {
		return head{}, nil, err
	}
	h := head{Writes: writes, Touched: touched(old, old.with(c), c, s.o.Registry).list()}
	body, err := h.encode()
	return h, body, err
}

// writes lists what of a change is not so already.
func (s *Store) writes(c *change) ([]write, error) {
	values := map[string]any{}
	for k, v := range c.sites {
		values[sitePrefix+k] = v
	}
	for k, v := range c.sensors {
		values[sensorPrefix+k] = v
	}
	for k, v := range c.deployments {
		values[deploymentPrefix+k] = v
	}
	for _, id := range c.remove {
		values[deploymentPrefix+id] = nil
	}
	for _, code := range c.noSites {
		values[sitePrefix+code] = nil
	}
	for _, id := range c.noSensors {
		values[sensorPrefix+id] = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []write
	for _, key := range slices.Sorted(maps.Keys(values)) {
		w := write{Key: key, Revision: s.records[key].revision}
		if v := values[key]; v != nil {
			var err error
			if w.Value, err = json.Marshal(v); err != nil {
				return nil, fmt.Errorf("write %s: %w", key, err)
			}
		}
		if !bytes.Equal(w.Value, s.records[key].value) {
			out = append(out, w)
		}
	}
	return out, nil
}

// carryOut writes the records of a change that are not written yet.
func (s *Store) carryOut(ctx context.Context, h head) error {
	for _, w := range h.Writes {
		s.mu.Lock()
		done := s.records[w.Key].revision > w.Revision
		s.mu.Unlock()
		if done {
			continue
		}
		var revision uint64
		var err error
		if w.Revision == 0 {
			revision, err = s.o.KV.Create(ctx, w.Key, w.Value)
		} else {
			revision, err = s.o.KV.Update(ctx, w.Key, w.Value, w.Revision)
		}
		value := []byte(w.Value)
		if errors.Is(err, fs.ErrExist) { // somebody else has carried it out
			value, revision, err = s.o.KV.Get(ctx, w.Key)
		}
		if err != nil {
			return err
		}
		s.learn(w.Key, value, revision)
	}
	return nil
}

// Revision grows with every change: caches compare it.
func (s *Store) Revision() uint64 { return s.state.Load().revision }

// Sites lists all sites by code.
func (s *Store) Sites() []Site {
	return sorted(s.state.Load().sites)
}

func sorted[T any](m map[string]T) []T {
	out := make([]T, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

// Site finds a site by its code.
func (s *Store) Site(code string) (Site, bool) {
	site, ok := s.state.Load().sites[code]
	return site, ok
}

// Sensors lists all sensors by ID.
func (s *Store) Sensors() []Sensor { return sorted(s.state.Load().sensors) }

// Sensor finds a sensor by its ID.
func (s *Store) Sensor(id string) (Sensor, bool) {
	sensor, ok := s.state.Load().sensors[id]
	return sensor, ok
}

// Written lists what is written down for a site, oldest first; "" = for all, by
// site.
func (s *Store) Written(site string) []Deployment {
	st := s.state.Load()
	if site != "" {
		return slices.Clone(st.at[site])
	}
	out := []Deployment{}
	for _, code := range slices.Sorted(maps.Keys(st.at)) {
		out = append(out, st.at[code]...)
	}
	return out
}

// Deployments lists what holds at a site, oldest first: what is written down,
// with the implied (ID is empty), each for as long as it really holds. One
// whose device is AnyDevice stands for the devices of its node of which nothing
// is written down: which those are, At says.
func (s *Store) Deployments(site string) []Deployment {
	st := s.state.Load()
	nodes := map[telemetry.Node]bool{}
	for _, n := range s.o.Registry.NodesAt(site) {
		nodes[n] = true
	}
	for _, d := range st.at[site] {
		nodes[d.Node] = true
	}
	var out []Deployment
	for n := range nodes {
		implied := s.o.Registry.SiteOf(n)
		add := func(device string) {
			for _, d := range st.holding(n, device, implied) {
				if d.Site == site {
					out = append(out, d)
				}
			}
		}
		add(AnyDevice)
		for device := range st.devices[n] {
			if device != AnyDevice {
				add(device)
			}
		}
	}
	slices.SortFunc(out, func(a, b Deployment) int {
		return cmp.Or(a.From.Compare(b.From), strings.Compare(a.Node.String(), b.Node.String()), strings.Compare(a.Device, b.Device))
	})
	return out
}

// Deployment finds one by its ID.
func (s *Store) Deployment(id string) (Deployment, bool) {
	d, ok := s.state.Load().deployments[id]
	return d, ok
}

// SensorDeployments lists where a sensor hung and hangs, oldest first.
func (s *Store) SensorDeployments(sensor string) []Deployment {
	return slices.Clone(s.state.Load().carried[sensor])
}

// At finds the deployment that holds for readings which a device took at t, with
// that device in it. ID is empty if it is implied.
func (s *Store) At(n telemetry.Node, device string, t time.Time) (Deployment, bool) {
	return s.state.Load().find(n, device, t, s.o.Registry)
}

// During lists the deployments of a device that hold at some time in [from, to),
// oldest first, none overlapping. From and To say for how long each holds really,
// which may be longer than [from, to) and shorter than what is written down.
func (s *Store) During(n telemetry.Node, device string, from, to time.Time) []Deployment {
	var out []Deployment
	for _, d := range s.state.Load().holding(n, device, s.o.Registry.SiteOf(n)) {
		if d.From.Before(to) && from.Before(d.end()) {
			out = append(out, d)
		}
	}
	return out
}

// Nodes lists the nodes of which a device may have been at a site at some time
// in [from, to), by name: During says which, and when.
func (s *Store) Nodes(site string, from, to time.Time) []telemetry.Node {
	nodes := s.o.Registry.NodesAt(site)
	for _, d := range s.state.Load().at[site] {
		if d.From.Before(to) && from.Before(d.end()) {
			nodes = append(nodes, d.Node)
		}
	}
	slices.SortFunc(nodes, func(a, b telemetry.Node) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(nodes)
}

// Utama picks, of deployments that hold at a site at t and measure a quantity,
// the one whose readings are the site's. Whoever claims the quantity has it, also
// while it measures nothing. Without a claim it is the one that was there first.
// false: none of them.
func (s *Store) Utama(site, quantity string, t time.Time, of []Deployment) (Deployment, bool) {
	claimed := slices.ContainsFunc(s.state.Load().at[site], func(d Deployment) bool { return d.At(t) && d.claims(quantity) })
	best, found := Deployment{}, false
	for _, d := range of {
		if d.Main != nil && !d.claims(quantity) || claimed && !d.claims(quantity) {
			continue
		}
		if !found || before(d, best) {
			best, found = d, true
		}
	}
	return best, found
}

func before(a, b Deployment) bool {
	if c := a.From.Compare(b.From); c != 0 {
		return c < 0
	}
	if c := strings.Compare(a.Node.String(), b.Node.String()); c != 0 {
		return c < 0
	}
	return a.Device < b.Device
}

// Change are records that are put together: all of them, or none.
type Change struct {
	Sites       []Site
	Sensors     []Sensor
	Deployments []Deployment
	Remove      []string // IDs of deployments that never were so
	// RemoveSites and RemoveSensors are for what was only played: a place where
	// anything was measured stays, and is closed instead.
	RemoveSites   []string
	RemoveSensors []string
}

// Apply makes a change true. What is wrong with it is returned as Problems, and
// then nothing of it holds.
func (s *Store) Apply(ctx context.Context, c Change) error {
	return s.commit(ctx, func(old *state, to *change) (Problems, error) {
		if err := s.fill(old, c, to); err != nil {
			return nil, err
		}
		return old.with(to).verify(old, to, s.o.Registry, s.Boundaries(LevelSubdistrict)), nil
	})
}

// fill takes a change over, as it will be written.
func (s *Store) fill(old *state, c Change, to *change) error {
	for _, site := range c.Sites {
		site.tidy()
		have, known := old.sites[site.Code]
		site.grade(have, known, s.o.Now())
		to.sites[site.Code] = site
	}
	for _, sensor := range c.Sensors {
		sensor.tidy()
		to.sensors[sensor.ID] = sensor
	}
	for _, d := range c.Deployments {
		d.tidy()
		if d.ID == "" {
			d.ID = d.newID()
		}
		to.deployments[d.ID] = d
	}
	for _, id := range c.Remove {
		if _, ok := old.deployments[id]; !ok {
			return fmt.Errorf("remove deployment %s: %w", id, fs.ErrNotExist)
		}
		to.remove = append(to.remove, id)
	}
	for _, code := range c.RemoveSites {
		if _, ok := old.sites[code]; !ok {
			return fmt.Errorf("remove site %s: %w", code, fs.ErrNotExist)
		}
		to.noSites = append(to.noSites, code)
	}
	for _, id := range c.RemoveSensors {
		if _, ok := old.sensors[id]; !ok {
			return fmt.Errorf("remove sensor %s: %w", id, fs.ErrNotExist)
		}
		to.noSensors = append(to.noSensors, id)
	}
	return nil
}

// newID follows from what a deployment says first, so that importing the same
// row twice is one deployment.
func (d *Deployment) newID() string {
	sum := sha256.Sum256([]byte(d.Node.String() + "\x00" + d.Device + "\x00" + d.Site + "\x00" + d.From.Format(time.RFC3339)))
	return hex.EncodeToString(sum[:6])
}

// grade keeps the class that was in force: a change of class alters no past
// figure unless its date says so.
func (s *Site) grade(have Site, known bool, now time.Time) {
	s.Earlier = slices.Clone(have.Earlier)
	if !known {
		return
	}
	if s.Class == have.Class && s.Certificate.equal(have.Certificate) {
		s.ClassSince = have.ClassSince
		return
	}
	if s.ClassSince.IsZero() || s.ClassSince.Equal(have.ClassSince) {
		s.ClassSince = now.UTC().Truncate(time.Hour)
	}
	s.Earlier = append(s.Earlier, Grade{have.Class, have.Certificate, s.ClassSince})
	for i, g := range s.Earlier {
		if !g.Until.Before(s.ClassSince) { // what came after never was
			s.Earlier[i].Until = s.ClassSince
			s.Earlier = s.Earlier[:i+1]
			break
		}
	}
}

// PutSite adds a site or changes all but its code, and all but its district once
// something hangs there.
func (s *Store) PutSite(ctx context.Context, site Site) error {
	return s.Apply(ctx, Change{Sites: []Site{site}})
}

// PutSensor adds a sensor or changes all but its ID.
func (s *Store) PutSensor(ctx context.Context, sensor Sensor) error {
	return s.Apply(ctx, Change{Sensors: []Sensor{sensor}})
}

// PutDeployment adds a deployment (without ID) or changes one.
func (s *Store) PutDeployment(ctx context.Context, d Deployment) error {
	return s.Apply(ctx, Change{Deployments: []Deployment{d}})
}

// NeedSite adds a site if there is none of that code: name and position can
// follow.
func (s *Store) NeedSite(ctx context.Context, code, district string, simulated bool) error {
	if _, ok := s.Site(code); ok {
		return nil
	}
	return s.commit(ctx, func(old *state, to *change) (Problems, error) {
		if _, ok := old.sites[code]; ok {
			return nil, nil // somebody else was faster
		}
		if err := s.fill(old, Change{Sites: []Site{{Code: code, District: district, Simulated: simulated}}}, to); err != nil {
			return nil, err
		}
		return old.with(to).verify(old, to, s.o.Registry, s.Boundaries(LevelSubdistrict)), nil
	})
}

// Named tells the store that the registry now names another site for a node than
// before ("" = none): what is implied changes.
func (s *Store) Named(n telemetry.Node, before, now string) {
	s.telling.Lock()
	defer s.telling.Unlock()
	st := s.state.Load()
	out := spans{}
	for d := range st.devices[n] {
		differ(st.timeline(n, d, before), st.timeline(n, d, now), out)
	}
	differ(st.timeline(n, AnyDevice, before), st.timeline(n, AnyDevice, now), out)
	s.tell(out)
}
