package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/pantau-id/pantau/broker"
	"github.com/pantau-id/pantau/broker/enrol"
	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/ingest/archive"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/ingest/publication"
	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/hostclock"
	"github.com/pantau-id/pantau/internal/lifecycle"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/registry"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Server is one running server process.
type Server struct {
	o       Options
	log     *slog.Logger
	closers lifecycle.Stack
	failed  chan error // a part ended that must not

	metrics     *prometheus.Registry
	journal     *journal.Journal
	registry    *registry.Registry
	places      *places.Store
	named       atomic.Pointer[places.Store] // places, for the registry's own goroutine
	moved       moves
	authority   *enrol.Authority
	influx      *influx.Client
	raw         *archive.Archive // the database, with what has left it
	ingest      *ingest.Ingest
	publication *publication.Book
	view        view
	alarms      *ingest.Alarms
	alarmsMu    sync.Mutex // guards alarms
	book        *ingest.AlertBook
	gate        atomic.Pointer[broker.Broker] // nil until it is open
	accounts    *account.Accounts
	audit       *audit.Log
	rules       *journal.KV
	http        net.Listener
	redirect    net.Listener // leads to HTTPS; nil = none
	password    string       // the first one, told once
	revoking    chan struct{}
}

// New returns a server for options that were resolved.
func New(o Options) (*Server, error) {
	if o.Logger == nil {
		return nil, errors.New("server options are not resolved: call Resolve first")
	}
	return &Server{o: o, log: o.Logger, failed: make(chan error, 8), metrics: prometheus.NewRegistry(), revoking: make(chan struct{}, 1)}, nil
}

// Start opens everything, sinks before sources. If a step fails, what stands is
// closed again.
func (s *Server) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			err = errors.Join(err, s.closers.Close(stop))
		}
	}()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"take the data folder", s.lock},
		{"open the audit log", s.openAudit},
		{"open the journal", s.openJournal},
		{"open the registry", s.openRegistry},
		{"open the places", s.openPlaces},
		{"start ingest", s.startIngest},
		{"serve the pages", s.servePages},
		{"serve the admin socket", s.serveAdmin},
		{"open the gateways' door", s.startBroker},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	s.log.Info("ready", "pages", s.pagesURL(), "mqtt", s.gate.Load().Addr(), "data", s.o.Data, "version", s.o.Version)
	return nil
}

// FirstPassword is admin's one-time password, if this start made it: it is told
// once, to who started the server, and never logged.
func (s *Server) FirstPassword() string { return s.password }

// Wait returns when ctx ends (nil) or when a part ended that must not.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// Stop closes sources before sinks; what was taken is kept.
func (s *Server) Stop(ctx context.Context) error { return s.closers.Close(ctx) }

// run owns a goroutine of the server; an error of it ends the server.
func (s *Server) run(name string, f func(context.Context) error) {
	s.closers.Go(name, func(ctx context.Context) {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			select {
			case s.failed <- fmt.Errorf("%s: %w", name, err):
			default: // another part's end is reported already
			}
		}
	})
}

func (s *Server) synced() bool { return s.o.Clock == "assume-synchronised" || hostclock.Synced() }

// lock makes sure that one server works in the folder: two would overwrite each
// other's journal.
func (s *Server) lock(context.Context) error {
	if err := os.MkdirAll(s.o.Data, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.o.Data, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("%s: another pantau works in it: %w", s.o.Data, err), f.Close())
	}
	s.closers.Add("data folder", func(context.Context) error { return f.Close() })
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return nil
}

func (s *Server) openJournal(ctx context.Context) error {
	j, err := journal.Open(ctx, journal.Options{
		Dir: filepath.Join(s.o.Data, "journal"), MaxBytes: int64(s.o.Journal.Quota), Logger: s.log.With("room", "journal"), Registerer: s.metrics,
	})
	if err != nil {
		return err
	}
	s.journal = j
	s.closers.Add("journal", j.Close)
	return nil
}

