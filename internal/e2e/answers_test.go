package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/internal/influxtest"
)

// moody stands before a database. Every other write goes through; the others
// meet what goes wrong in turn.
type moody struct {
	through http.Handler
	mu      sync.Mutex
	writes  int
	met     map[string]int
}

var moods = []string{"500", "429", "answer lost", "slow"}

func (m *moody) mood() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	if m.writes%2 == 0 {
		return ""
	}
	mood := moods[m.writes/2%len(moods)]
	m.met[mood]++
	return mood
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/v2/write" {
		m.through.ServeHTTP(w, r)
		return
	}
	switch m.mood() {
	case "500":
		http.Error(w, "internal error", http.StatusInternalServerError)
	case "429":
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many", http.StatusTooManyRequests)
	case "answer lost":
		m.through.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case "slow":
		slow := time.NewTimer(5 * time.Second)
		defer slow.Stop()
		select {
		case <-slow.C:
		case <-r.Context().Done():
		}
		m.through.ServeHTTP(w, r)
	default:
		m.through.ServeHTTP(w, r)
	}
}

// E8: the database answers 500 and 429, its answers are lost on the way or come
// after five seconds, and it is killed (-9) in the middle of it all. Nothing is
// lost, doubled or altered.
func TestDatabaseAnswersBadly(t *testing.T) {
	t.Parallel()
	db := influxtest.New(t)
	target, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(target)
	through.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	m := &moody{through: through, met: map[string]int{}}
	front := httptest.NewServer(m)
	t.Cleanup(front.Close)
	r := bareRig(t)
	r.influx = &influxtest.Server{URL: front.URL}
	r.serve()
	result, file := r.play(10, fleet.Options{Interval: 200 * time.Millisecond, For: 30 * time.Second, Seed: 18}, func() {
		pause(t, 5*time.Second)
		db.Kill()
		if db, err = db.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Kill)
	})
	r.complete(result, file)
	m.mu.Lock()
	defer m.mu.Unlock()
	t.Logf("%d writes met %v", m.writes, m.met)
	for _, mood := range moods {
		if m.met[mood] == 0 {
			t.Errorf("no write met %q", mood)
		}
	}
}
