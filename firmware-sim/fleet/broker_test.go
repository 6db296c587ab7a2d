package fleet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/broker"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// doorkeeper lets in who brings a certificate, or the password "p".
type doorkeeper struct{}

func (doorkeeper) Authenticate(_ context.Context, c broker.Credentials) (telemetry.Node, error) {
	if c.Certificate != nil {
		return telemetry.ParseNode(c.Certificate.Subject.CommonName)
	}
	if string(c.Password) != "p" {
		return telemetry.Node{}, fmt.Errorf("wrong password of %s", c.Username)
	}
	return telemetry.ParseNode(c.Username)
}

// authority signs certificates for the test.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	pair := a.sign("authority")
	a.key, a.cert = pair.PrivateKey.(*ecdsa.PrivateKey), pair.Leaf
	return a
}

func (a *authority) sign(name string) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.KeyUsage, template.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// watched is a journal that tells of each packet.
type watched struct {
	*journal.Journal
	came func(topic string)
}

func (w watched) Submit(p envelope.Packet, done func(error)) {
	w.came(p.Topic)
	w.Journal.Submit(p, done)
}

// newBroker starts Pantau's own broker on a real journal.
func newBroker(t *testing.T, a *authority, came func(topic string)) *broker.Broker {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir(), MaxBytes: 256 << 20, Reserve: 1 << 20, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	b, err := broker.New(broker.Options{
		Listen: "127.0.0.1:0", PlainListen: "127.0.0.1:0", Journal: watched{j, came}, Authority: doorkeeper{}, Synced: func() bool { return true }, Logger: log,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*a.sign("server")}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := b.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := j.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestAgainstPantausBroker(t *testing.T) {
	a := newAuthority(t)
	var data atomic.Int32 // that the AQMS sent
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := newBroker(t, a, func(topic string) {
		if strings.Contains(topic, "DDATA") && data.Add(1) == 5 {
			cancel()
		}
	})
	var certified, named []Credential
	for i := range 10 {
		n := telemetry.Node{Group: "3374", ID: fmt.Sprintf("c-%d", i)}
		certified = append(certified, Credential{Node: n, Certificate: a.sign(n.String())})
		named = append(named, Credential{Node: telemetry.Node{Group: "3374", ID: fmt.Sprintf("p-%d", i)}, Password: "p"})
	}
	for name, o := range map[string]Options{
		"TLS and certificates":   {Server: "mqtts://" + b.Addr().String(), CA: a.pem(), Gateways: certified},
		"user name and password": {Server: "mqtt://" + b.PlainAddr().String(), Gateways: named},
	} {
		o.Ledger = filepath.Join(t.TempDir(), "ledger.tsv")
		o.Interval, o.For, o.Drain = 20*time.Millisecond, time.Second, 30*time.Second
		o.OutageEvery, o.OutageFor, o.RestartRate = time.Second, 100*time.Millisecond, 0.5
		o.ClockFaults, o.ClockShare = []ClockFault{ClockUnknown, ClockAhead, ClockBack}, 0.5
		r, err := Run(t.Context(), o)
		if err != nil || r.Pending != 0 || r.Acked != r.Readings || r.Messages < 200 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		sent, acked := readLedger(t, o.Ledger)
		if uint64(len(sent)) != r.Readings || len(acked) != len(sent) {
			t.Errorf("%s: %d sent, %d acknowledged, %+v", name, len(sent), len(acked), r)
		}
	}
	r, err := RunAQMS(ctx, AQMSOptions{
		Server: "mqtt://" + b.PlainAddr().String(), Credential: Credential{Node: telemetry.Node{Group: "maker", ID: "aqms"}, Password: "p"},
		Interval: 10 * time.Millisecond, For: guard,
	})
	if err != nil || r.Connects != 1 || r.Messages < 5 || r.Last != "" {
		t.Errorf("AQMS: %+v, %v", r, err)
	}
	wrong := named[0]
	wrong.Password = "x"
	refused, end := context.WithCancel(t.Context())
	defer end()
	r2, err := Run(refused, Options{
		Server: "mqtt://" + b.PlainAddr().String(), Gateways: []Credential{wrong}, Interval: 50 * time.Millisecond, Backlog: time.Second, For: guard,
		Logger: slog.New(slog.NewTextHandler(writes(end), &slog.HandlerOptions{Level: slog.LevelDebug})), // which says that a session ended
	})
	if err != nil || r2.Connects != 0 || r2.Acked != 0 || r2.Pending == 0 || r2.Last == "" {
		t.Errorf("a wrong password: %+v, %v", r2, err)
	}
}

// writes is called for each line that is written.
type writes func()

func (w writes) Write(b []byte) (int, error) { w(); return len(b), nil }
