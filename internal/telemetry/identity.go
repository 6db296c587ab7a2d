package telemetry

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Identity is what a part tells of itself, in its own words; "" is what it did
// not tell.
type Identity struct {
	Firmware string `json:"firmware,omitempty"`
	Serial   string `json:"serial,omitempty"`
}

// maxIdentity bounds each text of an identity, in bytes: twice what the most
// talkative part has room for.
const maxIdentity = 64

// Clean makes an identity fit to be kept and shown, whoever sent it: valid
// UTF-8 without control and formatting characters, bounded, no space around it.
func (i Identity) Clean() Identity {
	return Identity{Firmware: cleanIdentity(i.Firmware), Serial: cleanIdentity(i.Serial)}
}

func cleanIdentity(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > maxIdentity {
		cut := maxIdentity
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return strings.TrimSpace(s)
}