func (s *Server) openRegistry(ctx context.Context) error {
	kv, err := s.journal.KV(ctx, "registry", journal.KVOptions{})
	if err != nil {
		return err
	}
	s.registry, err = registry.Open(ctx, registry.Options{
		KV: kv, Sites: registrySites{s}, Logger: s.log.With("room", "registry"), Revoked: s.revoked, Misuse: s.misused, Named: s.siteNamed,
	})
	if err != nil {
		return err
	}
	s.closers.Add("registry", s.registry.Close)
	s.authority, err = enrol.Open(enrol.Options{
		Dir: filepath.Join(s.o.Data, "ca"), Names: s.o.MQTT.Names, External: s.o.MQTT.external(),
		Registry: s.registry, Logger: s.log.With("room", "enrol"), Registerer: s.metrics,
	})
	if err != nil {
		return err
	}
	// For makers' own devices: what they need to trust this server. No secret.
	if err := os.WriteFile(filepath.Join(s.o.Data, "ca.pem"), s.authority.CA(), 0o644); err != nil {
		return fmt.Errorf("write the authority's certificate: %w", err)
	}
	return nil
}

// misused makes an alert of a claim that was shown a second time, by another key:
// somebody has copied it. It ends when the operator acknowledges it (alerts).
func (s *Server) misused(n telemetry.Node, why error) {
	now := time.Now().UnixMilli()
	key := fmt.Sprintf("%s|%s|%d", ruleMisuse, n, now)
	t := alert.Transition{Key: key, Alert: key, Rule: ruleMisuse, Name: "Kode klaim dipakai dua kali", NameEN: "Claim used twice",
		Severity: alert.Critical, Series: alert.Series{Node: n}, State: alert.Firing, Time: now}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if s.book == nil {
		return // nobody can connect yet
	}
	if err := s.book.Keep(ctx, []alert.Transition{t}); err != nil {
		s.log.Error("the alert of a claim used twice could not be kept", "node", n, "why", why, "error", err)
	}
}

// endMisuse ends the alerts of claims used twice that somebody looks after: no
// reading can clear them. A start does it, too, for the one before may have ended
// between acknowledgement and end.
func (s *Server) endMisuse(ctx context.Context) error {
	for _, r := range s.book.Open() {
		if t := r.Firing; t.Rule == ruleMisuse && r.Ack != nil {
			t.Key, t.State, t.Time = t.Key+"|"+string(alert.Resolved), alert.Resolved, r.Ack.At.UnixMilli()
			if err := s.book.Keep(ctx, []alert.Transition{t}); err != nil {
				return err
			}
		}
	}
	return nil
}

// ruleMisuse names alerts that come from no rule: a claim used twice.
const ruleMisuse = "claim-misuse"

// revoked ends what a gateway still has whose credential is no longer good.
func (s *Server) revoked(n telemetry.Node) {
	if b := s.gate.Load(); b != nil {
		b.Disconnect(n, "revoked")
	}
	select {
	case s.revoking <- struct{}{}:
	default: // somebody looks already
	}
}

// forgetEvery is how often revoked nodes are looked for that ingest still knows:
// those whose last packet was on its way when they were cut, or whose forgetting
// the journal could not take.
const forgetEvery = time.Minute

