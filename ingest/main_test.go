package ingest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/influxtest"
)

var databases atomic.Int64

func TestMain(m *testing.M) { os.Exit(influxtest.Run(m)) }

func testDatabase(t testing.TB) *influx.Client {
	t.Helper()
	s := influxtest.Shared(t)
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
	server := influxtest.Shared(t)
	prefix, _, _ := strings.Cut(s.db.Name(influx.Raw), "/")
	q := url.Values{"db": {prefix}, "q": {`DROP MEASUREMENT "` + name + `"`}}
	resp, err := http.Post(server.URL+"/query?"+q.Encode(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || bytes.Contains(body, []byte(`"error"`)) {
		t.Fatalf("drop %s: %s %s, %v", name, resp.Status, body, err)
	}
}
