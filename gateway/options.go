package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/pantau-id/pantau/gateway/sensors"
	"github.com/pantau-id/pantau/internal/settings"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Options describe one gateway. Defaults alone run: they scan the buses and
// wait for a claim.
type Options struct {
	Gateway GatewayOptions  `toml:"gateway"`
	Uplink  UplinkOptions   `toml:"uplink"`
	Spool   SpoolOptions    `toml:"spool"`
	Status  StatusOptions   `toml:"status"`
	Sensors []SensorOptions `toml:"sensor"`

	Version string       `toml:"-"`
	Build   time.Time    `toml:"-"` // of the program; no clock is believed before it
	Logger  *slog.Logger `toml:"-"` // default slog.Default
	Sys     string       `toml:"-"` // default /sys
	// Places lists the buses on which sensors are looked for; default sensors.Places.
	Places func() []string `toml:"-"`

	Boottime func() time.Duration `toml:"-"` // default hostclock.Boottime
	Now      func() time.Time     `toml:"-"` // default time.Now
	Synced   func() bool          `toml:"-"` // default hostclock.Synced

	file    string // that Load read last
	problem error  // why LoadKept fell back on the last good settings
}

// GatewayOptions are about the gateway as a whole.
type GatewayOptions struct {
	// Name is the Sparkplug edge node, "group/id", for example 3374/balaikota.
	// A claimed certificate carries it; a login by user name needs it here.
	Name      string `toml:"name"`
	Data      string `toml:"data"`      // folder of spool, keys and last known time
	Simulated bool   `toml:"simulated"` // the sensors are simulated; a bus named *.sock says so too
	Time      string `toml:"time"`      // "auto": the kernel says if UTC is right; "assume-ntp": it always is
}

// UplinkOptions say where the readings go and how the gateway proves who it is.
// What `pantau-gateway claim` wrote into the data folder holds where these are
// empty.
type UplinkOptions struct {
	Server      string `toml:"server"`      // mqtts://host:8883; mqtt://127.0.0.1:1883 on loopback only
	CA          string `toml:"ca"`          // PEM file: the only authorities that may sign the server's certificate
	Certificate string `toml:"certificate"` // PEM file, when an authority other than Pantau's signs it
	Key         string `toml:"key"`         // PEM file, mode 0600
	Username    string `toml:"username"`
	Password    string `toml:"password_file"` // file with the password, mode 0600
	QoS0        bool   `toml:"qos0"`          // strict Sparkplug: unacknowledged, and readings may be lost
	Window      int    `toml:"window"`        // unacknowledged messages, 16 to 64
}

// SpoolOptions bound the journal on the card.
type SpoolOptions struct {
	Quota     settings.Bytes    `toml:"quota"`
	FreeFloor settings.Bytes    `toml:"free_floor"` // stays free on the file system; 0 = nothing is kept free
	Sync      settings.Duration `toml:"sync"`       // longest time that a record waits for its fsync
	SyncCount int               `toml:"sync_count"` // records that bring it forward
	Full      string            `toml:"full"`       // "drop-oldest" or "refuse-new"
}

// StatusOptions are the gateway's own page, /metrics and /healthz.
type StatusOptions struct {
	Listen      string `toml:"listen"`      // beyond loopback only with TLS and login; "off" = none
	Certificate string `toml:"certificate"` // PEM file
	Key         string `toml:"key"`         // PEM file, mode 0600
	Username    string `toml:"username"`
	Password    string `toml:"password_file"` // file with the password, mode 0600
}

// SensorOptions are one sensor.
type SensorOptions struct {
	Part     string            `toml:"part"`     // for example "sps30"; `pantau-gateway scan` names what it finds
	Name     string            `toml:"name"`     // of the device in all readings; default the part's name
	Bus      string            `toml:"bus"`      // /dev/i2c-1, /dev/ttyUSB0, or a simulator's unix socket
	Address  int               `toml:"address"`  // I2C or Modbus address; 0 = the part's usual one
	Interval settings.Duration `toml:"interval"` // between two samples; default 10 s
	Report   settings.Duration `toml:"report"`   // between two values sent; a multiple of interval; default 60 s
	Baud     int               `toml:"baud"`     // serial parts; 0 = as delivered
	// EmptyMM and FullMM are the distances in mm from an a02yyuw to the surface of
	// an empty and of a full bin; with both it yields the fill level too.
	EmptyMM float64 `toml:"empty_mm"`
	FullMM  float64 `toml:"full_mm"`
}

