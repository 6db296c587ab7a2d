// Package browsertest drives a real, headless Chromium for tests of pages.
//
// It promises a fresh profile for each package and a fresh set of cookies for
// each page, that nothing leaves this machine unnoticed (every request to a host
// other than the page's is kept and reported), and that a test waits for events,
// never for a time.
package browsertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience bounds each step: a test that fails says so instead of hanging.
const patience = time.Minute

// Browser is a running Chromium.
type Browser struct{ ctx context.Context }

// shared is the Chromium of Start, once somebody asked for it.
var shared struct {
	once    sync.Once
	browser *Browser
	end     func() error
	err     error
}

// Start returns the one Chromium of all tests of a package, which has nothing to tell
// them from each other but their pages: Debian's without windows of its own (a third
// less work than the whole Chromium without a screen), or the one that PANTAU_CHROMIUM
// names. The package's TestMain must be Run.
func Start(t testing.TB) *Browser {
	t.Helper()
	shared.once.Do(func() { shared.browser, shared.end, shared.err = launch() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.browser
}

// Run runs a package's tests, ends the browser that they shared, and returns the
// exit code.
func Run(m *testing.M) int {
	code := m.Run()
	if shared.end != nil {
		if err := shared.end(); err != nil {
			fmt.Fprintln(os.Stderr, "end the tests' browser:", err)
		}
	}
	return code
}

func launch() (*Browser, func() error, error) {
	path := os.Getenv("PANTAU_CHROMIUM")
	if path == "" {
		path = "/usr/lib/chromium/chromium-headless-shell" // what /usr/bin has is a shell that waits for it
	}
	if _, err := os.Stat(path); err != nil {
		return nil, nil, fmt.Errorf("these tests need a browser: apt-get install chromium-headless-shell (%w)", err)
	}
	dir, err := os.MkdirTemp("", "pantau-browser-")
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := chromedp.NewContext(context.Background(),
		chromedp.WithAllocatorOptions(
			chromedp.ExecPath(path), chromedp.UserDataDir(dir), chromedp.NoSandbox, chromedp.DisableGPU,
			chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
			chromedp.Flag("disable-sync", true), chromedp.Flag("hide-scrollbars", true),
		),
		chromedp.WithErrorf(func(string, ...any) {}))
	end := func() error {
		err := chromedp.Cancel(ctx) // waits until Chromium has gone
		stop()
		return errors.Join(err, os.RemoveAll(dir))
	}
	if err := chromedp.Do(ctx); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start %s: %w", path, err), end())
	}
	return &Browser{ctx: ctx}, end, nil
}

// Look is how a page is looked at.
type Look struct {
	Width, Height int
	Touch         bool
	Dark          bool
	NoScript      bool
	Print         bool
}

// Phone and Desktop are the two sizes that pages are looked at.
var (
	Phone   = Look{Width: 360, Height: 740, Touch: true}
	Desktop = Look{Width: 1280, Height: 900}
)

// InDark returns the look with the dark colours.
func (l Look) InDark() Look { l.Dark = true; return l }

// WithoutScript returns the look with JavaScript off.
func (l Look) WithoutScript() Look { l.NoScript = true; return l }

// Page is one tab with cookies of its own.
type Page struct {
	t    testing.TB
	ctx  context.Context
	look Look

	mu       sync.Mutex
	host     string
	problems []string
	hosts    map[string]bool
	weight   Weight
}

// Open makes a tab and loads an address.
func (b *Browser) Open(t testing.TB, look Look, address string) *Page {
	t.Helper()
	p := b.tab(t, look, chromedp.WithNewBrowserContext())
	p.Go(address)
	return p
}

// Beside makes another tab that shares p's cookies, and loads an address.
func (p *Page) Beside(look Look, address string) *Page {
	p.t.Helper()
	of := chromedp.FromContext(p.ctx)
	next := (&Browser{ctx: p.ctx}).tab(p.t, look, chromedp.WithExistingBrowserContext(of.BrowserContextID))
	next.Go(address)
	return next
}

func (b *Browser) tab(t testing.TB, look Look, option chromedp.ContextOption) *Page {
	t.Helper()
	p := &Page{t: t, look: look, hosts: map[string]bool{}}
	ctx, stop := chromedp.NewContext(b.ctx, option, chromedp.WithListener(p.event))
	t.Cleanup(stop)
	p.ctx = ctx
	if err := chromedp.Do(ctx); err != nil { // without a deadline: it would end the tab
		t.Fatalf("open a tab: %v", err)
	}
	scheme, media := "light", ""
	if look.Dark {
		scheme = "dark"
	}
	if look.Print {
		media = "print"
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, log.Enable, cdp.Empty{})
	call(p, cdpruntime.Enable, cdp.Empty{})
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(look.Width), Height: int64(look.Height), DeviceScaleFactor: 1, Mobile: look.Touch,
	})
	call(p, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: look.Touch})
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: look.NoScript})
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: media, Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	return p
}

