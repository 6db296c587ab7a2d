package public_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pantau-id/pantau/dashboards/public"
)

// BenchmarkKept answers with a page from memory, without the network.
func BenchmarkKept(b *testing.B) {
	w := newWorld(b)
	for _, path := range []string{"/", "/stasiun/smg-1-simpang-lima"} {
		b.Run(path, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Accept-Encoding", "gzip, br")
			w.pages.ServeHTTP(httptest.NewRecorder(), r)
			b.ReportAllocs()
			for b.Loop() {
				out := httptest.NewRecorder()
				w.pages.ServeHTTP(out, r)
				if out.Code != http.StatusOK {
					b.Fatal(out.Code)
				}
			}
		})
	}
}

// BenchmarkMade makes a page anew after a change, compression included.
func BenchmarkMade(b *testing.B) {
	var n uint64
	w := newWorld(b, func(o *public.Options) { o.Changed = func() uint64 { n++; return n } })
	for _, path := range []string{"/", "/stasiun/smg-1-simpang-lima", "/gambar/smg-1-2026-11-26-1500.png"} {
		b.Run(path, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			b.ReportAllocs()
			for b.Loop() {
				out := httptest.NewRecorder()
				w.pages.ServeHTTP(out, r)
				if out.Code != http.StatusOK {
					b.Fatal(out.Code)
				}
			}
		})
	}
}
