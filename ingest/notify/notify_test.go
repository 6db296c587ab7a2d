package notify

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// memory is a KV that outlives the notifier, as the journal's does.
type memory struct {
	mu      sync.Mutex
	values  map[string][]byte
	watches []chan string
}

func (m *memory) Create(_ context.Context, key string, value []byte) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.values[key]; ok {
		return 0, fs.ErrExist
	}
	if m.values == nil {
		m.values = map[string][]byte{}
	}
	m.values[key] = value
	for _, w := range m.watches {
		w <- key
	}
	return 1, nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, key)
	return nil
}

func (m *memory) Watch(ctx context.Context, prefix string, fn func(string, []byte, uint64)) error {
	w := make(chan string, 100000)
	m.mu.Lock()
	for k, v := range m.values {
		if strings.HasPrefix(k, prefix) {
			fn(k, v, 1)
		}
	}
	m.watches = append(m.watches, w)
	m.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case k := <-w:
			if strings.HasPrefix(k, prefix) {
				m.mu.Lock()
				v := m.values[k]
				m.mu.Unlock()
				fn(k, v, 1)
			}
		}
	}
}

func (m *memory) len() int { m.mu.Lock(); defer m.mu.Unlock(); return len(m.values) }

// recorder is a channel that fails as often as told.
type recorder struct {
	fail     int
	mu       sync.Mutex
	attempts []Message
	taken    []Message
}

func (r *recorder) Name() string { return "test" }

func (r *recorder) Send(_ context.Context, m Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, m)
	if r.fail > 0 {
		r.fail--
		return errors.New("connection refused")
	}
	r.taken = append(r.taken, m)
	return nil
}

func transition(i int) alert.Transition {
	return alert.Transition{Key: fmt.Sprintf("pm|3374/a/air|%d|firing", i), Name: "PM2,5 tinggi", Severity: alert.Warning, State: alert.Firing,
		Series:   alert.Series{Node: telemetry.Node{Group: "3374", ID: "a"}, Device: "air"},
		Quantity: "pm2_5", Value: 180.5, Threshold: 55, Time: 1764000000000}
}

// run starts a notifier on kv and stops it when the returned function is called.
func run(t *testing.T, kv KV, c Channel) (*Notifier, func()) {
	t.Helper()
	n, err := New(Options{KV: kv, Channels: []Channel{c}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	return n, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestAStormIsAFewMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv, c := &memory{}, &recorder{}
		n, stop := run(t, kv, c)
		for i := range 10000 {
			if err := n.Enqueue(t.Context(), transition(i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second) // of the bubble's clock
		synctest.Wait()
		stop()
		seen := map[string]bool{}
		for _, m := range c.taken {
			for _, a := range m.Alerts {
				seen[a.Key] = true
			}
		}
		if len(c.taken) > 20 || len(seen) != 10000 || kv.len() != 0 {
			t.Errorf("%d messages with %d alerts, %d left", len(c.taken), len(seen), kv.len())
		}
	})
}

func TestARepeatCarriesTheSameIDAndARestartLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv, c := &memory{}, &recorder{fail: 3}
		n, stop := run(t, kv, c)
		for range 2 { // queued twice, as a replay does
			if err := n.Enqueue(t.Context(), transition(1)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		stop() // in the middle of the attempts
		if kv.len() != 1 {
			t.Fatalf("%d alerts wait, want 1", kv.len())
		}
		_, stop = run(t, kv, c)
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		if len(c.taken) != 1 || len(c.attempts) != 4 || kv.len() != 0 {
			t.Fatalf("%d taken of %d attempts, %d left", len(c.taken), len(c.attempts), kv.len())
		}
		for _, m := range c.attempts {
			if m.ID != c.taken[0].ID {
				t.Errorf("id %s, then %s", m.ID, c.taken[0].ID)
			}
		}
	})
}

func TestWebhookIsSigned(t *testing.T) {
	secret := []byte("0123456789abcdef0123")
	got := make(chan *http.Request, 1)
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		got <- r
	}))
	defer s.Close()
	w, err := NewWebhook("ops", s.URL, secret, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(t.Context(), Message{ID: "m1", Alerts: []alert.Transition{transition(1)}}); err != nil {
		t.Fatal(err)
	}
	r := <-got
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s", r.Header.Get("Pantau-Timestamp"), body)
	if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); r.Header.Get("Pantau-Signature") != want {
		t.Errorf("signature %q, want %q", r.Header.Get("Pantau-Signature"), want)
	}
	var m Message
	if err := json.Unmarshal(body, &m); err != nil || m.Alerts[0].Value != 180.5 || r.Header.Get("Idempotency-Key") != "m1" {
		t.Errorf("%v %+v", err, m)
	}
}

