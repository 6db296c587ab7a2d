package status

import (
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// The page is written without html/template: that package calls methods by
// their names, so the linker must keep every method of every type, and the
// program on the Raspberry Pi grew by 2.1 MB on the card and 2 MB in memory.

// markup is HTML of this package's own making. All else that f is given is
// escaped.
type markup string

// f writes a pattern of ours. Its verbs stand in text or in quoted attributes,
// nowhere else: there escaping makes anything harmless.
func f(pattern string, args ...any) markup {
	for i, a := range args {
		switch a := a.(type) {
		case markup:
			args[i] = string(a)
		default:
			args[i] = html.EscapeString(fmt.Sprint(a))
		}
	}
	return markup(fmt.Sprintf(pattern, args...))
}

// sheet is a page that grows in one language.
type sheet struct {
	page.Lang
	now time.Time
	strings.Builder
}

func (p *sheet) add(pattern string, args ...any) { p.WriteString(string(f(pattern, args...))) }

func (p *sheet) say(key string, args ...any) string { return say(p.Lang, key, args...) }

// plain isolates foreign text, so that its writing direction ends where it ends.
func plain(s string) markup { return f("<bdi>%s</bdi>", page.Plain(s)) }

func moment(t time.Time, text string) markup {
	return f(`<time datetime="%s">%s</time>`, t.UTC().Format("2006-01-02T15:04:05Z"), text)
}

func (p *sheet) age(t time.Time) markup {
	return f(`<time datetime="%s" title="%s">%s</time>`, t.UTC().Format("2006-01-02T15:04:05Z"), p.Moment(t), p.Age(p.now.Sub(t)))
}

// state is a word with its sign: "ok", "warn", "bad" or "".
func state(class, text string) markup {
	if class != "" {
		class = " " + class
	}
	return f(`<span class="state%s">%s</span>`, class, text)
}

// fact is one line of a card.
func (p *sheet) fact(key string, what markup) { p.add("<dt>%s</dt><dd>%s</dd>\n", p.say(key), what) }

func (p *sheet) heading(key string) { p.add("\n<h2 id=\"%s\">%s</h2>\n", key, p.say(key)) }

func (p *sheet) card(facts func()) {
	p.add(`<div class="card"><dl class="facts">` + "\n")
	facts()
	p.add("</dl></div>\n")
}

const head = `<!doctype html>
<html lang="%s">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%s · Pantau</title>
<meta name="robots" content="noindex">
<link rel="stylesheet" href="%s">
<link rel="icon" type="image/svg+xml" href="%s">
%s</head>
<body>
<a class="skip" href="#isi">%s</a>
<header class="top">
<div class="wrap bar">
<a class="brand" href="%s"><svg class="mark" viewBox="0 0 24 24" width="28" height="28" aria-hidden="true"><path d="M2 17c3 0 3-4 6-4s3 4 6 4 3-4 6-4"/><path class="second" d="M4 11c2.500 0 2.500-3 5-3s2.500 3 5 3 2.500-3 5-3"/></svg><span>Pantau%s</span></a>
<div class="tools">%s
</div>
</div>%s
</header>
<main id="isi" class="wrap" tabindex="-1">
`

// write returns the whole page.
func (s *Snapshot) write(l page.Lang, style, icon string) string {
	p := &sheet{Lang: l, now: s.Now}
	var alternates, tools, owner, bar markup
	for _, a := range page.Alternates("/", "") {
		alternates += f("<link rel=\"alternate\" hreflang=\"%s\" href=\"%s\">\n", a.Lang, a.URL)
		if a.Lang != l {
			tools += f("\n"+`<a class="lang" href="%s" lang="%s" hreflang="%s"><span class="long">%s</span><span class="short" aria-hidden="true">%s</span></a>`,
				a.URL, a.Lang, a.Lang, a.Text, a.Short())
		}
	}
	if s.Name != "" {
		owner = f(" <small>%s</small>", s.Name)
	}
	if s.Simulated {
		bar = f("\n"+`<p class="simulated-bar"><span class="wrap">%s</span></p>`, l.T("layout.simulated"))
	}
	p.add(head, l, p.say("title"), style, icon, alternates, l.T("layout.skip"), l.Path("/"), owner, tools, bar)
	p.verdict(s)
	p.steps(s.Steps)
	p.heading("sensors")
	for i := range s.Sensors {
		p.sensor(&s.Sensors[i])
	}
	if len(s.Sensors) == 0 {
		p.add(`<p class="muted">%s</p>`+"\n", p.say("nothing"))
	}
	p.heading("uplink")
	p.card(func() { p.uplink(&s.Uplink) })
	p.heading("spool")
	p.card(func() { p.spool(&s.Spool) })
	p.heading("clock")
	p.card(func() { p.clock(s) })
	p.heading("health")
	if s.Health != nil {
		p.sensor(s.Health)
	}
	p.card(func() {
		p.fact("data", f("<code>%s</code>", plain(s.Data)))
		if s.Config == "" {
			p.fact("config", f("%s", p.say("noconfig")))
		} else {
			p.fact("config", f("<code>%s</code>", plain(s.Config)))
		}
	})
	p.add("\n</main>\n<footer class=\"wrap foot\">\n<p>%s", l.T("layout.footer"))
	if s.Version != "" {
		p.add(` · <span class="version">%s</span>`, plain(s.Version))
	}
	p.add("</p>\n</footer>\n</body>\n</html>\n")
	return p.String()
}

// verdict says in one line how the gateway fares.
func (p *sheet) verdict(s *Snapshot) {
	p.add("<h1>%s", p.say("title"))
	if s.Name != "" {
		p.add(" %s", plain(s.Name))
	}
	p.add("</h1>\n")
	danger := false
	for _, step := range s.Steps {
		danger = danger || step.Bad
	}
	notice := func(class string, text markup) {
		p.add(`<div class="notice %s" role="status"><p>%s</p></div>`+"\n", class, text)
	}
	switch {
	case !s.Live:
		notice("bad", f("<strong>%s</strong>", p.say("stuck")))
	case len(s.Steps) == 0:
		notice("ok", state("ok", p.say("works")))
	case danger:
		notice("bad", state("bad", p.say("danger")))
	default:
		notice("warn", state("warn", p.say("almost")))
	}
	if s.Simulated {
		p.add(`<p><span class="tag simulated">%s</span> %s</p>`+"\n", p.T("word.simulated"), p.say("simulated"))
	}
}

func (p *sheet) steps(steps []Step) {
	if len(steps) == 0 {
		return
	}
	p.heading("todo")
	p.add("<ol>\n")
	for _, s := range steps {
		p.add("<li>\n<p><strong>%s</strong>", p.say("step."+s.Key, s.Subject))
		if s.Detail != "" {
			p.add(`: <span class="muted">%s</span>`, plain(s.Detail))
		}
		p.add("</p>\n<p>%s</p>\n", p.say("do."+s.Key, s.Subject))
		if s.Command != "" {
			p.add("<p><code>%s</code></p>\n", s.Command)
		}
		p.add("</li>\n")
	}
	p.add("</ol>\n")
}

func (p *sheet) uplink(u *Uplink) {
	link := state("warn", p.say("cut"))
	if u.Connected {
		link = state("ok", p.say("connected"))
	}
	if !u.Since.IsZero() {
		link += f(` <span class="muted">%s</span>`, p.age(u.Since))
	}
	p.fact("state", link)
	if u.Server == "" {
		p.fact("server", f("%s", p.say("none")))
	} else {
		p.fact("server", plain(u.Server))
	}
	if u.Error != "" {
		p.fact("cause", plain(u.Error))
	}
	if !u.Retry.IsZero() {
		p.fact("retry", moment(u.Retry, p.Clock(u.Retry)+" WIB"))
	}
	if u.LastAck.IsZero() {
		p.fact("lastack", f("%s", p.say("never")))
	} else {
		p.fact("lastack", p.age(u.LastAck))
	}
	if !u.Certificate.IsZero() {
		p.fact("certificate", moment(u.Certificate, p.Moment(u.Certificate)))
	}
}

func (p *sheet) spool(s *Spool) {
	waiting := p.say("records", p.Count(s.Records))
	if s.Unresolved > 0 {
		waiting += "; " + p.say("unresolved", p.Count(s.Unresolved))
	}
	p.fact("waitingsend", f("%s", waiting))
	if s.Oldest > 0 {
		p.fact("oldest", f("%s", p.Span(s.Oldest)))
	}
	p.fact("used", f("%s", p.say("of", megabytes(p.Lang, s.Bytes), megabytes(p.Lang, s.Quota))))
	if s.Dropped+s.Quarantined+s.NoClock > 0 {
		p.fact("lost", f("%s", p.say("lostline", p.Count(s.Dropped), p.Count(s.Quarantined), p.Count(s.NoClock))))
	}
}

func (p *sheet) clock(s *Snapshot) {
	quality := p.T(page.Key("clock." + s.Clock.Quality.String()))
	if s.Clock.Known {
		p.fact("quality", state("ok", quality))
		p.fact("now", moment(s.Now, p.Moment(s.Now)))
	} else {
		p.fact("quality", state("warn", quality))
		p.fact("now", f("%s", p.T("state.unknown")))
	}
	p.fact("running", f("%s", p.Span(s.Running)))
}

func (p *sheet) sensor(s *Sensor) {
	p.add("<section class=\"card\" aria-label=\"%s\">\n<h3>%s", s.Name, plain(s.Name))
	if s.Part != "" {
		p.add(` <small class="muted">%s</small>`, plain(s.Part))
	}
	p.add("</h3>\n" + `<p class="small muted">`)
	if s.Bus != "" {
		p.add("<code>%s</code>", plain(s.Bus))
	}
	if s.Address != 0 {
		p.add(" <code>%s</code>", fmt.Sprintf("0x%02x", s.Address))
	}
	p.add(" %s; %s</p>\n", p.say("every", p.Span(s.Interval), p.Span(s.Report)), p.say("tries", p.Count(s.Samples), p.Count(s.Failed)))
	if s.Gap != telemetry.GapNone {
		p.add("<p>%s", state("bad", p.Name("gap.", string(s.Gap))))
		if s.Error != "" {
			p.add(` <span class="small muted">%s</span>`, plain(s.Error))
		}
		p.add("</p>\n")
	}
	p.add(`<div class="scroll"><table>`+"\n"+
		`<thead><tr><th scope="col">%s</th><th scope="col" class="number">%s</th><th scope="col">%s</th><th scope="col">%s</th></tr></thead>`+"\n<tbody>\n",
		p.say("quantity"), p.say("value"), p.say("age"), p.say("state"))
	for i := range s.Values {
		p.value(&s.Values[i])
	}
	p.add("</tbody></table></div>\n</section>\n")
}

func (p *sheet) value(v *Value) {
	p.add(`<tr><th scope="row">%s</th>`+"\n", p.Name("q.", v.Quantity.Name))
	gap := state("bad", p.Name("gap.", string(v.Gap)))
	if v.At.IsZero() {
		if v.Gap == telemetry.GapNone {
			gap = state("", p.say("waiting"))
		}
		p.add(`<td class="number">–</td><td></td><td>%s</td></tr>`+"\n", gap)
		return
	}
	text := f("%s", p.Value(v.Quantity.Name, v.Reading.Value.Number))
	if v.Reading.Value.Type != telemetry.Number {
		text = plain(v.Reading.Value.String())
	}
	judged := state("ok", p.say("good"))
	switch {
	case v.Gap != telemetry.GapNone:
		judged = gap
	case v.Reading.Flag != telemetry.FlagNone:
		judged = state("warn", p.Name("flag.", v.Reading.Flag.String()))
	}
	p.add(`<td class="number">%s %s</td>`+"\n<td>%s</td>\n<td>%s</td></tr>\n", text, page.Unit(v.Quantity.Unit), p.age(v.At), judged)
}