// forgetRevoked lets ingest forget the nodes that were revoked, so that nobody is
// paged for their silence.
func (s *Server) forgetRevoked(ctx context.Context) error {
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	for {
		for _, g := range s.registry.Gateways() {
			if _, known := s.view.node(g.Node); !g.Revoked || !known {
				continue
			}
			if err := s.ingest.Forget(ctx, g.Node); err != nil {
				s.log.Warn("a revoked gateway is still missed; trying again", "error", err)
				break // the journal takes nothing: the next would fare the same
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.revoking:
		case <-tick.C:
		}
	}
}

func (s *Server) startIngest(ctx context.Context) error {
	var err error
	s.influx, err = influx.New(influx.Options{
		URL: s.o.Influx.URL, Org: s.o.Influx.Org, Prefix: s.o.Influx.Prefix,
		WriteToken: s.o.Influx.WriteToken, ReadToken: s.o.Influx.ReadToken, Logger: s.log.With("room", "influx"),
	})
	if err != nil {
		return err
	}
	s.closers.Add("database client", func(context.Context) error { s.influx.Close(); return nil })
	if err := s.openArchive(ctx); err != nil {
		return err
	}
	if err := s.openPublication(ctx); err != nil {
		return err
	}
	notifier, err := s.notifier(ctx)
	if err != nil {
		return err
	}
	alertsKV, err := s.journal.KV(ctx, "alerts", journal.KVOptions{})
	if err != nil {
		return err
	}
	if s.book, err = ingest.OpenAlertBook(ctx, alertsKV, notifier.Enqueue); err != nil {
		return err
	}
	if err := s.endMisuse(ctx); err != nil {
		return err
	}
	if s.rules, err = s.journal.KV(ctx, "rules", journal.KVOptions{}); err != nil {
		return err
	}
	letters, err := s.journal.KV(ctx, "deadletters", journal.KVOptions{MaxBytes: 256 << 20})
	if err != nil {
		return err
	}
	s.alarms = ingest.NewAlarms(alert.Omit{})
	var pending []alert.Transition
	s.ingest, err = ingest.New(ingest.Options{
		Journal: s.journal, StateDir: filepath.Join(s.o.Data, "state"), Influx: asDatabase(s.raw), DeadLetters: letters,
		JournalUsage: func() (used, quota int64) { st := s.journal.Stats(); return st.Bytes, st.Quota },
		Command:      s.command, HoursWritten: s.publication.Mark,
		Synced: s.synced, Logger: s.log.With("room", "ingest"), Registerer: s.metrics,
		Followers: []ingest.Follower{{
			Core: s.alarms, Lock: &s.alarmsMu,
			Effects: func(ctx context.Context) error {
				s.alarmsMu.Lock()
				pending = append(pending, s.alarms.TakeTransitions()...)
				s.alarmsMu.Unlock()
				if err := s.book.Keep(ctx, pending); err != nil {
					return err
				}
				pending = pending[:0]
				return nil
			},
		}},
	})
	if err != nil {
		return err
	}
	s.closers.Add("ingest", s.ingest.Stop) // closes what New opened, too
	switch kept, _, err := s.rules.Get(ctx, ingest.RulesAlerts); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("read the alert rules: %w", err)
	default:
		if err := s.alarms.Assume(kept); err != nil {
			return fmt.Errorf("read the alert rules: %w", err)
		}
	}
	if err := s.ingest.Start(ctx); err != nil {
		return err
	}
	if err := s.publication.Start(); err != nil {
		return err
	}
	s.startArchive()
	s.run("latest values", func(ctx context.Context) error { return s.view.follow(ctx, s.ingest) })
	s.run("revoked gateways", s.forgetRevoked)
	s.run("alert channels", notifier.Run)
	s.run("old alerts", s.pruneAlerts)
	s.run("gateways' clocks", s.watchClocks)
	return s.firstRules(ctx)
}

// keepAlerts is for how long the book keeps an alert after its end.
const keepAlerts = 366 * 24 * time.Hour