// Statement 27 of the security list: no inner addresses unless listed, no plain
// http, no redirects.
func TestStatement27WebhookReachesNoInnerAddress(t *testing.T) {
	hits := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer s.Close()
	if _, err := NewWebhook("ops", s.URL, make([]byte, 16), nil); err == nil {
		t.Error("a target in the clear is taken, though no network is listed that it could lie in")
	}
	w, err := NewWebhook("ops", strings.Replace(s.URL, "http:", "https:", 1), make([]byte, 16), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(t.Context(), Message{ID: "x"}); !errors.Is(err, errTarget) || hits != 0 {
		t.Errorf("loopback: %v, %d hits", err, hits)
	}
	for _, a := range []string{"10.0.0.1:443", "192.168.1.1:443", "169.254.169.254:443", "[::1]:443", "[fe80::1]:443", "[::ffff:127.0.0.1]:443", "0.0.0.0:443"} {
		if permitted(a, true, nil) == nil {
			t.Errorf("%s is permitted", a)
		}
	}
	if err := permitted("203.0.113.7:443", true, nil); err != nil {
		t.Error(err)
	}
	if permitted("203.0.113.7:80", false, nil) == nil {
		t.Error("plain http to the outside is permitted")
	}
	listed, err := NewWebhook("ops", s.URL, make([]byte, 16), []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})
	if err != nil {
		t.Fatal(err)
	}
	if err := listed.Send(t.Context(), Message{ID: "x"}); err == nil || hits != 1 {
		t.Errorf("a redirect was followed or taken for success: %v, %d hits", err, hits)
	}
}

// mailbox is a minimal SMTP server on loopback (RFC 5321) that keeps one letter.
func mailbox(t *testing.T) (port int, letter <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	out := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		fmt.Fprint(conn, "220 mail ESMTP\r\n")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch verb := strings.ToUpper(strings.Fields(line + " x")[0]); verb {
			case "DATA":
				fmt.Fprint(conn, "354 go on\r\n")
				var b strings.Builder
				for line != ".\r\n" {
					if line, err = r.ReadString('\n'); err != nil {
						return
					}
					b.WriteString(line)
				}
				out <- b.String()
				fmt.Fprint(conn, "250 kept\r\n")
			case "QUIT":
				fmt.Fprint(conn, "221 bye\r\n")
				return
			default:
				fmt.Fprint(conn, "250 ok\r\n")
			}
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, out
}

// A mail server elsewhere that offers no TLS gets no letter.
func TestEmailElsewhereNeedsTLS(t *testing.T) {
	port, letter := mailbox(t)
	e, err := NewEmail(EmailOptions{Name: "mail", Host: "127.0.0.1", Port: port, From: "pantau@example.org", To: []string{"ops@example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Send(t.Context(), Message{ID: "m1", Alerts: []alert.Transition{transition(1)}}); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("in the clear: %v", err)
	}
	select {
	case got := <-letter:
		t.Errorf("a letter in the clear: %s", got)
	default:
	}
}

func TestEmailIsReadable(t *testing.T) {
	port, letter := mailbox(t)
	e, err := NewEmail(EmailOptions{Name: "mail", Host: "127.0.0.1", Port: port, From: "pantau@example.org", To: []string{"ops@example.org"}, Loopback: true, BaseURL: "https://pantau.example.org/"})
	if err != nil {
		t.Fatal(err)
	}
	bad := transition(1)
	bad.Series.Device = "air\r\nBcc: everyone@example.org"
	if err := e.Send(t.Context(), Message{ID: "m1", Alerts: []alert.Transition{bad}}); err != nil {
		t.Fatal(err)
	}
	got := <-letter
	head, _, _ := strings.Cut(got, "\r\n\r\n")
	if strings.Contains(head, "\nBcc:") || !strings.Contains(head, "m1@pantau") {
		t.Errorf("header: %s", head)
	}
	if want := "Awas: PM2,5 tinggi, 3374/a/air"; !strings.Contains(Text(Message{Alerts: []alert.Transition{transition(1)}}, ""), want+", 180,5 µg/m³ (batas 55), 24-11-2025 23.00 WIB") {
		t.Errorf("text: %s", Text(Message{Alerts: []alert.Transition{transition(1)}}, ""))
	}
}