// call runs one command of the browser's protocol.
func call[P, R any](p *Page, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	out, err := chromedp.Call(ctx, command, params)
	if err != nil {
		p.t.Fatalf("%s: %v", command.Method, err)
	}
	return out
}

func (p *Page) event(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	say := func(format string, args ...any) { p.problems = append(p.problems, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err == nil && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "ws" || u.Scheme == "wss") {
			p.hosts[u.Host] = true
		}
	case *network.EventLoadingFinished:
		if e.EncodedDataLength > 0 { // else it came from the cache
			p.weight.Requests++
			p.weight.Bytes += e.EncodedDataLength
		}
	case *cdpruntime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		say("exception: %s", text)
	case *cdpruntime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			var words []string
			for _, a := range e.Args {
				words = append(words, strings.Trim(string(a.Value), `"`)+a.Description)
			}
			say("console.%s: %s", e.Type, strings.Join(words, " "))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			say("browser: %s %s", e.Entry.Text, e.Entry.URL)
		}
	}
}

// Problems returns console errors and warnings, exceptions, refused contents and
// requests to other hosts since the last call.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.problems
	p.problems = nil
	for host := range p.hosts {
		if host != p.host {
			out = append(out, "request to another host: "+host)
		}
	}
	return out
}

// run runs actions, again if a live update replaced their element meanwhile.
func (p *Page) run(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for {
		err := chromedp.Do(ctx, actions...)
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "find node") {
			p.t.Fatalf("%s: %v\nproblems so far: %v", what, err, p.Problems())
		}
	}
}

// Go loads an address.
func (p *Page) Go(address string) {
	p.t.Helper()
	if u, err := url.Parse(address); err == nil {
		p.mu.Lock()
		p.host = u.Host
		p.mu.Unlock()
	}
	p.run("load "+address, chromedp.Navigate(address))
}

// Eval evaluates JavaScript and returns its value; a promise is waited for. It
// works where the page's own scripts are off.
func Eval[T any](p *Page, script string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("evaluate %s: %v", first(script), err)
	}
	return out
}

func first(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// Wait waits until a JavaScript expression is true, also across a change of page.
func (p *Page) Wait(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	again := time.NewTicker(25 * time.Millisecond)
	defer again.Stop()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if ok && err == nil {
			return
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("wait for %s: %v %v\nproblems so far: %v", first(expression), ctx.Err(), err, p.Problems())
		case <-again.C:
		}
	}
}

// WaitText waits until an element's text holds part.
func (p *Page) WaitText(selector, part string) {
	p.t.Helper()
	p.Wait(fmt.Sprintf("document.querySelector(%s)?.textContent.includes(%s)", quote(selector), quote(part)))
}

// Text returns an element's text as shown.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	return Eval[string](p, fmt.Sprintf("document.querySelector(%s)?.innerText ?? ''", quote(selector)))
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

