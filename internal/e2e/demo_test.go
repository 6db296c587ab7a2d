package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/internal/server"
)

// `make run`, twice: everything starts and is found where it says; Ctrl-C stops all
// of it and leaves no process; the second start finds data, password and rules.
func TestMakeRunStartsStopsAndKeeps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	setup, err := filepath.Abs("../../.setup")
	if err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"bin": bin, ".setup": setup} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	demo := filepath.Join(dir, "demo")
	if out, err := exec.Command("go", "build", "-o", demo, "github.com/pantau-id/pantau/internal/demo").CombinedOutput(); err != nil {
		t.Fatalf("build the demo: %v\n%s", err, out)
	}
	r := &rig{t: t, dir: filepath.Join(dir, "run-data")}
	password := ""
	for again := range 2 {
		p := start(t, "/bin/sh", nil, "-c", "cd '"+dir+"' && exec ./demo")
		p.says("Ctrl-C stops everything.")
		text, _ := p.log.state()
		said := regexp.MustCompile(`citizens +(http://\S+)/\n(?s:.*)password +(\S+) `).FindStringSubmatch(text)
		if said == nil {
			t.Fatalf("neither address nor password:\n%s", text)
		}
		if resp, err := http.Get(said[1] + "/"); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("the citizens' page answers %v, %v", resp, err)
		}
		var rules []alert.Rule
		if err := r.admin(&rules, "rules", "show"); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(rules, func(r alert.Rule) bool { return r.ID == "gateway-silent" })
		if i < 0 {
			t.Fatalf("no rule for a silent gateway in %+v", rules)
		}
		silent := &rules[i]
		if again == 0 {
			password = said[2]
			silent.For = alert.Duration(7 * time.Minute)
			text, err := json.Marshal(rules)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "rules.json")
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			var done server.Done
			if err := r.admin(&done, "rules", "set", file); err != nil {
				t.Fatal(err)
			}
		} else if said[2] != password || time.Duration(silent.For) != 7*time.Minute {
			t.Errorf("after the second start the password is %s (was %s), and a rule that was set to 7 minutes says %v", said[2], password, time.Duration(silent.For))
		}
		await(t, "the three gateways with chips are online, and posts with them", time.Minute, func() bool {
			var all []server.Gateway
			if err := r.read("/gateways", &all); err != nil {
				t.Fatal(err)
			}
			chips, online := 0, 0
			for _, g := range all {
				if g.State != "online" {
					continue
				}
				online++
				if slices.Contains([]string{"3374/udara-01", "3374/sampah-01", "3374/energi-01"}, g.Node) {
					chips++
				}
			}
			return chips == 3 && online > 3
		})
		if left := processesIn(t, dir); len(left) < 7 {
			t.Fatalf("the demo should run the database, the server, chips, gateways and posts; there are %q", left)
		}
		if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		<-p.done
		if p.err != nil {
			t.Errorf("after Ctrl-C it ends with %v", p.err)
		}
		if left := processesIn(t, dir); len(left) > 0 {
			t.Errorf("Ctrl-C left %q", left)
		}
	}
}

// processesIn lists the processes that were started from below a folder.
func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, link := range all {
		if cwd, err := os.Readlink(link); err != nil || cwd != dir {
			continue // ended meanwhile, or somebody else's
		}
		if line, err := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline")); err == nil && len(line) > 0 {
			out = append(out, fmt.Sprintf("%.80s", bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return out
}
