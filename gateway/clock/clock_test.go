package clock

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// board is a machine whose clocks the test sets.
type board struct {
	start    time.Time
	offset   atomic.Int64 // of UTC, in nanoseconds
	synced   atomic.Bool
	rtc      bool
	recorded []Mapping
}

func (b *board) options(file string) Options {
	b.start = time.Now()
	return Options{
		Epoch: 7, Boot: BootID{1}, File: file, Logger: slog.New(slog.DiscardHandler),
		Record:   func(m Mapping) error { b.recorded = append(b.recorded, m); return nil },
		Boottime: func() time.Duration { return time.Since(b.start) + time.Minute },
		Now: func() time.Time {
			return time.UnixMilli(utc0).Add(time.Since(b.start) + time.Duration(b.offset.Load()))
		},
		Synced: b.synced.Load,
		RTC:    func() bool { return b.rtc },
	}
}

func TestClockFollowsKernelAndServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{}
		b.offset.Store(int64(-10 * 365 * 24 * time.Hour)) // the last shutdown was long ago
		c, err := New(b.options(""))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(time.Minute)
		if _, _, ok := c.UTC(time.Minute); ok || len(b.recorded) > 0 {
			t.Error("UTC out of nothing")
		}
		if best, known := c.Best(); known || best.UnixMilli() != Earliest {
			t.Errorf("best guess %v, %v", best, known)
		}
		c.Server(utc0, c.o.Boottime())
		got, q, ok := c.UTC(c.o.Boottime() + time.Second)
		if !ok || q != telemetry.TimeServer || got.UnixMilli() != utc0+1000 {
			t.Errorf("%v %v %v", got, q, ok)
		}
		b.offset.Store(0)
		b.synced.Store(true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		got, q, _ = c.UTC(c.o.Boottime())
		if q != telemetry.TimeNTP || !got.Equal(c.o.Now()) {
			t.Errorf("%v %v, want %v", got, q, c.o.Now())
		}
		if len(b.recorded) != 2 || b.recorded[1].ID.Counter != 2 {
			t.Errorf("recorded %+v", b.recorded)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestLastKnownTimeSurvivesARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "time")
	b := &board{rtc: true}
	c, err := New(b.options(file))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Fatal(err)
	}
	again := &board{}
	c, err = New(again.options(file))
	if err != nil {
		t.Fatal(err)
	}
	best, known := c.Best()
	if d := best.Sub(time.UnixMilli(utc0)); known || d < -time.Second || d > time.Hour {
		t.Errorf("best guess %v, known %v", best, known)
	}
	if err := os.WriteFile(file, []byte("kemarin"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = New(again.options(file)); err != nil {
		t.Errorf("a damaged file must not keep the clock from starting: %v", err)
	}
}

func TestRecordFailureIsSaid(t *testing.T) {
	b := &board{}
	b.synced.Store(true)
	o := b.options("")
	o.Record = func(Mapping) error { return errors.New("spool is closed") }
	if _, err := New(o); err == nil {
		t.Error("want an error")
	}
}

func TestFromRTC(t *testing.T) {
	now := time.UnixMilli(utc0)
	for name, c := range map[string]struct {
		hctosys, epoch string
		want           bool
	}{
		"set by the chip":        {"1\n", "1764000003\n", true},
		"chip without a battery": {"1\n", "95\n", false},
		"another chip":           {"0\n", "1764000000\n", false},
		"nonsense":               {"1\n", "x\n", false},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"hctosys": c.hctosys, "since_epoch": c.epoch} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := fromRTC(dir, now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if fromRTC(t.TempDir(), now) {
		t.Error("no chip")
	}
}

func certificate(t *testing.T, name string, from, to time.Time, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to, DNSNames: []string{name},
		IsCA: parent == nil, BasicConstraintsValid: true,
	}
	if parent == nil {
		parent, key = c, own
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, own.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, own
}

func TestSeedFromServerCertificate(t *testing.T) {
	issued := time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC)
	ca, caKey := certificate(t, "ca", issued.Add(-time.Hour), issued.AddDate(10, 0, 0), nil, nil)
	leaf, _ := certificate(t, "pantau", issued, issued.AddDate(0, 3, 0), ca, caKey)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	verify := func(now time.Time, name string) error {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{leaf}, Err: err}
		}
		return nil
	}
	for _, seed := range []time.Time{time.UnixMilli(Earliest), issued.AddDate(1, 0, 0)} {
		got, ok := SeedFrom(verify(seed, "pantau"), seed, []*x509.Certificate{ca})
		if !ok {
			t.Fatalf("no seed from %v", seed)
		}
		if err := verify(got, "pantau"); err != nil {
			t.Errorf("at %v: %v", got, err)
		}
	}
	if _, ok := SeedFrom(verify(issued, "penipu"), issued, []*x509.Certificate{ca}); ok {
		t.Error("a wrong name is not a matter of time")
	}
	if _, ok := SeedFrom(errors.New("refused"), issued, []*x509.Certificate{ca}); ok {
		t.Error("nor is a refused connection")
	}
}
