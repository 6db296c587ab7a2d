package browsertest

import (
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Sound fails the test for whatever a visitor's browser or a blind visitor would
// complain about on a loaded page: what Steady finds, and what axe does.
func (p *Page) Sound(name string) {
	p.t.Helper()
	p.Steady(name) // before axe, which needs scripts where the visitor has none
	for _, violation := range p.Axe() {
		p.t.Errorf("%s: axe: %s", name, violation)
	}
}

// Steady fails the test for console errors, requests to other hosts, a page wider
// than its window, and a layout that shifts by 0.1 or more. It keeps a screenshot
// under the name.
func (p *Page) Steady(name string) {
	p.t.Helper()
	p.Wait("document.readyState === 'complete'")
	shift := p.Shift()
	for _, problem := range p.Problems() {
		p.t.Errorf("%s: %s", name, problem)
	}
	if wide := Eval[int](p, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
		p.t.Errorf("%s: the page is %d px wider than the window", name, wide)
	}
	if shift >= 0.1 {
		p.t.Errorf("%s: the layout shifted by %.3f", name, shift)
	}
	p.Screenshot(name)
}

// scripted lets the tests' own scripts use timers and promises on a page whose
// scripts are off.
func (p *Page) scripted(do func()) {
	if p.look.NoScript {
		call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
		defer call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	}
	do()
}

// Shift returns the cumulative layout shift since the page began to load, as the
// browser counts it, without what follows a visitor's own action.
func (p *Page) Shift() (sum float64) {
	p.t.Helper()
	until := "Infinity"
	if p.look.NoScript { // what is seen only with scripts comes and goes with the tests' own
		until = Eval[string](p, "String(performance.now())")
	}
	p.scripted(func() {
		sum = Eval[float64](p, `new Promise(done => {
			const until = `+until+`
			let sum = 0
			const add = list => list.forEach(e => { if (!e.hadRecentInput && e.startTime < until) sum += e.value })
			const seen = new PerformanceObserver(list => add(list.getEntries()))
			seen.observe({type: "layout-shift", buffered: true})
			requestAnimationFrame(() => requestAnimationFrame(() => { add(seen.takeRecords()); done(sum) }))
		})`)
	})
	return sum
}

// reachable are the elements that a keyboard should reach.
const reachable = `[...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")]
	.filter(e => !e.disabled && e.tabIndex >= 0 && e.checkVisibility({visibilityProperty: true}))`

// Keyboard walks from the top of the page to its end with the tabulator and
// returns what is wrong: controls that it does not reach, and controls that do
// not show that they have the focus.
func (p *Page) Keyboard() []string {
	p.t.Helper()
	// What the loop marks in the page is read at its end; the page itself must not
	// have the marks in its markup.
	n := Eval[int](p, `(() => { window.walked = new Map(); document.activeElement?.blur(); window.scrollTo(0, 0);
		return `+reachable+`.length + 7 * document.querySelectorAll("input[type^=date], input[type=time]").length })()`) // a date has stops inside
	for range n + 4 { // scrolling parts take the focus, too
		p.Keys(kb.Tab)
		Eval[int](p, `(() => {
			const e = document.activeElement
			if (!e || e === document.body) return 0
			const s = getComputedStyle(e), edge = e.querySelector(".edge") // of a shape on a map
			const ring = edge ? parseFloat(getComputedStyle(edge).strokeWidth) >= 4 : s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0
			window.walked.set(e, ring)
			return 0
		})()`)
	}
	return Eval[[]string](p, `(() => {
		const name = e => e.outerHTML.slice(0, 120), out = []
		for (const e of `+reachable+`) if (!window.walked.has(e)) out.push("not reached by the keyboard: " + name(e))
		for (const [e, ring] of window.walked) if (!ring) out.push("shows no focus: " + name(e))
		return out
	})()`)
}

// SmallTargets returns the controls that are less than 44 px high or wide, as far
// as they are not links in running text (WCAG 2.5.5 and its exception).
func (p *Page) SmallTargets() []string {
	p.t.Helper()
	return Eval[[]string](p, `(() => {
		const out = []
		for (const e of `+reachable+`) {
			if (getComputedStyle(e).display === "inline" && e.closest("p, dd, td, li, caption")) continue
			const r = (e.matches("input[type=checkbox], input[type=radio]") && e.closest("label") || e).getBoundingClientRect()
			if (r.width > 1 && (r.width < 43.5 || r.height < 43.5)) out.push(Math.round(r.width) + "x" + Math.round(r.height) + ": " + e.outerHTML.slice(0, 120))
		}
		return out
	})()`)
}

// Cookies returns the names of the cookies that the page's address would get.
func (p *Page) Cookies() []string {
	p.t.Helper()
	var names []string
	for _, c := range call(p, network.GetCookies, network.GetCookiesParams{}).Cookies {
		names = append(names, c.Name)
	}
	return names
}

// Line is a network as Chromium's developer tools emulate it.
type Line struct {
	Name        string
	LatencyMS   float64 // from a request sent to its first byte
	BytesPerSec float64
}

// The lines that pages are measured on.
var (
	Slow3G = Line{Name: "Slow 3G", LatencyMS: 2000, BytesPerSec: 50_000}
	Fast3G = Line{Name: "Fast 3G", LatencyMS: 562.5, BytesPerSec: 180_000}
)

// Throttle puts the page on a line and makes its processor so many times slower.
func (p *Page) Throttle(l Line, slower float64) {
	p.t.Helper()
	call(p, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: []*network.Conditions{
		{Latency: l.LatencyMS, DownloadThroughput: l.BytesPerSec, UploadThroughput: l.BytesPerSec},
	}})
	call(p, emulation.SetCPUThrottlingRate, emulation.SetCPUThrottlingRateParams{Rate: slower})
}

// Forget empties the browser's cache of answers, as time would; what service
// workers keep stays.
func (p *Page) Forget() {
	p.t.Helper()
	call(p, network.ClearBrowserCache, cdp.Empty{})
}

// Weight is what loading took off the line.
type Weight struct {
	Requests int
	Bytes    float64 // heads included
}

// Weight returns what the page has loaded over the line since it was last asked.
func (p *Page) Weight() Weight {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.weight
	p.weight = Weight{}
	return w
}

// Stand lets the page know where the device is (degrees, WGS 84), as a visitor
// who allowed it.
func (p *Page) Stand(lat, lon float64) {
	p.t.Helper()
	accuracy := 10.0
	call(p, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: "geolocation"}, Setting: "granted", BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
	})
	call(p, emulation.SetGeolocationOverride, emulation.SetGeolocationOverrideParams{Latitude: &lat, Longitude: &lon, Accuracy: &accuracy})
}