// Defaults returns what holds without a file.
func Defaults() Options {
	return Options{
		Gateway: GatewayOptions{Time: "auto"},
		Spool: SpoolOptions{
			Quota: 256 << 20, FreeFloor: 64 << 20, Sync: settings.Duration(2 * time.Second), SyncCount: 256, Full: "drop-oldest",
		},
		Status: StatusOptions{Listen: "127.0.0.1:9101"},
	}
}

// Load reads a TOML file over the options that it is called on. An unknown key
// is an error with its line and the nearest known key. Relative paths are
// relative to the file's folder.
func (o *Options) Load(path string) error {
	if err := settings.Load(path, o); err != nil {
		return err
	}
	o.file = path
	dir := filepath.Dir(path)
	paths := []*string{
		&o.Gateway.Data, &o.Uplink.CA, &o.Uplink.Certificate, &o.Uplink.Key, &o.Uplink.Password,
		&o.Status.Certificate, &o.Status.Key, &o.Status.Password,
	}
	for i := range o.Sensors {
		if simulatedBus(o.Sensors[i].Bus) || strings.Contains(o.Sensors[i].Bus, "/") {
			paths = append(paths, &o.Sensors[i].Bus)
		}
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return nil
}

// lastGood is the name, in the data folder, of the settings that ran last, with
// everything resolved.
const lastGood = "last-good.toml"

// LoadKept is Load for a device in the field: a file that can't be used does not
// stop it as long as the settings that ran last lie in the data folder. They run
// then, and log and status page say what is wrong with the file. data wins over
// the file's folder if it is not empty.
func LoadKept(path, data string) (Options, error) {
	o := Defaults()
	err := o.Load(path)
	if data != "" {
		o.Gateway.Data = data
	}
	if err == nil {
		resolved := o
		resolved.Sensors = slices.Clone(o.Sensors)
		if err = resolved.Resolve(); err == nil {
			return o, nil
		}
	}
	if data == "" {
		data = DefaultData()
	}
	last := Defaults()
	if settings.Load(filepath.Join(data, lastGood), &last) != nil || last.Resolve() != nil {
		return o, err // the cause, and not that there is nothing to fall back on
	}
	last.file, last.problem = path, err
	return last, nil
}

// keep writes the resolved settings down as the last good ones.
func (o *Options) keep() error {
	text, err := toml.Marshal(o)
	if err == nil {
		err = replaceFile(filepath.Join(o.Gateway.Data, lastGood), text)
	}
	if err != nil {
		return fmt.Errorf("keep the settings: %w", err)
	}
	return nil
}

// Resolve fills in what follows from other fields and checks everything. Errors
// name field and value and what to do; all of them come together.
func (o *Options) Resolve() error {
	c := &checker{}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Sys == "" {
		o.Sys = "/sys"
	}
	o.resolveGateway(c)
	o.resolveUplink(c)
	o.resolveSpool(c)
	o.resolveStatus(c)
	o.resolveSensors(c)
	return errors.Join(c.errs...)
}

// checker collects what is wrong.
type checker struct{ errs []error }

func (c *checker) bad(field string, value any, want string) {
	c.errs = append(c.errs, fmt.Errorf("%s = %q: %s", field, fmt.Sprint(value), want))
}

func (c *checker) oneOf(field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.bad(field, value, "want one of "+strings.Join(allowed, ", "))
	}
}

// secretFile reads a file that nobody else may read.
func (c *checker) secretFile(field, path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		c.bad(field, path, err.Error())
	case info.Mode().Perm()&0o077 != 0:
		c.bad(field, path, fmt.Sprintf("others may read it (mode %04o): chmod 600", info.Mode().Perm()))
	}
}

