package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/internal/server"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// corpus is what a device may call itself, its metrics and its values to harm
// whoever shows, queries or exports them.
var corpus = []string{
	`<script>alert(1)<\script>`,
	`<img src=x onerror=alert(1)>`,
	`"><svg onload=alert(1)>`,
	`' onmouseover='alert(1)`,
	`{{.}}${7*7}`,
	`=cmd|' !A0'`,
	`@SUM(1)`,
	`-2-3`,
	`'; DROP MEASUREMENT air; --`,
	`" OR 1=1 --`,
	`pm2_5=9,device=other 1`,
	`a, b=c\`,
	"\u202eDEEP-EDIS\u202c",
	"\u2066kiri\u2069",
	`..`,
	`time`,
	`pm2_5_rejected`,
	strings.Repeat("ž", 64), // 128 bytes
}

// onlyInMetrics may stand in a metric's name or text, but in no topic.
var onlyInMetrics = []string{"a\r\nSet-Cookie: x=1", "naik\nturun", "tab\there", "nol\x00di sini", "a/b/c", "#+$", "\x1b[2J"}

// Statement 22: text that a device supplies is never markup, a query, a header
// or a formula: it is stored, shown as text, and machine-readable output stays
// so.
func TestHostileNamesAreOnlyText(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const name = `<img src=x onerror=alert(1)>`
	r.importNodes("3374,"+name+",kata-sandi-jahat,3374,\n"+
		"3374,\u202e=cmd|' !A0',kata-sandi-jahat,3374,\n", 2)
	d := r.connect("3374/"+name, "kata-sandi-jahat")

	now := func() uint64 { return uint64(time.Now().UnixMilli()) }
	stamp := now()
	birth := &sparkplug.Payload{Timestamp: stamp, HasTimestamp: true, Seq: d.nextSeq(), HasSeq: true, Metrics: []sparkplug.Metric{
		{Name: []byte(sparkplug.MetricBdSeq), Timestamp: stamp, HasTimestamp: true, Type: sparkplug.TypeInt64, Value: sparkplug.Long(1)},
		{Name: []byte(sparkplug.MetricRebirth), Timestamp: stamp, HasTimestamp: true, Type: sparkplug.TypeBoolean, Value: sparkplug.Boolean(false)},
		{Name: []byte(sparkplug.MetricVersion), Timestamp: stamp, HasTimestamp: true, Type: sparkplug.TypeString, Value: sparkplug.String(name)},
	}}
	d.must(sparkplug.NBIRTH, "", sparkplug.AppendPayload(nil, birth))
	texts := append(append([]string(nil), corpus...), onlyInMetrics...)
	for i, device := range corpus {
		p := &sparkplug.Payload{Timestamp: now(), HasTimestamp: true, Seq: d.nextSeq(), HasSeq: true}
		metric := func(name string, kind sparkplug.Datatype, v sparkplug.Value) {
			p.Metrics = append(p.Metrics, sparkplug.Metric{Name: []byte(name), Timestamp: p.Timestamp, HasTimestamp: true, Type: kind, Value: v,
				Properties: []sparkplug.Property{{Key: []byte(sparkplug.PropUnit), Type: sparkplug.TypeString, Value: sparkplug.String(texts[(i+1)%len(texts)])}}})
		}
		// A node may have 64 quantities outside the catalogue: each device has three.
		metric(texts[i], sparkplug.TypeDouble, sparkplug.Double(float64(i)))
		metric(texts[(i+len(corpus))%len(texts)]+"-teks", sparkplug.TypeString, sparkplug.String(texts[(i+len(corpus))%len(texts)]))
		metric("Temperature", sparkplug.TypeDouble, sparkplug.Double(20+float64(i)))
		d.must(sparkplug.DBIRTH, device, sparkplug.AppendPayload(nil, p))
	}
	row := func() server.LedgerRow { return r.of(&site{node: "3374/" + name}) }
	await(t, "the ledger of the hostile node", patience, func() bool { l := row(); return l.Expected >= uint64(len(corpus)) && l.Missing == 0 })
	if l := row(); l.DeadLetters+l.Lost > 0 {
		t.Errorf("the ledger: %+v", l)
	}

	// Stored: each device and text as it came, but for what no name can hold.
	stored := r.stored(telemetry.Node{Group: "3374", ID: name})
	t.Logf("%d points of the hostile node", len(stored))
	devices, values := map[string]bool{}, map[string]bool{}
	for _, p := range stored {
		devices[p.text("device")] = true
		for column, v := range p {
			if s, ok := v.(string); ok && strings.HasSuffix(column, "_text") {
				values[s] = true
			}
		}
	}
	for _, s := range corpus {
		if !devices[strings.ReplaceAll(s, `\`, `＼`)] {
			t.Errorf("device %q is not in the database: %v", s, devices)
		}
	}
	if !values[`<img src=x onerror=alert(1)>`] || !values["naik turun"] {
		t.Errorf("texts in the database: %v", values)
	}
	if rows := r.query("SHOW DATABASES"); len(rows) < 1 {
		t.Errorf("databases: %v", rows)
	}

	// Machine-readable output stays so, and terminals get no control characters.
	for _, args := range [][]string{{"ledger"}, {"gateway", "list"}, {"deadletter", "list"}, {"health"}} {
		for _, format := range [][]string{nil, {"--json"}} {
			out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "pantau"), append(append(args, "--data", r.data()), format...)...).Output()
			if err != nil {
				t.Errorf("pantau %v %v: %v", args, format, err)
			}
			if format != nil && !json.Valid(out) {
				t.Errorf("pantau %v --json: %s", args, out)
			}
			if i := bytes.IndexFunc(out, func(r rune) bool {
				return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == '\u202e' && format == nil
			}); i >= 0 {
				t.Errorf("pantau %v %v prints a control character at %d: %q", args, format, i, out)
			}
		}
	}
	r.showsAsText(name)
}

// showsAsText looks at the pages with a real browser.
func (r *rig) showsAsText(name string) {
	t := r.t
	t.Helper()
	p := r.signIn()
	p.Go(r.ready.Pages + "/dinas/jaringan")
	look := func(what string) {
		t.Helper()
		if n := browsertest.Eval[int](p, `document.querySelectorAll("main img, main svg[onload], main script, main b, [onerror], [onload], [onmouseover]").length`); n > 0 {
			t.Errorf("%s: %d elements came from a device", what, n)
		}
		if problems := p.Problems(); len(problems) > 0 {
			t.Errorf("%s: the browser complains: %v", what, problems)
		}
	}
	p.WaitText("main", name)
	look("the network's page")
	link := browsertest.Eval[string](p, `document.querySelector("article.gateway h3 a").href`)
	p.Go(link)
	text := ""
	for _, s := range corpus {
		if text == "" {
			p.WaitText("main", name)
			text = browsertest.Eval[string](p, `document.querySelector("main").textContent`)
		}
		if !strings.Contains(text, s) && !strings.Contains(text, visible(s)) {
			t.Errorf("the gateway's page does not show %q as text", s)
		}
	}
	look("the gateway's page")
	p.Screenshot("hostile-gateway")
	// Each device's chart by its link.
	charts := browsertest.Eval[[]string](p, `[...document.querySelectorAll("main table a[href]")].map(a => a.href)`)
	t.Logf("%d charts", len(charts))
	for _, href := range charts {
		p.Go(href)
		look(href)
	}
}

// visible is a text without what turns the direction of writing round, which a
// page may leave out.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return -1
		}
		return r
	}, s)
}

// signIn opens a browser and signs in as admin.
func (r *rig) signIn() *browsertest.Page {
	r.t.Helper()
	p := browsertest.Start(r.t).Open(r.t, browsertest.Phone, r.ready.Pages+"/masuk")
	p.Fill("#nama", "admin")
	p.Fill("#sandi", r.ready.FirstPassword)
	p.Submit("main button[type=submit]")
	p.Fill("#lama", r.ready.FirstPassword)
	p.Fill("#baru", "kata-sandi-baru-yang-panjang")
	p.Fill("#ulang", "kata-sandi-baru-yang-panjang")
	p.Submit("main button[type=submit]")
	return p
}
