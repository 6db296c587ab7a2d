package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sys/unix"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/sensors"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/gateway/status"
	"github.com/pantau-id/pantau/gateway/uplink"
	"github.com/pantau-id/pantau/internal/hostclock"
	"github.com/pantau-id/pantau/internal/lifecycle"
	"github.com/pantau-id/pantau/internal/settings"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Gateway is one running gateway.
type Gateway struct {
	o       Options
	log     *slog.Logger
	metrics *metrics.Set
	counts  counters
	started time.Duration // CLOCK_BOOTTIME
	steps   lifecycle.Stack
	loops   lifecycle.Stack // what begin opened
	address net.Addr        // of the status page, nil if it is off

	// Set once by begin, before anything else uses them.
	spool *spool.Spool
	clock *clock.Clock
	buses *sensors.Buses

	mu          sync.Mutex
	samplers    []*sampler // the sensors, then the gateway itself
	running     bool       // spool and clock are there
	beginErr    error      // why they are not
	keepErr     error      // why the newest record was not kept
	scanned     bool       // the first scan is over
	definitions []uplink.Definition
	identities  map[string]telemetry.Identity // by device
	uplink      *uplink.Uplink                // nil = none for now
	linkErr     error                         // why there is none
	node        telemetry.Node
	server      string
	identity    *Identity
	parts       [2]*metrics.Set // of the present spool and uplink
}

// Places in Gateway.parts.
const (
	ofSpool = iota
	ofUplink
)

// New checks the options. Nothing is opened yet.
func New(o Options) (*Gateway, error) {
	if err := o.Resolve(); err != nil {
		return nil, err
	}
	if o.Boottime == nil {
		o.Boottime = hostclock.Boottime
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Synced == nil {
		o.Synced = hostclock.Synced
	}
	if o.Places == nil {
		o.Places = sensors.Places
	}
	g := &Gateway{o: o, log: o.Logger, metrics: metrics.NewSet(), identities: map[string]telemetry.Identity{}}
	g.counts = newCounters(g)
	return g, nil
}

// Address returns where the status page listens, nil if it is off or its
// address was taken.
func (g *Gateway) Address() net.Addr { return g.address }

// retryBegin is how long a card that can't be written is left alone.
const retryBegin = 3 * time.Second

// Start begins to sample and returns. A status page that can't listen, a card
// that can't be written and a server that can't be reached are no errors: it
// goes on without, tries again and says so. A data folder that another process
// uses is one.
func (g *Gateway) Start(ctx context.Context) error {
	g.started = g.o.Boottime()
	if g.o.problem != nil {
		g.log.Error("the settings file can't be used; the settings that ran last are in force", "file", g.o.file, "error", g.o.problem)
	}
	if err := g.serveStatus(ctx); err != nil {
		g.log.Error("the status page is off", "error", err)
	}
	g.steps.Add("loops", g.loops.Close)
	err := g.begin(ctx)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return errors.Join(err, g.Stop(ctx))
	case err != nil:
		g.steps.Go("start", g.beginLater)
	}
	g.steps.Go("watchdog", g.watchdog)
	if err := notify("READY=1"); err != nil {
		g.log.Warn("systemd does not know that the gateway is ready", "error", err)
	}
	return nil
}

// Stop ends sampling, brings everything to disk and says farewell to the server.
func (g *Gateway) Stop(ctx context.Context) error {
	_ = notify("STOPPING=1") // systemd stops us anyway
	return g.steps.Close(ctx)
}

// stopTimeout bounds Run's end.
const stopTimeout = 20 * time.Second

// Run is Start, until ctx ends, then Stop.
func (g *Gateway) Run(ctx context.Context) error {
	if err := g.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return g.Stop(stop)
}

// beginLater tries until the card takes data.
func (g *Gateway) beginLater(ctx context.Context) {
	for pauseFor(ctx, retryBegin) {
		if g.begin(ctx) == nil {
			return
		}
	}
}

