package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/internal/settings"
)

// Options describe one server process: ports, paths, secrets. What people edit
// lives in the key-value state instead. The zero value plus Defaults runs.
type Options struct {
	Data string `toml:"data"` // folder of all that must survive
	// Clock says when the server may judge by receive time and tell gateways the
	// time: "kernel" (the kernel says it is synchronised) or
	// "assume-synchronised" (containers, whose host keeps the time).
	Clock    string           `toml:"clock"`
	HTTP     HTTPOptions      `toml:"http"`
	People   PeopleOptions    `toml:"people"`
	OIDC     OIDCOptions      `toml:"oidc"`
	MQTT     MQTTOptions      `toml:"mqtt"`
	Influx   InfluxOptions    `toml:"influx"`
	Journal  JournalOptions   `toml:"journal"`
	Webhooks []WebhookOptions `toml:"webhook"`
	Emails   []EmailOptions   `toml:"email"`
	OpenData OpenDataOptions  `toml:"open_data"`
	API      APIOptions       `toml:"api"`
	Public   PublicOptions    `toml:"public"`

	Version string       `toml:"-"`
	Logger  *slog.Logger `toml:"-"`

	rest time.Duration // as publication.Options.Rest; set by tests
}

// HTTPOptions are the pages.
type HTTPOptions struct {
	Listen  string `toml:"listen"`
	BaseURL string `toml:"base_url"` // how people reach the pages, for links in messages
	Cert    string `toml:"cert"`     // PEM files: pages over HTTPS
	Key     string `toml:"key"`
	// ACMENames are the host names for which a certificate is obtained and renewed by
	// ACME (RFC 8555), which accepts that authority's terms; challenges are answered
	// on Listen (TLS-ALPN-01, if it is reached as port 443) and on Redirect (HTTP-01,
	// as port 80). Empty = off.
	ACMENames     []string `toml:"acme_names"`
	ACMEEmail     string   `toml:"acme_email"`     // told to the authority, for its warnings
	ACMEDirectory string   `toml:"acme_directory"` // empty = Let's Encrypt
	ACMECA        string   `toml:"acme_ca"`        // PEM file: whom to trust as the directory's server, for an authority of one's own
	Redirect      string   `toml:"redirect"`       // address that leads to HTTPS, for example ":80"; empty = none
	// Tiles is the street map's background, https://HOST/{z}/{x}/{y}.png; empty =
	// none: no visitor is reported to a third party. OpenStreetMap's and BIG's have
	// terms of use; TilesCredit is what they want to read on the map.
	Tiles       string `toml:"tiles"`
	TilesCredit string `toml:"tiles_credit"`
	// TrustedProxies may speak for a client (X-Forwarded-For) and end TLS.
	TrustedProxies []string `toml:"trusted_proxies"`
}

