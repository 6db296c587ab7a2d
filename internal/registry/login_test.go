package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// certificate is a certificate of a fresh key; the registry does not look at
// who signed it, the TLS port has done that.
func certificate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificateLogin(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	c := certificate(t, balaikota.String())
	login := func(c *x509.Certificate) error {
		n, err := w.Authenticate(ctx, Credentials{ClientID: balaikota.String(), Certificate: c})
		if err == nil && n != balaikota {
			t.Errorf("logged in as %v", n)
		}
		return err
	}
	if err := login(c); !errors.Is(err, ErrLogin) {
		t.Errorf("unknown: %v", err)
	}
	if err := w.redeem(w.claim(balaikota), KeyHash(c.RawSubjectPublicKeyInfo)); err != nil {
		t.Fatal(err)
	}
	if err := login(c); err != nil {
		t.Errorf("with its key: %v", err)
	}
	if err := login(certificate(t, balaikota.String())); !errors.Is(err, ErrLogin) {
		t.Errorf("its name, another key: %v", err)
	}
	for _, name := range []string{"", "balaikota", "3374/", "3374/other"} {
		c := *c
		c.Subject.CommonName = name
		if err := login(&c); !errors.Is(err, ErrLogin) {
			t.Errorf("its key, the name %q: %v", name, err)
		}
	}
	if err := w.Revoke(ctx, balaikota); err != nil {
		t.Fatal(err)
	}
	if err := login(c); !errors.Is(err, ErrLogin) {
		t.Errorf("revoked: %v", err)
	}
	if _, err := w.Verify(c); !errors.Is(err, ErrLogin) {
		t.Errorf("revoked: %v", err)
	}
}

// The first login with a renewed key ends the old one.
func TestOldKeyEndsWhenTheNewOneIsUsed(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	before, after := certificate(t, balaikota.String()), certificate(t, balaikota.String())
	k1, k2 := KeyHash(before.RawSubjectPublicKeyInfo), KeyHash(after.RawSubjectPublicKeyInfo)
	if err := w.redeem(w.claim(balaikota), k1); err != nil {
		t.Fatal(err)
	}
	if err := w.Renew(ctx, balaikota, k1, k2, w.now); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*x509.Certificate{before, before, after} {
		if _, err := w.Authenticate(ctx, Credentials{Certificate: c}); err != nil {
			t.Fatal(err)
		}
	}
	retired := make(chan struct{})
	go func() {
		_ = w.kv.Watch(ctx, gatewayPrefix, func(_ string, value []byte, _ uint64) {
			if !strings.Contains(string(value), "old_key") {
				close(retired)
				cancel()
			}
		})
	}()
	<-retired
	for { // the watch of the test may be quicker than the registry's own note
		if _, err := w.Authenticate(t.Context(), Credentials{Certificate: before}); errors.Is(err, ErrLogin) {
			break
		}
		runtime.Gosched()
	}
	if _, err := w.Authenticate(t.Context(), Credentials{Certificate: after}); err != nil {
		t.Error(err)
	}
}

func password(w *world, name, password string) error {
	_, err := w.Authenticate(w.t.Context(), Credentials{ClientID: name, Username: name, Password: []byte(password)})
	return err
}