// begin opens spool and clock and starts the loops. What it opened is closed
// again if it fails.
func (g *Gateway) begin(ctx context.Context) (err error) {
	defer func() {
		g.mu.Lock()
		g.running, g.beginErr = err == nil, err
		g.mu.Unlock()
		if err != nil {
			g.log.Error("the gateway can't keep data", "error", err)
			err = errors.Join(err, g.loops.Close(context.WithoutCancel(ctx)))
		}
	}()
	data := g.o.Gateway.Data
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	text, err := hostclock.BootID()
	if err != nil {
		return err
	}
	boot, err := clock.ParseBootID(text)
	if err != nil {
		return err
	}
	if err := g.openSpool(boot); err != nil {
		return err
	}
	g.clock, err = clock.New(clock.Options{
		Epoch: g.spool.Epoch(), Boot: boot, Last: g.spool.LastMapping(), Record: g.spool.AddMapping,
		AssumeNTP: g.o.Gateway.Time == "assume-ntp", File: filepath.Join(data, "time"), Build: g.o.Build,
		Logger: g.log, Boottime: g.o.Boottime, Now: g.o.Now, Synced: g.o.Synced,
	})
	if err != nil {
		return fmt.Errorf("start the clock: %w", err)
	}
	g.loops.Go("clock", func(ctx context.Context) {
		if err := g.clock.Run(ctx); err != nil {
			g.log.Warn("the last known time was not kept", "error", err)
		}
	})
	g.loops.Go("uplink", g.link)
	if g.o.problem == nil && g.o.file != "" {
		if err := g.o.keep(); err != nil {
			g.log.Warn("a broken settings file would stop the gateway", "error", err)
		}
	}
	g.buses = sensors.NewBuses(g.log)
	g.loops.Add("buses", func(context.Context) error { return g.buses.Close() })
	g.startSamplers()
	g.log.Info("the gateway samples", "data", data, "epoch", g.spool.Epoch(), "sensors", len(g.o.Sensors))
	return nil
}

func (g *Gateway) openSpool(boot clock.BootID) error {
	o := g.o.Spool
	floor := int64(o.FreeFloor)
	if floor == 0 {
		floor = -1
	}
	policy := spool.DropOldest
	if o.Full == "refuse-new" {
		policy = spool.RefuseNew
	}
	set := metrics.NewSet() // of its own: a second attempt begins anew
	s, err := spool.Open(spool.Options{
		Dir: filepath.Join(g.o.Gateway.Data, "spool"), Boot: boot, Quota: int64(o.Quota), FreeFloor: floor,
		SyncEvery: time.Duration(o.Sync), SyncCount: o.SyncCount, Policy: policy, Logger: g.log, Metrics: set, Boottime: g.o.Boottime,
	})
	if err != nil {
		return fmt.Errorf("open the spool: %w", err)
	}
	g.spool = s
	g.mu.Lock()
	g.parts[ofSpool] = set
	g.mu.Unlock()
	g.loops.Add("spool", func(context.Context) error { return s.Close() })
	return nil
}

// startSamplers starts the gateway's own health and every configured sensor, or
// the search for sensors.
func (g *Gateway) startSamplers() {
	group := &sync.WaitGroup{}
	ctx, cancel := context.WithCancel(context.Background())
	g.loops.Add("sensors", func(context.Context) error {
		cancel()
		group.Wait()
		return nil
	})
	start := func(o SensorOptions, device sensors.Sensor) {
		s := newSampler(o, device, g.o.Boottime, g.keep, g.identify, g.log)
		g.mu.Lock()
		g.samplers = append(g.samplers, s)
		g.mu.Unlock()
		g.define(s)
		group.Go(func() { s.run(ctx) })
	}
	own := newHealth(g.o.Sys, g.o.Gateway.Data, g.o.Boottime,
		func() uint64 { return g.spool.Stats().Records },
		func() telemetry.TimeQuality { _, q, _ := g.clock.UTC(g.o.Boottime()); return q })
	start(SensorOptions{Name: healthDevice, Interval: settings.Duration(healthInterval), Report: settings.Duration(healthInterval)}, own)
	for _, o := range g.o.Sensors {
		device, err := sensors.Open(o.config(), g.buses)
		if err != nil { // Resolve opened it already
			g.log.Error("a sensor is left out", "sensor", o.Name, "error", err)
			continue
		}
		start(o, device)
	}
	if len(g.o.Sensors) == 0 {
		group.Go(func() { g.search(ctx, start) })
	}
}

