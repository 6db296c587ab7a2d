package notify

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// wib is Western Indonesian Time, without daylight saving.
var wib = time.FixedZone("WIB", 7*3600)

// Subject is a message's one line, in Bahasa Indonesia.
func Subject(m Message) string {
	firing := 0
	for _, a := range m.Alerts {
		if a.State == alert.Firing {
			firing++
		}
	}
	switch {
	case len(m.Alerts) == 1:
		return "[Pantau] " + Line(m.Alerts[0])
	case firing == 0:
		return fmt.Sprintf("[Pantau] %d peringatan selesai", len(m.Alerts))
	case firing == len(m.Alerts):
		return fmt.Sprintf("[Pantau] %d peringatan baru", firing)
	}
	return fmt.Sprintf("[Pantau] %d peringatan baru, %d selesai", firing, len(m.Alerts)-firing)
}

// Text is a message's body: a line an alert, critical ones first.
func Text(m Message, baseURL string) string {
	var b strings.Builder
	for _, severity := range []alert.Severity{alert.Critical, alert.Warning, alert.Info} {
		for _, a := range m.Alerts {
			if a.Severity == severity {
				fmt.Fprintf(&b, "%s\n", Line(a))
			}
		}
	}
	if baseURL != "" {
		fmt.Fprintf(&b, "\n%s/dinas/jaringan\n", strings.TrimSuffix(baseURL, "/"))
	}
	fmt.Fprintf(&b, "\nID %s\n", m.ID)
	return b.String()
}

// Line says one transition in one line. What devices named goes without line
// breaks, so that it cannot become a header or a line of its own.
func Line(t alert.Transition) string {
	state := map[alert.Severity]string{alert.Info: "Info", alert.Warning: "Awas", alert.Critical: "Kritis"}[t.Severity]
	if t.State == alert.Resolved {
		state = "Selesai"
	}
	at := time.UnixMilli(t.Time).In(wib).Format("02-01-2006 15.04 WIB")
	line := fmt.Sprintf("%s: %s, %s", state, t.Name, t.Series)
	if q, ok := telemetry.Lookup(t.Quantity); ok {
		line += fmt.Sprintf(", %s %s (batas %s)", number(t.Value), q.Unit, number(t.Threshold))
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, line+", "+at)
}

// number writes a number as Bahasa Indonesia does.
func number(v float64) string {
	return strings.Replace(strconv.FormatFloat(v, 'f', -1, 64), ".", ",", 1)
}
