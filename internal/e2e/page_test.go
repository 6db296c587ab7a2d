package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/internal/server"
)

// site is a real gateway binary on simulated chips.
type site struct {
	dir, node      string
	chips, gateway *process
	config         string
}

// newSite registers and claims a gateway and starts it on chips of its own.
func (r *rig) newSite(name, sensors string, chipFlags ...string) *site {
	r.t.Helper()
	s := r.newChips(name, chipFlags...)
	var claim server.Claim
	if err := r.admin(&claim, "gateway", "add", "--district", "3374", "--name", name); err != nil {
		r.t.Fatal(err)
	}
	p := start(r.t, filepath.Join(bin, "pantau-gateway"), nil, "claim", claim.Code, "--server", r.door, "--data", s.data())
	if err := p.wait(r.t.Context()); err != nil {
		r.t.Fatalf("claim: %v", err)
	}
	s.write(r.t, sensors)
	s.run(r.t)
	return s
}

// newChips starts the chips of a site whose gateway has no certificate yet.
func (r *rig) newChips(name string, chipFlags ...string) *site {
	r.t.Helper()
	s := &site{dir: filepath.Join(r.dir, name), node: "3374/" + name}
	chips, ready := filepath.Join(s.dir, "chips"), filepath.Join(s.dir, "chips-ready")
	if err := os.MkdirAll(chips, 0o700); err != nil {
		r.t.Fatal(err)
	}
	s.chips = start(r.t, filepath.Join(bin, "firmware-sim"), nil, append([]string{"chips", "--dir", chips, "--ready-file", ready}, chipFlags...)...)
	await(r.t, "the chips' ready file", 30*time.Second, func() bool { _, err := os.Stat(ready); return err == nil })
	s.config = filepath.Join(s.dir, "gateway.toml")
	return s
}

func (s *site) data() string { return filepath.Join(s.dir, "gateway") }

// write sets the gateway's settings; BUS stands for the folder of its chips.
func (s *site) write(t testing.TB, sensors string) {
	t.Helper()
	text := "[gateway]\ntime = \"assume-ntp\"\n[status]\nlisten = \"off\"\n[spool]\nsync = \"200ms\"\n" + strings.ReplaceAll(sensors, "BUS", filepath.Join(s.dir, "chips"))
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *site) run(t testing.TB) {
	t.Helper()
	s.gateway = start(t, filepath.Join(bin, "pantau-gateway"), nil, "--config", s.config, "--data", s.data())
	s.gateway.says("the gateway samples")
}

const dust = `
[[sensor]]
part = "sps30"
name = "debu"
bus = "BUS/i2c-1.sock"
interval = "1s"
report = "1s"
`

// The promise in one test: from a chip's register to a page and an
// alert that fires, is acknowledged and clears.
func TestFromChipToPageAndAlert(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rules := filepath.Join(r.dir, "rules.json")
	text := `[{"id":"pm2_5-high","name":"PM2,5 tinggi","name_en":"PM2.5 high","quantity":"pm2_5","condition":"above","threshold":55,"clear":50,"for":"5s","clear_for":"5s","severity":"warning","scope":{}}]`
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var done server.Done
	if err := r.admin(&done, "rules", "set", rules); err != nil {
		t.Fatal(err)
	}
	s := r.newSite("balaikota", dust)

	base := r.ready.Pages
	p := browsertest.Start(t).Open(t, browsertest.Phone, base+"/masuk")
	p.Fill("#nama", "admin")
	p.Fill("#sandi", r.ready.FirstPassword)
	p.Submit("main button[type=submit]")
	if !strings.Contains(p.Text("main"), "sandi") {
		t.Errorf("the first password must be changed: %s", p.Text("main"))
	}
	p.Fill("#lama", r.ready.FirstPassword)
	p.Fill("#baru", "kata-sandi-baru-yang-panjang")
	p.Fill("#ulang", "kata-sandi-baru-yang-panjang")
	p.Submit("main button[type=submit]")
	p.Go(base + "/dinas/jaringan")
	p.WaitText("main", s.node[len("3374/"):])
	p.WaitText("main", "PM2,5")
	// The smoke comes; the page hears of it by itself.
	s.fault(t, "smoke", "3m")
	// The sensor warms up for half a minute; what it says meanwhile pages nobody.
	await(t, "the alert on the page", 90*time.Second, func() bool { return strings.Contains(p.Text("#peringatan"), "PM2,5") })
	p.Screenshot("chain-firing")
	p.Click("#peringatan button[type=submit]")
	p.WaitText("#peringatan", "admin")
	p.Screenshot("chain-acknowledged")
	p.Beside(browsertest.Desktop, base+"/dinas/jaringan").Screenshot("chain-desktop")
	s.fault(t, "smoke", "1s") // it ends
	await(t, "the alert's end on the page", time.Minute, func() bool { return !strings.Contains(p.Text("#peringatan"), "PM2,5") })
	p.Screenshot("chain-cleared")
	// The part told who it is; in the settings its serial number stands as on the label.
	tables := map[string][][]string{
		"sites":       {{"code", "name", "district", "lat", "lon", "class"}, {"SMG-01", "Balai Kota", "3374", "-6.982", "110.409", "indikatif"}},
		"sensors":     {{"id", "model", "serial"}, {"debu-1", "SPS30", "A51C-0FFE-E0DD-BA11"}},
		"deployments": {{"site", "sensor", "node", "device"}, {"SMG-01", "debu-1", s.node, "debu"}},
	}
	args := []string{"place", "import"}
	for name, rows := range tables {
		args = append(args, filepath.Join(r.dir, name+".csv"))
		writeCSV(t, args[len(args)-1], rows)
	}
	var imported struct{ Changed []any }
	if err := r.admin(&imported, args...); err != nil || len(imported.Changed) != 3 {
		t.Fatalf("%d imported: %v", len(imported.Changed), err)
	}
	p.Go(base + "/dinas/sensor/debu-1")
	if text := p.Text("#angka-alat"); !strings.Contains(text, "A51C0FFEE0DDBA11") || !strings.Contains(text, "2.2") || strings.Contains(text, "ditukar") {
		t.Errorf("the sensor's page: %s", text)
	}
	if problems := p.Problems(); len(problems) > 0 {
		t.Errorf("the browser complains: %v", problems)
	}
	if total := r.settled(30, time.Minute); total.Lost+total.DeadLetters > 0 {
		t.Errorf("%+v", total)
	}
}

// fault gives the site's chips a command.
func (s *site) fault(t testing.TB, command ...string) {
	t.Helper()
	p := start(t, filepath.Join(bin, "firmware-sim"), nil, append([]string{"fault", filepath.Join(s.dir, "chips")}, command...)...)
	if err := p.wait(t.Context()); err != nil {
		t.Fatalf("firmware-sim fault %v: %v", command, err)
	}
}