func TestPasswordLogin(t *testing.T) {
	w := newWorld(t)
	importing := func(line string) {
		t.Helper()
		result, err := w.Import(t.Context(), strings.NewReader("group,name,password,district,site\n"+line+"\n"), Importing{})
		if err != nil || len(result.Errors) > 0 {
			t.Fatal(result, err)
		}
	}
	importing("maker,a,correct horse battery,3374,")
	for _, c := range []struct {
		name, password string
		good           bool
	}{
		{"maker/a", "correct horse battery", true},
		{"maker/a", "correct horse battery", true}, // from memory
		{"maker/a", "correct horse batterz", false},
		{"maker/a", "", false},
		{"maker/b", "correct horse battery", false},
		{"a", "correct horse battery", false},
	} {
		if err := password(w, c.name, c.password); (err == nil) != c.good || err != nil && !errors.Is(err, ErrLogin) {
			t.Errorf("%s with %q: %v", c.name, c.password, err)
		}
	}
	g, _ := w.Gateway(telemetry.Node{Group: "maker", ID: "a"})
	if !strings.HasPrefix(g.Password, "$argon2id$") {
		t.Errorf("kept as %q", g.Password)
	}
	// The same file again changes nothing; another password ends the old one.
	importing("maker,a,correct horse battery,3374,")
	if again, _ := w.Gateway(g.Node); again.Password != g.Password || len(w.cuts()) != 0 {
		t.Error("the same password cut the connection")
	}
	importing("maker,a,wrong horse battery,3374,")
	if n := <-w.cut; n != g.Node {
		t.Errorf("cut %v", n)
	}
	if err := password(w, "maker/a", "correct horse battery"); !errors.Is(err, ErrLogin) {
		t.Errorf("the old password: %v", err)
	}
	if err := password(w, "maker/a", "wrong horse battery"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if err := w.Revoke(t.Context(), g.Node); err != nil {
		t.Fatal(err)
	}
	if err := password(w, "maker/a", "wrong horse battery"); !errors.Is(err, ErrLogin) {
		t.Errorf("revoked: %v", err)
	}
}

// Ten thousand that come back after a cut cost no argon2: who was right once is
// remembered. While argon2 is busy, who gives up is told so and not counted as
// wrong.
func TestPasswordChecksAreBounded(t *testing.T) {
	w := newWorld(t)
	hash, err := hashPassword([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	for range cap(w.proofs.slot) {
		w.proofs.slot <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.proofs.check(ctx, balaikota, hash, []byte("correct horse")); !errors.Is(err, context.Canceled) {
		t.Errorf("while busy: %v", err)
	}
	<-w.proofs.slot
	if ok, err := w.proofs.check(t.Context(), balaikota, hash, []byte("correct horse")); err != nil || !ok {
		t.Fatal(ok, err)
	}
	w.proofs.slot <- struct{}{}
	// All slots are taken: only memory can answer.
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if ok, err := w.proofs.check(t.Context(), balaikota, hash, []byte("correct horse")); err != nil || !ok {
				t.Error(ok, err)
			}
		})
	}
	wg.Wait()
}

func TestImportNamesEachWrongCell(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if err := w.places.PutSite(ctx, places.Site{Code: "pasar", District: "3301"}); err != nil {
		t.Fatal(err)
	}
	if err := w.redeem(w.claim(balaikota), "k"); err != nil {
		t.Fatal(err)
	}
	gone := telemetry.Node{Group: "3374", ID: "gone"}
	w.claim(gone)
	if err := w.Revoke(ctx, gone); err != nil {
		t.Fatal(err)
	}
	file := strings.Join([]string{
		"group,name,password,district,site",
		"maker,good,averylongpassword,3374,",
		"maker,short,tooshort,3374,",
		"ma+ker,x,averylongpassword,3374,",
		"maker,,averylongpassword,3374,",
		"maker,x,averylongpassword,9999,",
		"maker,Good,averylongpassword,3374,",
		"maker,far,averylongpassword,3374,pasar",
		"maker,where,averylongpassword,,nowhere",
		"maker,few,averylongpassword",
		"3374,balaikota,averylongpassword,,",
		"3374,gone,averylongpassword,,",
		"maker,a,averylongpassword,3374,tugu",
		"maker,b,averylongpassword,3373,tugu",
		`maker,"quo"te,averylongpassword,3374,`,
		"maker,c,averylongpassword,3374,Jalan Tugu 1",
	}, "\n")
	for _, dry := range []bool{true, false} {
		result, err := w.Import(ctx, strings.NewReader(file), Importing{Dry: dry})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			"line 3, column 3 (password)", "line 4, column 1 (group)", "line 5, column 2 (name)", "line 6, column 4 (district)",
			"line 7, column 2 (name): maker/Good stands in line 2 already, in whatever case", "line 8, column 5 (site): site \"pasar\" lies in district 3301",
			"line 9, column 5 (site)", "line 10: 3 columns, want 5", "line 11, column 2 (name): 3374/balaikota has a certificate",
			"line 12, column 2 (name): 3374/gone was revoked", "line 14, column 5 (site)", "line 15",
			`line 16, column 5 (site): site "Jalan Tugu 1": want 1 to 64 letters`,
		}
		for i := range max(len(want), len(result.Errors)) {
			if i >= len(want) || i >= len(result.Errors) || !strings.HasPrefix(result.Errors[i], want[i]) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(result.Errors, "\n"), strings.Join(want, "\n"))
			}
		}
		if strings.Contains(strings.Join(result.Errors, ""), "longpassword") || result.Imported != 0 {
			t.Errorf("%+v", result)
		}
	}
	if n := len(w.Gateways()); n != 2 {
		t.Errorf("%d gateways after an import with wrong cells", n)
	}
}