// together checks that either none or all of the fields are set.
func (c *checker) together(names []string, values ...string) bool {
	set := 0
	for _, v := range values {
		if v != "" {
			set++
		}
	}
	if set != 0 && set != len(values) {
		for i, v := range values {
			if v == "" {
				c.bad(names[i], "", strings.Join(names, " and ")+" go together")
			}
		}
	}
	return set == len(values)
}

func (o *Options) resolveGateway(c *checker) {
	g := &o.Gateway
	if g.Name != "" {
		if _, err := telemetry.ParseNode(g.Name); err != nil {
			c.bad("gateway.name", g.Name, "want group/id, for example 3374/balaikota")
		}
	}
	if g.Data == "" {
		g.Data = DefaultData()
	}
	if abs, err := filepath.Abs(g.Data); err != nil {
		c.bad("gateway.data", g.Data, err.Error())
	} else {
		g.Data = abs
	}
	c.oneOf("gateway.time", g.Time, "auto", "assume-ntp")
	for _, s := range o.Sensors {
		g.Simulated = g.Simulated || simulatedBus(s.Bus)
	}
}

// DefaultData returns the folder that systemd set up for the service, or else
// one in the working directory.
func DefaultData() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	return "pantau-gateway-data"
}

// simulatedBus reports whether a bus is a simulator's unix socket.
func simulatedBus(bus string) bool { return sensors.Simulated(bus) }

func (o *Options) resolveUplink(c *checker) {
	u := &o.Uplink
	if u.Server != "" {
		if _, err := serverAddress(u.Server); err != nil {
			c.bad("uplink.server", u.Server, err.Error())
		}
	}
	if u.CA != "" {
		if _, err := readCertificates(u.CA); err != nil {
			c.bad("uplink.ca", u.CA, err.Error())
		}
	}
	if c.together([]string{"uplink.certificate", "uplink.key"}, u.Certificate, u.Key) {
		c.secretFile("uplink.key", u.Key)
	}
	if c.together([]string{"uplink.username", "uplink.password_file"}, u.Username, u.Password) {
		c.secretFile("uplink.password_file", u.Password)
		if o.Gateway.Name == "" {
			c.bad("gateway.name", "", "a login by user name needs it, for example 3374/balaikota")
		}
		if u.Certificate != "" {
			c.bad("uplink.username", u.Username, "choose either a certificate or a user name")
		}
	}
	if strings.HasPrefix(u.Server, "mqtts:") && u.CA == "" && (u.Username != "" || u.Certificate != "") {
		c.bad("uplink.ca", "", "name the authority that signs the server's certificate; only a claim brings it along")
	}
	if u.Window != 0 && (u.Window < 16 || u.Window > 64) {
		c.bad("uplink.window", u.Window, "want 16 to 64")
	}
}

