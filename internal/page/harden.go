package page

import (
	"net/http"
	"strings"
)

// Policy is the Content-Security-Policy of every page: only this server's own
// files, nothing inline, nothing evaluated, never in a frame.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Harden sets the headers that keep a browser safe on every response of next.
func Harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", Policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next.ServeHTTP(w, r)
	})
}

// PolicyWithImages is Policy for a page that also shows pictures of one other
// origin, for example https://tile.example.
func PolicyWithImages(origin string) string {
	return strings.Replace(Policy, "img-src 'self'", "img-src 'self' "+origin, 1)
}
