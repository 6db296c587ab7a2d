package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/ingest/notify"
	"github.com/pantau-id/pantau/internal/server"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

const webhookSecret = "the secret that signs what is sent"

// receiver is somebody's webhook. It keeps what it is sent, by the status it
// answers.
type receiver struct {
	t       testing.TB
	address string
	server  *http.Server

	mu     sync.Mutex
	status int
	got    map[int][]notify.Message
	held   chan struct{} // closed when the next message has come; it gets no answer
}

func newReceiver(t testing.TB) *receiver {
	w := &receiver{t: t, address: freeAddress(t), got: map[int][]notify.Message{}}
	t.Cleanup(func() {
		if w.server != nil {
			_ = w.server.Close() // its listener goes with it
		}
	})
	return w
}

// listen begins to answer; until then nobody is there.
func (w *receiver) listen() {
	w.t.Helper()
	l, err := net.Listen("tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = &http.Server{Handler: http.HandlerFunc(w.take)}
	go func() { _ = w.server.Serve(l) }() // until the cleanup closes it
}

func (w *receiver) take(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	mac := hmac.New(sha256.New, []byte(webhookSecret))
	fmt.Fprintf(mac, "%s.%s", r.Header.Get("Pantau-Timestamp"), body)
	var m notify.Message
	switch {
	case err != nil: // the sender was killed
		return
	case r.Header.Get("Pantau-Signature") != "sha256="+hex.EncodeToString(mac.Sum(nil)):
		w.t.Errorf("a bad signature: %v", r.Header)
	case json.Unmarshal(body, &m) != nil || m.ID == "" || r.Header.Get("Idempotency-Key") != m.ID:
		w.t.Errorf("message %q with key %q: %s", m.ID, r.Header.Get("Idempotency-Key"), body)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got[w.status] = append(w.got[w.status], m)
	if w.held == nil {
		out.WriteHeader(w.status)
		return
	}
	close(w.held)
	w.held = nil
	panic(http.ErrAbortHandler)
}

// hold lets the next message come and not be answered.
func (w *receiver) hold() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = make(chan struct{})
	return w.held
}

// answer sets the status of all answers to come.
func (w *receiver) answer(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = status
}

func (w *receiver) messages(status int) []notify.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]notify.Message(nil), w.got[status]...)
}

// told counts how often the receiver took a device's change to a state, and
// under how many keys.
func (w *receiver) told(device string, state alert.State) (times, keys int) {
	seen := map[string]bool{}
	for _, m := range w.messages(http.StatusOK) {
		for _, t := range m.Alerts {
			if t.Series.Device == device && t.State == state {
				times++
				seen[t.Key] = true
			}
		}
	}
	return times, len(seen)
}

// E19 and E20: the receiver is away, then answers 500, then takes it: the same
// message under the same id all the while. Then the server is killed again and
// again between a threshold crossed and its message answered: each alert is told
// at least once, under one key, and so is its end.
func TestAlertsAreToldAtLeastOnce(t *testing.T) {
	t.Parallel()
	w := newReceiver(t)
	config, secret := filepath.Join(t.TempDir(), "pantau.toml"), papersFile(t, webhookSecret)
	text := fmt.Sprintf("[[webhook]]\nname = \"piket\"\nurl = \"http://%s/pantau\"\nsecret_file = %q\nallow = [\"127.0.0.0/8\"]\n", w.address, secret)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, "--config", config)
	r.importNodes("3374,asap,kata-sandi-asap,3374,\n", 1)
	rules := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(rules, []byte(`[{"id":"pm2_5-high","name":"PM2,5 tinggi","name_en":"PM2.5 high","quantity":"pm2_5","condition":"above","threshold":55,"clear":50,"for":"0s","clear_for":"0s","severity":"warning","scope":{}}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	var done server.Done
	if err := r.admin(&done, "rules", "set", rules); err != nil {
		t.Fatal(err)
	}
	var all []series
	for i := range alertKills + 1 {
		all = append(all, series{fmt.Sprintf("debu-%d", i), "pm2_5", sparkplug.TypeDouble, telemetry.MicrogramPerCubicMetre})
	}
	// One gateway all the time: its epoch and numbers outlive its links.
	var d *device
	say := func(device string, value float64) {
		t.Helper()
		next := r.connect("3374/asap", "kata-sandi-asap")
		if d != nil {
			next.epoch, next.number = d.epoch, d.number
			_ = d.conn.Close() // the server may have been killed
		}
		d = next
		d.born(all...)
		d.send(record(device, time.Now(), "pm2_5", value))
	}

	say("debu-0", 80)
	await(t, "a try while nobody is there", patience, func() bool { return r.labelled("pantau_notify_attempts_failed_total")[`channel="piket"`] >= 1 })
	w.answer(http.StatusInternalServerError)
	w.listen()
	await(t, "two tries that end in 500", patience, func() bool { return len(w.messages(http.StatusInternalServerError)) >= 2 })
	w.answer(http.StatusOK)
	await(t, "the message", patience, func() bool { n, _ := w.told("debu-0", alert.Firing); return n > 0 })
	id := w.messages(http.StatusOK)[0].ID
	for _, m := range w.messages(http.StatusInternalServerError) {
		if m.ID != id {
			t.Errorf("the same message came as %s and as %s", m.ID, id)
		}
	}

	rng := rand.New(rand.NewPCG(20, uint64(os.Getpid())))
	for i := 1; i <= alertKills; i++ {
		if i%2 == 0 { // after it was sent, before it was answered
			await(t, "the alert before it", patience, func() bool { n, _ := w.told(all[i-1].device, alert.Firing); return n > 0 })
			came := w.hold()
			say(all[i].device, 100+float64(i))
			select {
			case <-came:
			case <-time.After(patience):
				t.Fatalf("no message of %s", all[i].device)
			}
		} else { // before it was sent: alerts gather for two seconds
			say(all[i].device, 100+float64(i))
			pause(t, time.Duration(rng.IntN(1500))*time.Millisecond)
			if n, _ := w.told(all[i].device, alert.Firing); n > 0 {
				t.Logf("%s was told before the kill: this machine is slow", all[i].device)
			}
		}
		r.server.kill()
		r.serve()
	}
	for i, s := range all {
		least := 1
		if i > 0 && i%2 == 0 { // the first time was not answered
			least = 2
		}
		await(t, "the alert of "+s.device, patience, func() bool { n, _ := w.told(s.device, alert.Firing); return n >= least })
	}
	for _, s := range all {
		say(s.device, 10)
	}
	for _, s := range all {
		await(t, "the end of the alert of "+s.device, patience, func() bool { n, _ := w.told(s.device, alert.Resolved); return n > 0 })
		fired, under := w.told(s.device, alert.Firing)
		ended, underEnd := w.told(s.device, alert.Resolved)
		t.Logf("%s: told %d times that it fires, %d times that it ended", s.device, fired, ended)
		if under != 1 || underEnd != 1 {
			t.Errorf("%s: %d alerts and %d ends under different keys", s.device, under, underEnd)
		}
	}
}
