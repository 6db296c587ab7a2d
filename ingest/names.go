package ingest

import (
	"fmt"
	"hash/fnv"
	"strings"
	"unicode/utf8"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Suffixes of a quantity's fields in the database. The bare name holds a valid
// number.
const (
	suffixBool     = "_bool"
	suffixText     = "_text"
	suffixRejected = "_rejected"
	suffixFlag     = "_flag"
	suffixGap      = "_gap"
	suffixMin      = "_min"
	suffixMax      = "_max"
	suffixCount    = "_n"
)

var suffixes = [...]string{suffixBool, suffixText, suffixRejected, suffixFlag, suffixGap, suffixMin, suffixMax, suffixCount}

// maxText bounds one stored text, in bytes; InfluxDB refuses more than 64 KiB,
// and a state fits in far less.
const maxText = 1024

// cleanName makes any text that a device sends safe as a tag's value or a
// field's name, and is the same name for the same text for ever: invalid UTF-8
// and control characters become U+FFFD, a backslash (with which line protocol
// cannot end a name) becomes U+FF3C, and what is longer than
// telemetry.MaxIDLength is cut and ends with a hash of the whole.
func cleanName(s string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r < 0x20 || (r >= 0x7f && r <= 0x9f) || r == '\u2028' || r == '\u2029':
			return utf8.RuneError
		case r == '\\':
			return '＼'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(clean) <= telemetry.MaxIDLength {
		return clean
	}
	h := fnv.New32a()
	h.Write([]byte(s))
	cut := telemetry.MaxIDLength - 9
	for !utf8.RuneStart(clean[cut]) {
		cut--
	}
	return fmt.Sprintf("%s~%08x", clean[:cut], h.Sum32())
}

// CleanNode names a node as it is stored.
func CleanNode(n telemetry.Node) telemetry.Node {
	return telemetry.Node{Group: cleanName(n.Group), ID: cleanName(n.ID)}
}

// cleanField is cleanName for the name of a quantity outside the catalogue. A
// name that ends like one of our suffixes gets an underscore more: else "x_text"
// of one maker and the text of another's "x" would meet in one field with two
// types, and the database would refuse both. InfluxDB's reserved words are kept
// clear of in the same way.
func cleanField(s string) string {
	name := cleanName(s)
	trimmed := strings.TrimRight(name, "_")
	for _, suffix := range suffixes {
		if strings.HasSuffix(trimmed, suffix) {
			return name + "_"
		}
	}
	_, catalogued := telemetry.Lookup(trimmed)
	switch {
	case catalogued:
		return name + "_"
	case trimmed == "time", trimmed == "group", trimmed == "gateway", trimmed == "device":
		return name + "_"
	case strings.HasPrefix(name, "_") || name == "":
		return "x" + name
	}
	return name
}
