package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// world is a registry over a real journal's bucket, with a clock to turn.
type world struct {
	*Registry
	t      *testing.T
	kv     *journal.KV
	now    time.Time
	cut    chan telemetry.Node
	misuse chan telemetry.Node
	places *places.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir(), MaxBytes: 64 << 20, Reserve: 1 << 20, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := j.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	kv, err := j.KV(t.Context(), "registry", journal.KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	placesKV, err := j.KV(t.Context(), "places", journal.KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sites, err := places.Open(t.Context(), places.Options{KV: placesKV, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sites.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w := &world{places: sites, t: t, kv: kv, now: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC), cut: make(chan telemetry.Node, 100), misuse: make(chan telemetry.Node, 100)}
	w.Registry = w.open()
	return w
}

// open opens one more registry on the same bucket.
func (w *world) open() *Registry {
	w.t.Helper()
	r, err := Open(w.t.Context(), Options{
		KV: w.kv, Sites: w.places, Logger: quiet, Now: func() time.Time { return w.now },
		Revoked: func(n telemetry.Node) { w.cut <- n },
		Misuse:  func(n telemetry.Node, _ error) { w.misuse <- n },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	return r
}

func (w *world) claim(n telemetry.Node) []byte {
	w.t.Helper()
	secret, _, err := w.NewClaim(w.t.Context(), Gateway{Node: n})
	if err != nil {
		w.t.Fatal(err)
	}
	return secret
}

func (w *world) redeem(secret []byte, key string) error {
	_, err := w.Redeem(w.t.Context(), secret, key, w.now.Add(90*24*time.Hour))
	return err
}

func (w *world) cuts() (out []telemetry.Node) {
	for {
		select {
		case n := <-w.cut:
			out = append(out, n)
		default:
			return out
		}
	}
}

var balaikota = telemetry.Node{Group: "3374", ID: "balaikota"}

// Statement 8: a claim is of at least 128 bit, for one key, for 24 h at most; a
// second use is refused and reported.
func TestStatement8ClaimServesOneKey(t *testing.T) {
	w := newWorld(t)
	secret, expires, err := w.NewClaim(t.Context(), Gateway{Node: balaikota, Name: "Balai Kota"})
	if err != nil {
		t.Fatal(err)
	}
	if len(secret)*8 < 128 || expires.Sub(w.now) > 24*time.Hour {
		t.Errorf("%d bit, until %v", len(secret)*8, expires)
	}
	if g, _ := w.Gateway(balaikota); g.Credential != Unclaimed || g.District != "3374" || strings.Contains(fmt.Sprint(*g.Claim), string(secret)) {
		t.Errorf("%+v", g)
	}
	if err := w.redeem([]byte("not the secret, not at all"), "k1"); !errors.Is(err, ErrClaim) {
		t.Errorf("another secret: %v", err)
	}
	if err := w.redeem(secret, "k1"); err != nil {
		t.Fatal(err)
	}
	// The answer was lost: the same key repeats.
	if err := w.redeem(secret, "k1"); err != nil {
		t.Errorf("the same key again: %v", err)
	}
	if err := w.redeem(secret, "k2"); !errors.Is(err, ErrClaim) {
		t.Errorf("another key: %v", err)
	}
	if n := <-w.misuse; n != balaikota {
		t.Errorf("reported for %v", n)
	}
	if g, _ := w.Gateway(balaikota); g.Key != "k1" || g.Credential != Certificate {
		t.Errorf("%+v", g)
	}
	w.now = w.now.Add(24*time.Hour + time.Second)
	if err := w.redeem(secret, "k1"); !errors.Is(err, ErrClaim) {
		t.Errorf("after its end: %v", err)
	}
	// A copy that turns up later is still noticed.
	if err := w.redeem(secret, "k3"); !errors.Is(err, ErrClaim) {
		t.Errorf("another key after its end: %v", err)
	}
	<-w.misuse
}

// People would take two names that differ by case alone for one.
// [tck-id-case-sensitivity-sparkplug-ids]
func TestNamesThatDifferByCaseAloneAreRefused(t *testing.T) {
	w := newWorld(t)
	claim := func(group, id string) error {
		_, _, err := w.NewClaim(t.Context(), Gateway{Node: telemetry.Node{Group: group, ID: id}, Simulated: true})
		return err
	}
	if err := errors.Join(claim("maker", "a"), claim("maker", "b")); err != nil {
		t.Fatal(err)
	}
	for _, n := range []telemetry.Node{{Group: "maker", ID: "A"}, {Group: "Maker", ID: "c"}} {
		if err := claim(n.Group, n.ID); err == nil || !strings.Contains(err.Error(), "upper and lower case") {
			t.Errorf("%s: %v", n, err)
		}
	}
	if err := w.Remove(t.Context(), telemetry.Node{Group: "maker", ID: "b"}); err != nil {
		t.Fatal(err)
	}
	// What is gone stands in nobody's way, nor does a node in its own.
	if err := errors.Join(claim("maker", "B"), claim("maker", "a")); err != nil {
		t.Error(err)
	}
}

func TestClaimEndsUnused(t *testing.T) {
	w := newWorld(t)
	secret := w.claim(balaikota)
	w.now = w.now.Add(ClaimLife + time.Second)
	if err := w.redeem(secret, "k1"); !errors.Is(err, ErrClaim) {
		t.Error(err)
	}
	if g, _ := w.Gateway(balaikota); g.Key != "" {
		t.Errorf("%+v", g)
	}
}

func TestOnlyTheNewestClaimIsGood(t *testing.T) {
	w := newWorld(t)
	first := w.claim(balaikota)
	second := w.claim(balaikota)
	if err := w.redeem(first, "k1"); !errors.Is(err, ErrClaim) {
		t.Errorf("an older claim: %v", err)
	}
	if err := w.redeem(second, "k2"); err != nil {
		t.Error(err)
	}
}

// Two keys at the same time: one wins, the other is told.
func TestClaimRace(t *testing.T) {
	w := newWorld(t)
	other := w.open()
	secret := w.claim(balaikota)
	for { // until the other registry has heard of it
		if g, _ := other.Gateway(balaikota); g.Claim != nil {
			break
		}
		if _, err := w.kv.Put(t.Context(), "tick", nil); err != nil {
			t.Fatal(err)
		}
	}
	results := make(chan error, 2)
	for i, r := range []*Registry{w.Registry, other} {
		go func() {
			_, err := r.Redeem(t.Context(), secret, fmt.Sprint("k", i), w.now)
			results <- err
		}()
	}
	a, b := <-results, <-results
	if (a == nil) == (b == nil) {
		t.Errorf("%v and %v: want one of them refused", a, b)
	}
}

func TestRevokeEndsEverything(t *testing.T) {
	w := newWorld(t)
	secret := w.claim(balaikota)
	if err := w.redeem(secret, "k1"); err != nil {
		t.Fatal(err)
	}
	pending := w.claim(balaikota)
	if len(w.cuts()) != 0 {
		t.Error("a claim cut a connection")
	}
	if err := w.Revoke(t.Context(), balaikota); err != nil {
		t.Fatal(err)
	}
	if n := <-w.cut; n != balaikota {
		t.Errorf("cut %v", n)
	}
	for _, s := range [][]byte{secret, pending} {
		if err := w.redeem(s, "k1"); !errors.Is(err, ErrClaim) {
			t.Errorf("a claim of before: %v", err)
		}
	}
	if err := w.Renew(t.Context(), balaikota, "k1", "k2", w.now); !errors.Is(err, ErrLogin) {
		t.Errorf("renewal: %v", err)
	}
	if err := w.Revoke(t.Context(), telemetry.Node{Group: "3374", ID: "nobody"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("revoke of nobody: %v", err)
	}
	// A new claim, for a new box, lets the place in again; old ones stay void.
	if err := w.redeem(w.claim(balaikota), "k9"); err != nil {
		t.Errorf("after a new claim: %v", err)
	}
	if err := w.redeem(secret, "k1"); !errors.Is(err, ErrClaim) {
		t.Errorf("the first claim: %v", err)
	}
}

func TestNewBoxCutsTheOldOne(t *testing.T) {
	w := newWorld(t)
	if err := w.redeem(w.claim(balaikota), "old"); err != nil {
		t.Fatal(err)
	}
	if err := w.redeem(w.claim(balaikota), "new"); err != nil {
		t.Fatal(err)
	}
	if n := <-w.cut; n != balaikota {
		t.Errorf("cut %v", n)
	}
	g, _ := w.Gateway(balaikota)
	if g.allows("old") == nil || g.allows("new") != nil {
		t.Errorf("%+v", g)
	}
}

func TestRevocationReachesOtherProcesses(t *testing.T) {
	w := newWorld(t)
	if err := w.redeem(w.claim(balaikota), "k1"); err != nil {
		t.Fatal(err)
	}
	cut := make(chan telemetry.Node, 1)
	other, err := Open(t.Context(), Options{KV: w.kv, Logger: quiet, Revoked: func(n telemetry.Node) { cut <- n }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close(context.Background()) }()
	if err := w.Revoke(t.Context(), balaikota); err != nil {
		t.Fatal(err)
	}
	if n := <-cut; n != balaikota {
		t.Errorf("cut %v", n)
	}
	if g, _ := other.Gateway(balaikota); !g.Revoked {
		t.Errorf("%+v", g)
	}
}

// Until a renewed key is used the old one stays good, however often the renewal
// is repeated; then it ends.
func TestRenewalWithLostAnswers(t *testing.T) {
	w := newWorld(t)
	if err := w.redeem(w.claim(balaikota), "k1"); err != nil {
		t.Fatal(err)
	}
	for _, next := range []string{"k2", "k3", "k4"} {
		if err := w.Renew(t.Context(), balaikota, "k1", next, w.now); err != nil {
			t.Fatal(err)
		}
	}
	g, _ := w.Gateway(balaikota)
	if g.allows("k1") != nil || g.allows("k4") != nil || g.allows("k2") == nil {
		t.Errorf("after three renewals: %+v", g)
	}
	if err := w.Renew(t.Context(), balaikota, "k2", "k5", w.now); !errors.Is(err, ErrLogin) {
		t.Errorf("renewal by a key of a lost answer: %v", err)
	}
	if len(w.cuts()) != 0 {
		t.Error("a renewal cut the connection")
	}
}

func TestRegistrySurvivesAStart(t *testing.T) {
	w := newWorld(t)
	secret, _, err := w.NewClaim(t.Context(), Gateway{Node: balaikota, Site: "smg-1"})
	if err != nil {
		t.Fatal(err)
	}
	again := w.open()
	if again.SiteOf(balaikota) != "smg-1" || !slices.Equal(again.NodesAt("smg-1"), []telemetry.Node{balaikota}) {
		t.Errorf("it hangs at %q", again.SiteOf(balaikota))
	}
	if _, err := again.Redeem(t.Context(), secret, "k1", w.now); err != nil {
		t.Errorf("a claim of before the start: %v", err)
	}
}

func TestSites(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if err := w.places.PutSite(ctx, places.Site{Code: "pasar", District: "3301"}); err != nil {
		t.Fatal(err)
	}
	// A gateway's district and its site's are one.
	if _, _, err := w.NewClaim(ctx, Gateway{Node: balaikota, Site: "pasar"}); err == nil || !strings.Contains(err.Error(), "3301") {
		t.Errorf("a site of another district: %v", err)
	}
	if _, _, err := w.NewClaim(ctx, Gateway{Node: telemetry.Node{Group: "maker", ID: "x"}, Site: "pasar"}); err != nil {
		t.Error(err)
	}
	if g, _ := w.Gateway(telemetry.Node{Group: "maker", ID: "x"}); g.District != "3301" {
		t.Errorf("the site's district is not taken over: %+v", g)
	}
	// A new site is registered with its first gateway.
	if _, _, err := w.NewClaim(ctx, Gateway{Node: balaikota, Site: "tugu"}); err != nil {
		t.Error(err)
	}
	if s, ok := w.places.Site("tugu"); !ok || s.District != "3374" {
		t.Errorf("%+v", s)
	}
	// A move has a date, which a gateway's entry has not.
	if _, _, err := w.NewClaim(ctx, Gateway{Node: balaikota, Site: "simpang"}); err == nil || !strings.Contains(err.Error(), "deployment") {
		t.Errorf("a move without a date: %v", err)
	}
	if _, ok := w.places.Site("simpang"); ok {
		t.Error("the refused move made a site")
	}
}
