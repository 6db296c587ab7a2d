//go:build root

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/server"
)

// smallDisk is a file system of its own, of so many MiB, in a file.
func smallDisk(t testing.TB, size int64) string {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size<<20); err != nil {
		t.Fatal(err)
	}
	do := func(name string, args ...string) error {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %v: %w: %s (this test needs root, mount and e2fsprogs)", name, args, err, out)
		}
		return nil
	}
	if err := errors.Join(do("mkfs.ext4", "-q", "-m", "0", image), do("mount", "-o", "loop", image, dir)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := do("umount", "-l", dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes the rest of a disk, to the last byte.
func fill(t testing.TB, dir string) (ballast string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	for len(chunk) > 0 {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// readyz asks the server over HTTP what it is able to do.
func (r *rig) readyz() (h server.Health) {
	r.t.Helper()
	resp, err := http.Get("http://" + r.ready.Addresses["http"] + "/readyz")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		r.t.Fatal(err)
	}
	return h
}

// 7.5 and E6: the server's disk is really full. Nothing is acknowledged, the
// alarm says so, gateways keep and wait; once there is room all arrives, without
// a restart by hand.
func TestServersDiskReallyFull(t *testing.T) {
	t.Parallel()
	r := bareRig(t)
	disk := smallDisk(t, 640)
	r.folder = filepath.Join(disk, "server")
	r.influx = influxtest.New(t)
	r.serve()
	health := func() server.Health {
		var h server.Health
		_ = r.admin(&h, "health") // a bad verdict is printed too
		return h
	}
	result, file := r.play(20, fleet.Options{Interval: 50 * time.Millisecond, For: 20 * time.Second, Drain: 3 * time.Minute, Seed: 15}, func() {
		pause(t, 3*time.Second)
		ballast := fill(t, disk)
		begin := time.Now()
		full := func(problems []string) bool { return contains(problems, "full") || contains(problems, "disk") }
		await(t, "the alarm of a full disk", time.Minute, func() bool { return full(health().Problems) })
		t.Logf("the alarm came after %v: %q", time.Since(begin).Round(time.Millisecond), health().Problems)
		if ready := r.readyz(); !full(ready.Problems) {
			t.Errorf("/readyz: %+v", ready)
		}
		before, _ := r.metric("pantau_broker_acknowledged_total")
		pause(t, 5*time.Second)
		if after, ok := r.metric("pantau_broker_acknowledged_total"); !ok || after != before {
			t.Errorf("%v messages were acknowledged on a full disk", after-before)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		begin = time.Now()
		await(t, "the end of the alarm", time.Minute, func() bool { h := health(); return h.Ready && len(h.Problems) == 0 })
		t.Logf("the alarm ended %v after there was room", time.Since(begin).Round(time.Millisecond))
	})
	if result.Connects <= 20 && result.Resent == 0 {
		t.Errorf("the full disk did not bite: %+v", result)
	}
	r.complete(result, file)
}

// The gateway's card is really full for a while: the gateway goes on, keeps what
// it takes in memory, and writes it down once there is room. Nothing is missing.
func TestGatewaysCardReallyFull(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	disk := smallDisk(t, 16)
	const name = "kartu"
	if err := os.MkdirAll(filepath.Join(r.dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(disk, filepath.Join(r.dir, name, "gateway")); err != nil {
		t.Fatal(err)
	}
	s := r.newSite(name, "free_floor = 0\n"+sensor("bme280", "cuaca", "i2c-1.sock", "100ms")+sensor("pzem004t", "rumah", "ttyRTU", "200ms"))
	await(t, "readings in the database", patience, func() bool { return r.of(s).Stored > 20 })
	r.server.stop()
	ballast := fill(t, disk)
	s.gateway.says("no space left on device")
	begin := time.Now().UnixMilli()
	pause(t, 10*time.Second) // it may be slow: a hundred samples are due
	end := time.Now().UnixMilli()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.serve()
	during := func() map[string]int {
		out := map[string]int{}
		for _, p := range r.stored(s.id(t)) {
			if at := p.time(); at > begin && at < end {
				out[p.text("device")]++
			}
		}
		return out
	}
	await(t, "what was taken while the card was full", time.Minute, func() bool { n := during(); return n["cuaca"] > 20 && n["rumah"] > 8 })
	row := r.accounted(s)
	t.Logf("taken in 10 s of a full card and stored: %v; ledger: %+v", during(), row)
	if row.Lost+row.DeadLetters > 0 {
		t.Errorf("the ledger: %+v", row)
	}
	if log, _ := s.gateway.log.state(); strings.Contains(log, "panic") {
		t.Error(log)
	}
}