// pruneAlerts takes old alerts out of the book once a day, so that it does not
// grow for ever.
func (s *Server) pruneAlerts(ctx context.Context) error {
	tick := time.NewTicker(24 * time.Hour)
	defer tick.Stop()
	for {
		if s.synced() { // a clock that is ahead would take what is not old
			if err := s.book.Prune(ctx, time.Now().Add(-keepAlerts).UnixMilli()); err != nil && ctx.Err() == nil {
				s.log.Warn("old alerts are kept for another day", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// firstRules puts the rules of a new installation into the journal. Rules are
// journal entries, so that a replay judges as the first reading did.
func (s *Server) firstRules(ctx context.Context) error {
	_, _, err := s.rules.Get(ctx, ingest.RulesAlerts)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	body, err := json.Marshal(alert.Default())
	if err != nil {
		return fmt.Errorf("write the first alert rules: %w", err)
	}
	return s.setRules(ctx, body)
}

// setRules validates and sets the alert rules for what follows in the journal.
func (s *Server) setRules(ctx context.Context, body []byte) error {
	if _, err := alert.Parse(body); err != nil {
		return err
	}
	if err := s.ingest.SetRules(ctx, ingest.RulesAlerts, body); err != nil {
		return err
	}
	if _, err := s.rules.Put(ctx, ingest.RulesAlerts, body); err != nil {
		return fmt.Errorf("keep the rules: %w", err)
	}
	return nil
}

func (s *Server) startBroker(ctx context.Context) error {
	tlsConfig, err := s.authority.TLS()
	if err != nil {
		return err
	}
	b, err := broker.New(broker.Options{
		Listen: s.o.MQTT.Listen, PlainListen: s.o.MQTT.Plain, TLS: tlsConfig, EnrolHandler: s.authority,
		Journal: asDoor(s.journal), Authority: authenticator{s.registry}, Synced: s.synced,
		Logger: s.log.With("room", "broker"), Registerer: s.metrics,
	})
	if err != nil {
		return err
	}
	if err := b.Start(ctx); err != nil {
		return err
	}
	s.gate.Store(b)
	s.closers.Add("gateways' door", b.Stop)
	return nil
}

// command sends a command to a node. It carries its own acknowledgement, so one
// that finds no door open yet is sent again by whoever waits for the answer.
func (s *Server) command(topic string, payload []byte) error {
	b := s.gate.Load()
	if b == nil {
		return errors.New("the gateways' door is not open yet")
	}
	return b.Publish(topic, payload)
}

// authenticator hands the broker's question to the registry.
type authenticator struct{ *registry.Registry }

func (a authenticator) Authenticate(ctx context.Context, c broker.Credentials) (telemetry.Node, error) {
	return a.Registry.Authenticate(ctx, registry.Credentials(c))
}

func (s *Server) servePages(ctx context.Context) error {
	people, err := s.journal.KV(ctx, "people", journal.KVOptions{})
	if err != nil {
		return err
	}
	sessions, err := s.journal.KV(ctx, "sessions", journal.KVOptions{TTL: 2 * account.Lifetime})
	if err != nil {
		return err
	}
	s.accounts = account.NewAccounts(people, account.Strong())
	if s.password, err = s.accounts.Bootstrap(ctx); err != nil {
		return err
	}
	proxies, err := prefixes(s.o.HTTP.TrustedProxies)
	if err != nil {
		return err
	}
	sso, err := s.sso()
	if err != nil {
		return err
	}
	kept, err := report.OpenFiles(filepath.Join(s.o.Data, "files"), time.Now)
	if err != nil {
		return err
	}
	categories, err := s.o.Public.categories()
	if err != nil {
		return err
	}
	pages, err := dashboards.New(dashboards.Options{
		Network: network{s}, Alerts: alerts{s}, Ledger: ledger{s}, History: history{s},
		Places: s.places, Figures: s.publication, Categories: categories, Tiles: dashboards.Tiles{URL: s.o.HTTP.Tiles, Credit: s.o.HTTP.TilesCredit}, Archive: s.archive(), Files: kept, Storage: storage{s},
		People: s.accounts, Sessions: sessions, Audit: s.audit, SSO: sso, Walls: account.NewWalls(people), BaseURL: s.o.HTTP.BaseURL, CodeOptional: s.o.People.SecondFactor == secondFactorOptional, HTTPS: s.o.HTTP.secure(),
		ClientAddr: func(r *http.Request) netip.Addr { return clientAddr(r, proxies) },
		Version:    s.o.Version, Logger: s.log.With("room", "dashboards"), Metrics: s.metrics,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", localOnly(promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{})))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.o.HTTP.Listen)
	if err != nil {
		return err
	}
	s.http = l
	readers, err := s.openReaders(kept, categories, proxies)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	citizens, err := s.citizens(readers)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	mux.Handle("/", readers.before(trees(pages, citizens)))
	tlsConfig, redirect, err := s.pagesTLS()
	if err == nil {
		err = s.serveRedirect(ctx, redirect)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	srv := &http.Server{Handler: s.overHTTPS(mux, proxies), TLSConfig: tlsConfig, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	s.run("pages", func(ctx context.Context) error {
		var err error
		if tlsConfig != nil {
			err = srv.ServeTLS(l, "", "")
		} else {
			err = srv.Serve(l)
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	s.closers.Add("pages' listener", func(ctx context.Context) error {
		return errors.Join(pages.Close(ctx), srv.Shutdown(ctx))
	})
	return nil
}

func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, p := range list {
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			return nil, fmt.Errorf("http.trusted_proxies: %w", err)
		}
		out = append(out, prefix)
	}
	return out, nil
}

// clientAddr is who sent a request: the connection's other end, or, where that
// is a trusted proxy, the last address before the trusted ones.
func clientAddr(r *http.Request, proxies []netip.Prefix) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := at.Addr().Unmap()
	trusted := func(a netip.Addr) bool {
		for _, p := range proxies {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && trusted(addr); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop.Unmap()
	}
	return addr
}

// localOnly keeps the metrics on this machine: they name gateways and counts
// that are nobody else's business.
func localOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !at.Addr().Unmap().IsLoopback() || r.Header.Get("X-Forwarded-For") != "" {
			http.Error(w, "metrics are served on this machine only", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// health says whether gateways can connect, and what does not work.
func (s *Server) health() Health {
	h := Health{Version: s.o.Version, Addresses: map[string]string{}}
	if b := s.gate.Load(); b != nil {
		h.Ready = true
		if a := b.Addr(); a != nil {
			h.Addresses["mqtt"] = a.String()
		}
		if a := b.PlainAddr(); a != nil {
			h.Addresses["mqtt_plain"] = a.String()
		}
	}
	if s.http != nil {
		h.Addresses["http"] = s.http.Addr().String()
	}
	if err := s.journal.Err(); err != nil {
		h.Problems = append(h.Problems, "journal: "+err.Error())
	}
	for _, r := range s.ingest.Status(context.Background()).Readers {
		if r.Problem != "" {
			h.Problems = append(h.Problems, fmt.Sprintf("reader %s: %s (since %s)", r.Name, r.Problem, r.Since.UTC().Format(time.RFC3339)))
		}
	}
	if problem := s.raw.Status().Problem; problem != "" {
		h.Problems = append(h.Problems, "archive: "+problem)
	}
	if problem := s.audit.Problem(); problem != "" {
		h.Problems = append(h.Problems, problem)
	}
	if problem := s.ending(time.Now()); problem != "" {
		h.Problems = append(h.Problems, problem)
	}
	if !s.synced() {
		h.Problems = append(h.Problems, `clock: not synchronised: gateways without a clock wait, and nothing is judged by receive time; start NTP, or set clock = "assume-synchronised" where the host keeps the time`)
	}
	return h
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "alive") }

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	h := s.health()
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !at.Addr().Unmap().IsLoopback() {
		h = Health{Ready: h.Ready} // addresses and problems are for those on the machine
	}
	w.Header().Set("Content-Type", "application/json")
	if !h.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(h); err != nil {
		s.log.Debug("the asker for readiness went away", "error", err)
	}
}

func (s *Server) pagesURL() string {
	switch {
	case s.o.HTTP.BaseURL != "":
		return s.o.HTTP.BaseURL
	case s.http == nil:
		return "http://" + s.o.HTTP.Listen
	case len(s.o.HTTP.ACMENames) > 0:
		return s.securePagesURL(&http.Request{Host: s.o.HTTP.ACMENames[0]})
	case s.o.HTTP.Cert != "":
		return "https://" + s.http.Addr().String()
	}
	return "http://" + s.http.Addr().String()
}

// Ready is what WriteReady writes.
type Ready struct {
	Health
	Pages         string `json:"pages"`
	FirstPassword string `json:"first_password,omitempty"`
}

// WriteReady writes where everything listens to a file (0600), for programs
// that started this one. The file appears whole.
func (s *Server) WriteReady(path string) error {
	body, err := json.Marshal(Ready{Health: s.health(), Pages: s.pagesURL(), FirstPassword: s.password})
	if err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	var random [6]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	tmp := path + "." + base64.RawURLEncoding.EncodeToString(random[:])
	if err := os.WriteFile(tmp, body, 0o600); err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	return nil
}