// serverAddress turns mqtts:// and mqtt:// into the uplink's tls://host:port and
// tcp://host:port.
func serverAddress(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", errors.New("want for example mqtts://pantau.example.go.id:8883")
	}
	scheme, port := "tls", "8883"
	switch u.Scheme {
	case "mqtts":
	case "mqtt":
		if !loopback(u.Hostname()) {
			return "", errors.New("without TLS only on loopback: use mqtts://")
		}
		scheme, port = "tcp", "1883"
	default:
		return "", errors.New("want mqtts:// (or mqtt:// on loopback)")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return scheme + "://" + net.JoinHostPort(u.Hostname(), port), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func (o *Options) resolveSpool(c *checker) {
	s := &o.Spool
	if s.Quota < 256<<10 {
		c.bad("spool.quota", s.Quota, "want at least 256KiB")
	}
	if d := time.Duration(s.Sync); d < 10*time.Millisecond || d > time.Minute {
		c.bad("spool.sync", s.Sync, "want 10ms to 1m")
	}
	if s.SyncCount < 1 || s.SyncCount > 100_000 {
		c.bad("spool.sync_count", s.SyncCount, "want 1 to 100000")
	}
	c.oneOf("spool.full", s.Full, "drop-oldest", "refuse-new")
}

func (o *Options) resolveStatus(c *checker) {
	s := &o.Status
	if s.Listen == "off" {
		return
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		c.bad("status.listen", s.Listen, "want HOST:PORT, for example 127.0.0.1:9101, or off")
		return
	}
	tls := c.together([]string{"status.certificate", "status.key"}, s.Certificate, s.Key)
	if tls {
		c.secretFile("status.key", s.Key)
	}
	login := c.together([]string{"status.username", "status.password_file"}, s.Username, s.Password)
	if login {
		c.secretFile("status.password_file", s.Password)
	}
	if !loopback(host) && (!tls || !login) {
		c.bad("status.listen", s.Listen, "beyond this machine only with status.certificate, key, username and password_file; else use 127.0.0.1")
	}
}

const (
	defaultInterval = settings.Duration(10 * time.Second)
	defaultReport   = settings.Duration(time.Minute)
	minInterval     = 100 * time.Millisecond
	maxReport       = 24 * time.Hour
)

func (o *Options) resolveSensors(c *checker) {
	names := map[string]int{healthDevice: -1} // in lower case [tck-id-case-sensitivity-metric-names]
	for i := range o.Sensors {
		s := &o.Sensors[i]
		field := func(name string) string { return "sensor[" + strconv.Itoa(i+1) + "]." + name }
		if s.Part == "" {
			c.bad(field("part"), "", "say which part it is; `pantau-gateway scan` names what it finds")
		}
		if s.Name == "" {
			s.Name = s.Part
		}
		if err := telemetry.CheckID(s.Name); err != nil && s.Name != "" {
			c.bad(field("name"), s.Name, err.Error())
		}
		if other, taken := names[strings.ToLower(s.Name)]; taken && s.Name != "" {
			if other < 0 {
				c.bad(field("name"), s.Name, "the gateway's own health goes by this name: choose another")
			} else {
				c.bad(field("name"), s.Name, fmt.Sprintf("sensor[%d] has this name already, in whatever case: choose another", other+1))
			}
		}
		names[strings.ToLower(s.Name)] = i
		if s.Part != "" {
			c.sensor(field, s)
		}
		resolveTimes(c, field, s)
	}
}

// sensor lets the driver check what it is given; no bus is touched.
func (c *checker) sensor(field func(string) string, s *SensorOptions) {
	if s.Address < 0 || s.Address > math.MaxUint16 {
		c.bad(field("address"), s.Address, "want an I2C address or a Modbus unit")
		return
	}
	if _, err := sensors.Open(s.config(), sensors.NewBuses(slog.New(slog.DiscardHandler))); err != nil {
		c.errs = append(c.errs, fmt.Errorf("%s%w", field(""), err))
	}
}

// config is what the driver is opened with.
func (s *SensorOptions) config() sensors.Config {
	return sensors.Config{Part: s.Part, Bus: s.Bus, Address: uint16(s.Address), Baud: s.Baud, EmptyMM: s.EmptyMM, FullMM: s.FullMM}
}

// resolveTimes sets what is not given: the report first, and the interval so
// that it divides the report.
func resolveTimes(c *checker, field func(string) string, s *SensorOptions) {
	if s.Report == 0 {
		s.Report = max(defaultReport, s.Interval)
	}
	if s.Interval == 0 {
		s.Interval = min(defaultInterval, s.Report)
		if s.Report%s.Interval != 0 {
			s.Interval = s.Report
		}
	}
	interval, report := time.Duration(s.Interval), time.Duration(s.Report)
	switch {
	case interval < minInterval:
		c.bad(field("interval"), s.Interval, fmt.Sprintf("want at least %v", minInterval))
	case report < minInterval || report > maxReport:
		c.bad(field("report"), s.Report, fmt.Sprintf("want %v to %v", minInterval, maxReport))
	case interval > report:
		c.bad(field("report"), s.Report, fmt.Sprintf("want at least the interval, %v", interval))
	case report%interval != 0:
		c.bad(field("report"), s.Report, fmt.Sprintf("want a multiple of the interval, %v", interval))
	}
}