// Fill types into a field.
func (p *Page) Fill(selector, text string) {
	p.t.Helper()
	Eval[string](p, fmt.Sprintf("document.querySelector(%s).value = ''", quote(selector)))
	p.run("fill "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Attach chooses a file in a field for files.
func (p *Page) Attach(selector, file string) {
	p.t.Helper()
	p.run("attach "+file, chromedp.SetUploadFiles(chromedp.CSS(selector), []string{file}))
}

// Show scrolls an element into view.
func (p *Page) Show(selector string) {
	p.t.Helper()
	p.run("scroll to "+selector, chromedp.ScrollIntoView(chromedp.CSS(selector)))
}

// still waits until an element stands still, in the open: between finding where it
// is and pressing there, what loads or comes in live may move it or lie on it, and a
// press then meets something else.
func (p *Page) still(selector string) {
	p.t.Helper()
	p.Wait(fmt.Sprintf(`(() => {
		const e = document.querySelector(%s)
		if (!e?.checkVisibility()) return false
		e.scrollIntoView({block: "nearest", inline: "nearest", behavior: "instant"})
		const r = e.getClientRects()[0], at = r && [r.x, r.y, r.width, r.height].join(), was = window.stoodAt
		window.stoodAt = at
		if (!at || at !== was) return false
		const hit = document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2)
		return e.contains(hit) || hit?.contains(e)
	})()`, quote(selector)))
}

// Click clicks an element.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.still(selector)
	p.run("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Unfold opens a details element. What comes live may still move its summary away
// under the press: who misses it presses again.
func (p *Page) Unfold(selector string) {
	p.t.Helper()
	open := "document.querySelector(" + quote(selector) + ")?.open === true"
	for range 5 {
		p.Click(selector + " > summary")
		if Eval[bool](p, open) {
			return
		}
	}
	p.t.Fatalf("%s does not open", selector)
}

// Submit clicks an element that leads to another page, waits for that page and
// returns its status.
func (p *Page) Submit(selector string) int {
	p.t.Helper()
	p.still(selector)
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	r, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	if err != nil {
		p.t.Fatalf("submit %s: %v", selector, err)
	}
	return int(r.Status)
}

// Keys presses keys (package kb of chromedp names the special ones).
func (p *Page) Keys(keys string) {
	p.t.Helper()
	p.run("press keys", chromedp.KeyEvent(keys))
}

// Drag presses the mouse at one point of the window, moves and lets go at another
// (CSS pixels).
func (p *Page) Drag(x1, y1, x2, y2 float64) {
	p.t.Helper()
	p.run("drag", chromedp.DragAndDropXY(x1, y1, x2, y2, 8))
}

// Screenshot writes the whole page as PNG into the folder .screenshots at the
// root of the checkout, which git ignores, if somebody is to look at it (`make
// pages`).
func (p *Page) Screenshot(name string) {
	p.t.Helper()
	if !forEyes {
		return
	}
	beyond := true
	size := call(p, cdppage.GetLayoutMetrics, cdp.Empty{}).CSSContentSize
	picture := call(p, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{
		Format: "png", CaptureBeyondViewport: &beyond,
		Clip: &cdppage.Viewport{Width: size.Width, Height: size.Height, Scale: 1},
	}).Data
	dir := filepath.Join(Root(p.t), ".screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// Root returns the checkout's root.
func Root(t testing.TB) string {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("where is this file?")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Axe runs axe-core (WCAG 2.2 A and AA, and its best practices) and returns what
// it found, one line each.
func (p *Page) Axe() []string {
	p.t.Helper()
	source, err := os.ReadFile(filepath.Join(Root(p.t), "dashboards", "web", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		p.t.Fatalf("axe-core is missing: run ./setup.sh test (%v)", err)
	}
	type violation struct {
		ID, Help string
		Nodes    []struct{ HTML, Failure string }
	}
	var found []violation
	p.scripted(func() { // axe needs timers
		Eval[int](p, string(source)+";0")
		found = Eval[[]violation](p, `axe.run(document, {runOnly: ["wcag2a","wcag2aa","wcag21a","wcag21aa","wcag22aa","best-practice"], resultTypes: ["violations"]})
			.then(r => r.violations.map(v => ({ID: v.id, Help: v.help, Nodes: v.nodes.map(n => ({HTML: n.html, Failure: n.failureSummary}))})))`)
	})
	var out []string
	for _, v := range found {
		for _, n := range v.Nodes {
			out = append(out, fmt.Sprintf("%s (%s): %s %s", v.ID, v.Help, first(n.HTML), strings.ReplaceAll(n.Failure, "\n", " ")))
		}
	}
	return out
}

// Picture returns what the window shows, as PNG.
func (p *Page) Picture() []byte {
	p.t.Helper()
	return call(p, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{Format: "png"}).Data
}
