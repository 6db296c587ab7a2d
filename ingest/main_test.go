package ingest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/influxtest"
)

// influxd needs seconds to start: the tests of this package share one, each
// with a database of its own.
var shared = sync.OnceValues(func() (*influxtest.Server, error) {
	dir, err := os.MkdirTemp("", "pantau-ingest-*")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := influxtest.Start(ctx, influxtest.Config{Dir: filepath.Join(dir, "influxdb")})
	endShared = func() {
		if s != nil {
			s.Kill()
		}
		os.RemoveAll(dir)
	}
	return s, err
})

var endShared = func() {}

var databases atomic.Int64

func TestMain(m *testing.M) {
	code := m.Run()
	endShared()
	os.Exit(code)
}

func testDatabase(t testing.TB) *influx.Client {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%s_%d", strings.Map(func(r rune) rune {
		if r == '/' {
			return '_'
		}
		return r
	}, t.Name()), databases.Add(1))
	c, err := influx.New(influx.Options{URL: s.URL, Prefix: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func dropMeasurement(t testing.TB, s *stage, name string) {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	prefix, _, _ := strings.Cut(s.db.Name(influx.Raw), "/")
	q := url.Values{"db": {prefix}, "q": {`DROP MEASUREMENT "` + name + `"`}}
	resp, err := http.Post(server.URL+"/query?"+q.Encode(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("drop %s: %s", name, resp.Status)
	}
}
