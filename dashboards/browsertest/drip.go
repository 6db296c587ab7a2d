package browsertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Drip returns the address of a server that hands on what the one at the address
// says, its pages in small pieces, as a weak line does. (What developer tools
// throttle comes late, but whole.) A page that is drawn while it arrives shows
// there whether what stands already moves when the rest comes: Shift tells.
func Drip(t *testing.T, address string) string {
	t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		t.Fatalf("drip from %s: %v", address, err)
	}
	s := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Accept-Encoding")
		},
		ModifyResponse: func(r *http.Response) error {
			if strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
				r.Body = drip{r.Body}
				r.Header.Del("Content-Length")
				r.ContentLength = -1
			}
			return nil
		},
		FlushInterval: -1,
	})
	t.Cleanup(s.Close)
	return s.URL
}

// drip gives 2 kB each 16 ms, about a picture of the screen.
type drip struct{ io.ReadCloser }

func (d drip) Read(b []byte) (int, error) {
	time.Sleep(16 * time.Millisecond)
	return d.ReadCloser.Read(b[:min(len(b), 2000)])
}
