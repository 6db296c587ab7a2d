package gateway

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Settings returns the options as a settings file would hold them, defaults
// included. Secrets are files, so there are none in it.
func (o *Options) Settings() (map[string]any, error) {
	text, err := toml.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("write settings: %w", err)
	}
	out := map[string]any{}
	if err := toml.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("write settings: %w", err)
	}
	return out, nil
}

// Digest says in a few lines what resolved options mean.
func (o *Options) Digest() string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s %s\n", what, fmt.Sprintf(format, args...))
	}
	line("gateway", "%s, data in %s, time %s%s", orWord(o.Gateway.Name, "named by its claim"), o.Gateway.Data, o.Gateway.Time, mark(o.Gateway.Simulated, ", simulated"))
	by := "certificate from the claim"
	switch {
	case o.Uplink.Username != "":
		by = "user name " + o.Uplink.Username
	case o.Uplink.Certificate != "":
		by = "certificate " + o.Uplink.Certificate
	}
	line("uplink", "%s, %s%s", orWord(o.Uplink.Server, "server from the claim"), by, mark(o.Uplink.QoS0, ", QoS 0"))
	line("spool", "%v, %v stay free on the card, fsync after %v or %d records, when full: %s", o.Spool.Quota, o.Spool.FreeFloor, o.Spool.Sync, o.Spool.SyncCount, o.Spool.Full)
	line("status", "%s%s", o.Status.Listen, mark(o.Status.Certificate != "", ", TLS and login"))
	for _, s := range o.Sensors {
		at := ""
		if s.Address != 0 {
			at = fmt.Sprintf(" at %#02x", s.Address)
		}
		line("sensor", "%s: %s on %s%s, sampled every %v, sent every %v", s.Name, s.Part, s.Bus, at, s.Interval, s.Report)
	}
	for _, w := range o.Warnings() {
		line("warning", "%s", w)
	}
	return b.String()
}

// Warnings says what is allowed but should be thought over.
func (o *Options) Warnings() []string {
	var out []string
	if len(o.Sensors) == 0 {
		out = append(out, "no [[sensor]]: the buses are scanned at every start, and the sensors are named by what is found")
	}
	for _, s := range o.Sensors {
		if simulatedBus(s.Bus) {
			out = append(out, fmt.Sprintf("sensor %s: bus %s is a unix socket, so the whole gateway is marked as simulated", s.Name, s.Bus))
		}
	}
	if o.Gateway.Time == "assume-ntp" {
		out = append(out, `gateway.time = "assume-ntp": nobody checks that this machine's clock is right`)
	}
	if o.Uplink.QoS0 {
		out = append(out, "uplink.qos0: messages go unacknowledged, and readings may be lost without a trace")
	}
	if o.Spool.FreeFloor == 0 {
		out = append(out, "spool.free_floor = 0: the queue may fill the whole file system")
	}
	return out
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}

func mark(on bool, text string) string {
	if on {
		return text
	}
	return ""
}