// MQTTOptions are the gateways' door.
type MQTTOptions struct {
	Listen string   `toml:"listen"` // TLS, with enrolment on the same port
	Plain  string   `toml:"plain"`  // without TLS, loopback only; empty = off
	Names  []string `toml:"names"`  // host names and addresses that the server certificate is for
	// PEM files, all three or none: CA lets another authority sign gateways; no
	// key of an authority is made here then, and Cert and Key are the door's own.
	CA   string `toml:"ca"`
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// InfluxOptions name the database. Tokens come from files or from the
// environment (PANTAU_INFLUX_WRITE_TOKEN, PANTAU_INFLUX_READ_TOKEN); for 1.8 a
// token is "user:password".
type InfluxOptions struct {
	URL            string `toml:"url"`
	Org            string `toml:"org"`
	Prefix         string `toml:"prefix"`
	WriteTokenFile string `toml:"write_token_file"`
	ReadTokenFile  string `toml:"read_token_file"`

	WriteToken string `toml:"-"`
	ReadToken  string `toml:"-"`
}

// JournalOptions bound the log on disk.
type JournalOptions struct {
	Quota settings.Bytes `toml:"quota"`
}

// Defaults returns what holds without a file and flags.
func Defaults() Options {
	return Options{
		Data:    "pantau-data",
		Clock:   "kernel",
		HTTP:    HTTPOptions{Listen: "127.0.0.1:8080"},
		People:  PeopleOptions{SecondFactor: secondFactorAdmins},
		MQTT:    MQTTOptions{Listen: "127.0.0.1:8883"},
		Influx:  InfluxOptions{URL: "http://127.0.0.1:8086", Prefix: "pantau"},
		Journal: JournalOptions{Quota: 10e9},
	}
}

// Load reads a TOML file over the options that it is called on.
func (o *Options) Load(path string) error { return settings.Load(path, o) }

// examples are values from documents, which nobody may run with (statement 23).
var examples = []string{"changeme", "change-me", "secret", "password", "example", "xxxxxxxx"}

// Resolve reads the secrets, fills in what follows from other fields and
// checks everything. Errors name the field, its value and what to do; all of
// them are reported together.
func (o *Options) Resolve() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("%s = %q: %s", field, fmt.Sprint(value), want))
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Data == "" {
		bad("data", o.Data, "name the folder that keeps the data")
	} else if abs, err := filepath.Abs(o.Data); err != nil {
		bad("data", o.Data, err.Error())
	} else {
		o.Data = abs
	}
	if o.Clock != "kernel" && o.Clock != "assume-synchronised" {
		bad("clock", o.Clock, `want "kernel" or "assume-synchronised"`)
	}
	address := func(field, value string) (host string, ok bool) {
		host, _, err := net.SplitHostPort(value)
		if err != nil {
			bad(field, value, "want HOST:PORT, for example 127.0.0.1:8080")
		}
		return host, err == nil
	}
	address("http.listen", o.HTTP.Listen)
	o.HTTP.checkHTTPS(bad)
	for _, p := range o.HTTP.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			bad("http.trusted_proxies", p, "want a network, for example 10.0.0.0/24")
		}
	}
	if o.HTTP.BaseURL != "" {
		if u, err := url.Parse(o.HTTP.BaseURL); err != nil || u.Host == "" {
			bad("http.base_url", o.HTTP.BaseURL, "want for example https://pantau.example.go.id")
		}
	}
	if host, ok := address("mqtt.listen", o.MQTT.Listen); ok && len(o.MQTT.Names) == 0 && !loopback(host) && net.ParseIP(host) != nil && !net.ParseIP(host).IsUnspecified() {
		o.MQTT.Names = []string{host}
	}
	if o.MQTT.Plain != "" {
		if host, ok := address("mqtt.plain", o.MQTT.Plain); ok && !loopback(host) {
			bad("mqtt.plain", o.MQTT.Plain, "MQTT without TLS listens on loopback only; gateways elsewhere use mqtt.listen")
		}
	}
	if m := &o.MQTT; m.CA+m.Cert+m.Key != "" && (m.CA == "" || m.Cert == "" || m.Key == "") {
		bad("mqtt.ca", m.CA, "mqtt.ca, mqtt.cert and mqtt.key go together: where another authority signs gateways it signs this server, too")
	} else if err := m.external().Check(); err != nil {
		bad("mqtt.ca", m.CA, err.Error())
	}
	if u, err := url.Parse(o.Influx.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		bad("influx.url", o.Influx.URL, "want for example http://127.0.0.1:8086")
	}
	if o.Influx.Prefix == "" || strings.ContainsAny(o.Influx.Prefix, "/\\\"' \n") {
		bad("influx.prefix", o.Influx.Prefix, "want a plain word, for example pantau")
	}
	if o.Journal.Quota < 16<<20 {
		bad("journal.quota", o.Journal.Quota, "want at least 16MiB")
	}
	secret := func(field, file, environment string) string {
		value := os.Getenv(environment)
		if file != "" {
			b, err := os.ReadFile(file)
			if err != nil {
				bad(field, file, err.Error())
				return ""
			}
			value = strings.TrimSpace(string(b))
		}
		switch {
		case slices.Contains(examples, strings.ToLower(value)):
			bad(field, file, "it holds an example value; put a secret of your own there")
		case file != "" && value == "":
			bad(field, file, "the file is empty")
		}
		return value
	}
	o.checkPeople(bad, secret)
	if o.Influx.WriteToken == "" {
		o.Influx.WriteToken = secret("influx.write_token_file", o.Influx.WriteTokenFile, "PANTAU_INFLUX_WRITE_TOKEN")
	}
	if o.Influx.ReadToken == "" {
		o.Influx.ReadToken = secret("influx.read_token_file", o.Influx.ReadTokenFile, "PANTAU_INFLUX_READ_TOKEN")
	}
	o.checkChannels(bad, secret)
	if err := (dashboards.Tiles{URL: o.HTTP.Tiles, Credit: o.HTTP.TilesCredit}).Check(); err != nil {
		bad("http.tiles", o.HTTP.Tiles, err.Error())
	}
	if _, err := o.Public.categories(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// Warnings says what is allowed but should be thought over.
func (o *Options) Warnings() []string {
	var out []string
	out = append(out, o.HTTP.warnings()...)
	if host, _, err := net.SplitHostPort(o.MQTT.Listen); err == nil && !loopback(host) && len(o.MQTT.Names) == 0 && o.MQTT.CA == "" {
		out = append(out, fmt.Sprintf("mqtt.listen = %q: gateways elsewhere refuse the server's certificate until mqtt.names says how they reach it", o.MQTT.Listen))
	}
	if o.People.SecondFactor == secondFactorOptional {
		out = append(out, `people.second_factor = "optional": admins may sign in with a password alone; meant for simulated installations`)
	}
	if o.Clock == "assume-synchronised" {
		out = append(out, `clock = "assume-synchronised": nobody checks that this machine's clock is right`)
	}
	return out
}