func TestImportForms(t *testing.T) {
	w := newWorld(t)
	for i, file := range []string{
		"group,name,password,district,site\n3374,a,averylongpassword,,\n",
		"\ufeffgroup;name;password;district;site\r\n3374;b;averylongpassword;;\r\n",
		"group,name,password,district,site\n",
	} {
		result, err := w.Import(t.Context(), strings.NewReader(file), Importing{})
		if err != nil || len(result.Errors) > 0 || result.Imported != []int{1, 1, 0}[i] {
			t.Errorf("file %d: %+v, %v", i, result, err)
		}
	}
	for _, g := range w.Gateways() {
		if g.District != "3374" || g.Credential != Password {
			t.Errorf("%+v", g)
		}
	}
	for _, file := range []string{"", "name,group,password,district,site\n", "group,name\n", "\x00\x01"} {
		if _, err := w.Import(t.Context(), strings.NewReader(file), Importing{}); err == nil {
			t.Errorf("%q was taken", file)
		}
	}
}

func importFile(n int) string {
	var file strings.Builder
	file.WriteString("group,name,password,district,site\n")
	for i := range n {
		fmt.Fprintf(&file, "33%02d,gw-%d,password-of-%d,,\n", 1+i%29, i, 1000+i)
	}
	return file.String()
}

func TestImportOfMany(t *testing.T) {
	w := newWorld(t)
	result, err := w.Import(t.Context(), strings.NewReader(importFile(10_000)), Importing{Dry: true})
	if err != nil || result.Imported != 10_000 || len(result.Errors) > 0 || len(w.Gateways()) != 0 {
		t.Fatal(result, err)
	}
	if result, err = w.Import(t.Context(), strings.NewReader(importFile(50)), Importing{}); err != nil || result.Imported != 50 {
		t.Fatal(result, err)
	}
	if n := len(w.Gateways()); n != 50 {
		t.Errorf("%d gateways", n)
	}
	if err := password(w, "3330/gw-29", "password-of-1029"); err == nil {
		t.Error("3330 is no district's group of this file")
	}
	if err := password(w, "3301/gw-29", "password-of-1029"); err != nil {
		t.Error(err)
	}
	w.Registry = w.open()
	if n := len(w.Gateways()); n != 50 {
		t.Errorf("%d gateways after a start", n)
	}
}

func FuzzImport(f *testing.F) {
	f.Add("group,name,password,district,site\nmaker,a,averylongpassword,3374,\n")
	f.Add("\ufeffgroup;name;password;district;site\n;;;;\n\"")
	r := &Registry{gateways: map[telemetry.Node]Gateway{}}
	f.Fuzz(func(t *testing.T, file string) {
		rows, wrong, err := r.readImport(strings.NewReader(file))
		if err != nil || len(wrong) > 0 {
			return
		}
		for _, row := range rows {
			if _, err := telemetry.ParseNode(row.gateway.Node.String()); err != nil {
				t.Error(err)
			}
		}
	})
}