// searchEvery is how often buses on which nothing was found are looked at.
const searchEvery = time.Minute

// search scans the buses until ctx ends and starts what it finds. A bus on which
// something was found is not scanned again: questions in between would disturb
// its sensors.
func (g *Gateway) search(ctx context.Context, start func(SensorOptions, sensors.Sensor)) {
	used := map[string]bool{}
	names := map[string]bool{healthDevice: true}
	for {
		var places []string
		for _, p := range g.o.Places() {
			if !used[p] {
				places = append(places, p)
			}
		}
		found, errs := sensors.Scan(ctx, g.buses, places)
		for _, err := range errs {
			g.log.Debug("a bus could not be scanned", "error", err)
		}
		for _, f := range found {
			used[f.Bus] = true
			o := SensorOptions{
				Part: f.Part, Name: uniqueName(f.Name, names), Bus: f.Bus, Address: int(f.Address), Baud: f.Baud,
				Interval: defaultInterval, Report: defaultReport,
			}
			device, err := sensors.Open(o.config(), g.buses)
			if err != nil {
				g.log.Error("a sensor that was found can't be used", "sensor", o.Name, "error", err)
				continue
			}
			g.log.Info("found a sensor", "part", o.Part, "bus", o.Bus, "address", o.Address, "name", o.Name)
			start(o, device)
		}
		g.mu.Lock()
		g.scanned = true
		g.mu.Unlock()
		if !pauseFor(ctx, searchEvery) {
			return
		}
	}
}

func uniqueName(name string, taken map[string]bool) string {
	unique := name
	for n := 2; taken[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", name, n)
	}
	taken[unique] = true
	return unique
}

// keep brings a record into the spool.
func (g *Gateway) keep(s spool.Sample) {
	_, err := g.spool.Append(s)
	if err != nil {
		g.counts.notKept.Inc()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil && (g.keepErr == nil || g.keepErr.Error() != err.Error()) {
		g.log.Error("a record was not kept", "device", s.Device, "error", err)
	}
	g.keepErr = err
}

// stuck names a loop that makes no progress, or "".
func (g *Gateway) stuck() string {
	g.mu.Lock()
	all, link := g.samplers, g.uplink
	running := g.running
	g.mu.Unlock()
	for _, s := range all {
		if s.stuckFor() > 0 {
			return s.Name
		}
	}
	if running { // these return at once, or never
		g.spool.Stats()
		if link != nil {
			link.Status()
		}
	}
	return ""
}

// serveStatus starts the status page.
func (g *Gateway) serveStatus(ctx context.Context) error {
	o := g.o.Status
	if o.Listen == "off" {
		return nil
	}
	handler, err := status.New(g.Snapshot, http.HandlerFunc(g.writeMetrics), g.log)
	if err != nil {
		return err
	}
	if o.Username != "" {
		if handler, err = login(handler, o.Username, o.Password); err != nil {
			return err
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", o.Listen, err)
	}
	g.address = listener.Addr()
	scheme := "http"
	if o.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(o.Certificate, o.Key)
		if err != nil {
			return errors.Join(fmt.Errorf("read the status page's certificate: %w", err), listener.Close())
		}
		listener = tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
		scheme = "https"
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			g.log.Error("the status page ended", "error", err)
		}
	}()
	g.steps.Add("status page", func(context.Context) error {
		err := server.Close()
		<-ended
		return err
	})
	g.log.Info("the status page listens", "url", scheme+"://"+g.address.String()+"/")
	return nil
}

// login asks for user name and password (RFC 7617). It is only used over TLS.
func login(next http.Handler, user, passwordFile string) (http.Handler, error) {
	text, err := os.ReadFile(passwordFile)
	if err != nil {
		return nil, fmt.Errorf("read the status page's password: %w", err)
	}
	wantUser, want := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(strings.TrimRight(string(text), "\r\n")))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		gotUser, got := sha256.Sum256([]byte(name)), sha256.Sum256([]byte(password))
		if subtle.ConstantTimeCompare(gotUser[:], wantUser[:])&subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="Pantau", charset="UTF-8"`)
			http.Error(w, "user name and password, please", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}
