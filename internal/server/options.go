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
	MQTT     MQTTOptions      `toml:"mqtt"`
	Influx   InfluxOptions    `toml:"influx"`
	Journal  JournalOptions   `toml:"journal"`
	Webhooks []WebhookOptions `toml:"webhook"`
	Emails   []EmailOptions   `toml:"email"`

	Version string       `toml:"-"`
	Logger  *slog.Logger `toml:"-"`
}

// HTTPOptions are the pages.
type HTTPOptions struct {
	Listen  string `toml:"listen"`
	BaseURL string `toml:"base_url"` // how people reach the pages, for links in messages
	Cert    string `toml:"cert"`     // PEM files: pages over HTTPS
	Key     string `toml:"key"`
	// TrustedProxies may speak for a client (X-Forwarded-For) and end TLS.
	TrustedProxies []string `toml:"trusted_proxies"`
}

// MQTTOptions are the gateways' door.
type MQTTOptions struct {
	Listen string   `toml:"listen"` // TLS, with enrolment on the same port
	Plain  string   `toml:"plain"`  // without TLS, loopback only; empty = off
	Names  []string `toml:"names"`  // host names and addresses that the server certificate is for
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

// WebhookOptions are one webhook channel.
type WebhookOptions struct {
	Name       string   `toml:"name"`
	URL        string   `toml:"url"`
	SecretFile string   `toml:"secret_file"`
	Allow      []string `toml:"allow"` // networks that are private, yet meant
}

// EmailOptions are one e-mail channel.
type EmailOptions struct {
	Name         string   `toml:"name"`
	Host         string   `toml:"host"`
	Port         int      `toml:"port"`
	User         string   `toml:"user"`
	PasswordFile string   `toml:"password_file"`
	From         string   `toml:"from"`
	To           []string `toml:"to"`
}

// Defaults returns what holds without a file and flags.
func Defaults() Options {
	return Options{
		Data:    "pantau-data",
		Clock:   "kernel",
		HTTP:    HTTPOptions{Listen: "127.0.0.1:8080"},
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
	if (o.HTTP.Cert == "") != (o.HTTP.Key == "") {
		bad("http.cert", o.HTTP.Cert, "http.cert and http.key go together")
	}
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
		if slices.Contains(examples, strings.ToLower(value)) {
			bad(field, file, "it holds an example value; put a secret of your own there")
		}
		return value
	}
	if o.Influx.WriteToken == "" {
		o.Influx.WriteToken = secret("influx.write_token_file", o.Influx.WriteTokenFile, "PANTAU_INFLUX_WRITE_TOKEN")
	}
	if o.Influx.ReadToken == "" {
		o.Influx.ReadToken = secret("influx.read_token_file", o.Influx.ReadTokenFile, "PANTAU_INFLUX_READ_TOKEN")
	}
	names := map[string]bool{}
	for i, w := range o.Webhooks {
		if w.Name == "" || names[w.Name] {
			bad(fmt.Sprintf("webhook[%d].name", i), w.Name, "want a name of its own")
		}
		names[w.Name] = true
		if secret(fmt.Sprintf("webhook[%d].secret_file", i), w.SecretFile, "") == "" {
			bad(fmt.Sprintf("webhook[%d].secret_file", i), w.SecretFile, "name a file with the secret that signs messages")
		}
		for _, p := range w.Allow {
			if _, err := netip.ParsePrefix(p); err != nil {
				bad(fmt.Sprintf("webhook[%d].allow", i), p, "want a network, for example 10.0.0.0/24")
			}
		}
	}
	for i, e := range o.Emails {
		if e.Name == "" || names[e.Name] {
			bad(fmt.Sprintf("email[%d].name", i), e.Name, "want a name of its own")
		}
		names[e.Name] = true
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
	if host, _, err := net.SplitHostPort(o.HTTP.Listen); err == nil && !loopback(host) && o.HTTP.Cert == "" && len(o.HTTP.TrustedProxies) == 0 {
		out = append(out, fmt.Sprintf("pages are served in the clear beyond this machine (http.listen = %q): set http.cert and http.key, or http.trusted_proxies", o.HTTP.Listen))
	}
	if host, _, err := net.SplitHostPort(o.MQTT.Listen); err == nil && !loopback(host) && len(o.MQTT.Names) == 0 {
		out = append(out, fmt.Sprintf("mqtt.listen = %q: gateways elsewhere refuse the server's certificate until mqtt.names says how they reach it", o.MQTT.Listen))
	}
	if o.Clock == "assume-synchronised" {
		out = append(out, `clock = "assume-synchronised": nobody checks that this machine's clock is right`)
	}
	return out
}
