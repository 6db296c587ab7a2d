package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/server"
)

// openssl is an agency's own authority: a root, and below it who signs.
type openssl struct {
	t    testing.TB
	dir  string
	root string // certificate of the root
}

func newOpenSSL(t testing.TB) *openssl {
	t.Helper()
	a := &openssl{t: t, dir: t.TempDir()}
	a.root = filepath.Join(a.dir, "root.pem")
	a.do("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "root.key", "-out", "root.pem", "-days", "3650", "-subj", "/O=Pemprov/CN=Root",
		"-addext", "keyUsage=critical,keyCertSign,cRLSign")
	a.do("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "issuing.key", "-out", "issuing.csr", "-subj", "/O=Pemprov/CN=Issuing")
	a.sign("issuing.csr", "issuing.pem", "root", 1825, "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n")
	return a
}

func (a *openssl) do(args ...string) {
	a.t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = a.dir
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		a.t.Fatal("this test needs OpenSSL's command: apt-get install openssl")
	}
	if err != nil {
		a.t.Fatalf("openssl %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (a *openssl) sign(csr, out, by string, days int, extensions string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, "ext"), []byte(extensions), 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.do("x509", "-req", "-in", csr, "-out", out, "-CA", by+".pem", "-CAkey", by+".key", "-CAcreateserial", "-days", fmt.Sprint(days), "-extfile", "ext")
}

// issue signs a request (PEM) and returns the file with the chain below the root.
func (a *openssl) issue(name, request string, days int, extensions string) string {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name+".csr"), []byte(request), 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.sign(name+".csr", name+".pem", "issuing", days, extensions)
	leaf, err := os.ReadFile(filepath.Join(a.dir, name+".pem"))
	if err != nil {
		a.t.Fatal(err)
	}
	issuing, err := os.ReadFile(filepath.Join(a.dir, "issuing.pem"))
	if err != nil {
		a.t.Fatal(err)
	}
	chain := filepath.Join(a.dir, name+"-chain.pem")
	if err := os.WriteFile(chain, append(leaf, issuing...), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return chain
}

// own makes a key and a certificate for it.
func (a *openssl) own(name, subject, extensions string) (chain, key string) {
	a.t.Helper()
	key = filepath.Join(a.dir, name+".key")
	a.do("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", name+".request", "-subj", subject)
	request, err := os.ReadFile(filepath.Join(a.dir, name+".request"))
	if err != nil {
		a.t.Fatal(err)
	}
	return a.issue(name, string(request), 90, extensions), key
}

const (
	forServer = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"
	forClient = "extendedKeyUsage=clientAuth\n"
)

// Statement 9: another authority may sign instead of ours. Then the server holds
// no key of an authority; a gateway makes its key and a request, comes in only
// once its certificate was admitted, is renewed by hand, and is revoked as ever.
func TestStatement9AnotherAuthoritySigns(t *testing.T) {
	t.Parallel()
	a := newOpenSSL(t)
	cert, key := a.own("door", "/CN=Pantau", forServer)
	r := newRig(t, "--mqtt-ca", a.root, "--mqtt-cert", cert, "--mqtt-key", key)
	err := filepath.WalkDir(r.data(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds a key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var claim server.Claim
	if err := r.admin(&claim, "gateway", "add", "--district", "3374", "--name", "luar"); err == nil || !strings.Contains(err.Error(), "pantau gateway admit") {
		t.Errorf("a claim was made, or its refusal does not say what to do: %v", err)
	}

	s := r.newChips("luar")
	run := func(args ...string) (string, error) {
		p := start(t, filepath.Join(bin, "pantau-gateway"), nil, append(args, "--data", s.data())...)
		err := p.wait(t.Context())
		text, _ := p.log.state()
		return text, err
	}
	request := func() string {
		text, err := run("csr", "--node", s.node)
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return text
	}
	if text, err := run("certificate", cert, "--server", r.door, "--ca", a.root); err == nil || !strings.Contains(text, "pantau-gateway csr") {
		t.Errorf("a certificate without a key was installed: %s", text)
	}
	chain := a.issue("first", request(), 90, forClient)
	wrong, _ := a.own("wrong", "/CN=3374\\/luar", forClient)
	if text, err := run("certificate", wrong, "--server", r.door, "--ca", a.root); err == nil || !strings.Contains(text, "does not match") {
		t.Errorf("a certificate of another key was installed: %s", text)
	}
	if text, err := run("certificate", chain, "--server", r.door, "--ca", a.root); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	first := papersOf(t, s.data())

	// A certificate of the right authority alone does not open the door.
	s.write(t, sensor("bme280", "cuaca", "i2c-1.sock", "200ms"))
	s.run(t)
	await(t, "its refusal", patience, func() bool { return r.labelled("pantau_broker_refused_total")[`reason="tls"`] > 0 })
	var admitted server.Admitted
	for file, why := range map[string]string{cert: "key usage", key: "holds no certificate", a.root: "common name"} {
		if err := r.admin(&admitted, "gateway", "admit", file); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s was admitted, or not refused for %q: %v", filepath.Base(file), why, err)
		}
	}
	if err := r.admin(&admitted, "gateway", "admit", chain); err != nil || admitted.Node != s.node {
		t.Fatalf("%+v, %v", admitted, err)
	}
	await(t, "readings, without a restart", time.Minute, func() bool { return r.of(s).Stored > 5 })
	if err := r.mosquitto(papers{a.root, wrong, filepath.Join(a.dir, "wrong.key")}, s.node, "spBv1.0/3374/NDATA/luar"); err == nil {
		t.Error("the same name, signed by the same authority for another key, came in")
	}

	// A new certificate, by hand; the old one ends with the first use of the new.
	second := a.issue("second", request(), 10, forClient)
	if err := r.admin(&admitted, "gateway", "admit", second); err != nil {
		t.Fatal(err)
	}
	if text, err := run("certificate", second); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var list []server.Gateway
	if err := r.admin(&list, "gateway", "list"); err != nil || len(list) != 1 || !list[0].Expires.Equal(admitted.Expires) || list[0].District != "3374" {
		t.Errorf("the end of the certificate is not seen: %+v, %v", list, err)
	}
	s.gateway.stop()
	s.run(t)
	s.gateway.says("connected to the server")
	await(t, "the old certificate to be refused", patience, func() bool { return r.mosquitto(first, s.node, "spBv1.0/3374/NDATA/luar") != nil })
	stored := r.of(s).Stored
	await(t, "readings by the new certificate", patience, func() bool { return r.of(s).Stored > stored+5 })

	var done server.Done
	if err := r.admin(&done, "gateway", "revoke", s.node); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of its session", patience, func() bool { n, ok := r.metric("pantau_broker_sessions"); return ok && n == 0 })
	if err := r.mosquitto(papersOf(t, s.data()), s.node, "spBv1.0/3374/NDATA/luar"); err == nil {
		t.Error("a revoked gateway came in, since its authority still vouches for it")
	}
}
