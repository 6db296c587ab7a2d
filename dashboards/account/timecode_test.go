package account_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/account/accounttest"
)

// phone is an authenticator, written from RFC 6238 apart from ours.
func phone(secret string, at time.Time) string {
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		panic(err)
	}
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(at.Unix()/30))
	mac := hmac.New(sha1.New, key)
	mac.Write(counter[:])
	h := mac.Sum(nil)
	o := h[19] & 15
	n := uint32(h[o]&0x7f)<<24 | uint32(h[o+1])<<16 | uint32(h[o+2])<<8 | uint32(h[o+3])
	return fmt.Sprintf("%06d", n%1000000)
}

// The test vectors of RFC 6238, appendix B, for SHA-1, in six digits.
func TestTimeCodesAreThoseOfRFC6238(t *testing.T) {
	secret := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte("12345678901234567890"))
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got := phone(secret, time.Unix(at, 0)); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
		synctest.Test(t, func(t *testing.T) { // whose clock begins in 2000: earlier vectors are refused as long ago
			if at < 1111111109 || at > 2000000000 { // and later ones are further than a Duration
				return
			}
			time.Sleep(time.Until(time.Unix(at, 0)))
			a := account.NewAccounts(&accounttest.KV{}, accounttest.Cheap())
			if _, err := a.Add(t.Context(), "sari", account.Admin.Everywhere()); err != nil {
				t.Fatal(err)
			}
			if _, _, err := a.SetCode(t.Context(), "sari", secret, want); err != nil {
				t.Errorf("at %d: %v", at, err)
			}
		})
	}
}

// Statement 20: a second factor, each code good once.
func TestStatement20TimeCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		a := account.NewAccounts(&accounttest.KV{}, accounttest.Cheap())
		if _, err := a.Add(ctx, "sari", account.Admin.Everywhere()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.CheckCode(ctx, "sari", "000000"); !errors.Is(err, account.ErrNoCode) {
			t.Errorf("without a second factor: %v", err)
		}
		secret := account.NewCodeSecret()
		if _, _, err := a.SetCode(ctx, "sari", secret, "12345"); !errors.Is(err, account.ErrWrong) {
			t.Errorf("set up with a wrong code: %v", err)
		}
		if u, _ := a.Get(ctx, "sari"); u.HasCode {
			t.Error("a wrong code set it up")
		}
		first := phone(secret, time.Now())
		u, recovery, err := a.SetCode(ctx, "sari", secret, first)
		if err != nil || !u.HasCode || u.Generation != 2 || len(recovery) != account.RecoveryCodes {
			t.Fatalf("%+v, %d recovery codes, %v", u, len(recovery), err)
		}
		wrong := func(what, code string) {
			t.Helper()
			if _, _, err := a.CheckCode(ctx, "sari", code); !errors.Is(err, account.ErrWrong) {
				t.Errorf("%s: %v, want ErrWrong", what, err)
			}
		}
		wrong("the code that set it up, again", first)
		time.Sleep(time.Minute)
		wrong("a code of long ago", first)
		wrong("a code of far ahead", phone(secret, time.Now().Add(2*time.Minute)))
		code := phone(secret, time.Now().Add(-25*time.Second)) // a slow telephone
		if _, left, err := a.CheckCode(ctx, "sari", code[:3]+" "+code[3:]); err != nil || left != account.RecoveryCodes {
			t.Errorf("a right code: %v, %d left", err, left)
		}
		wrong("the same again", code)
		if _, left, err := a.CheckCode(ctx, "sari", strings.ToUpper(recovery[3])); err != nil || left != account.RecoveryCodes-1 {
			t.Errorf("a recovery code: %v, %d left", err, left)
		}
		wrong("a recovery code again", recovery[3])
		slices.Sort(recovery)
		if len(slices.Compact(recovery)) != account.RecoveryCodes {
			t.Error("two recovery codes are the same")
		}
		if _, err := a.Reset(ctx, "sari", true); err != nil {
			t.Fatal(err)
		}
		if u, _ := a.Get(ctx, "sari"); u.HasCode {
			t.Error("a reset left the second factor")
		}
	})
}

func TestStatement20ACodeIsGoodOnceAlsoAtOnce(t *testing.T) {
	ctx := context.Background()
	a := account.NewAccounts(&accounttest.KV{}, accounttest.Cheap())
	if _, err := a.Add(ctx, "sari", account.Admin.Everywhere()); err != nil {
		t.Fatal(err)
	}
	secret := account.NewCodeSecret()
	if _, _, err := a.SetCode(ctx, "sari", secret, phone(secret, time.Now())); err != nil {
		t.Fatal(err)
	}
	code := phone(secret, time.Now().Add(30*time.Second))
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for range 20 {
		wg.Go(func() {
			if _, _, err := a.CheckCode(ctx, "sari", code); err == nil {
				mu.Lock()
				good++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if good != 1 {
		t.Errorf("one code was good %d times", good)
	}
}

// Whoever governs cannot be removed if nobody else does.
func TestTheLastAdminStays(t *testing.T) {
	ctx := context.Background()
	a := account.NewAccounts(&accounttest.KV{}, accounttest.Cheap())
	add := func(name string, grants ...account.Grant) {
		t.Helper()
		if _, err := a.Add(ctx, name, grants...); err != nil {
			t.Fatal(err)
		}
	}
	add("sari", account.Admin.Everywhere())
	add("budi", account.Grant{Role: account.Admin, District: "3374"})
	add("dewi", account.Grant{Role: account.Admin, Kind: "air"})
	if _, err := a.Arrive(ctx, "luar@dinas", "https://sso.example 17", []account.Grant{account.Admin.Everywhere()}); err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(name string) error{
		"removing":  func(name string) error { return a.Remove(ctx, name) },
		"disabling": func(name string) error { _, err := a.Disable(ctx, name); return err },
		"demoting": func(name string) error {
			_, err := a.SetGrants(ctx, name, []account.Grant{account.Approver.Everywhere()})
			return err
		},
		"narrowing": func(name string) error {
			_, err := a.SetGrants(ctx, name, []account.Grant{{Role: account.Admin, District: "3374"}})
			return err
		},
		"taking it all": func(name string) error { _, err := a.SetGrants(ctx, name, nil); return err },
	}
	for what, do := range ways {
		if err := do("sari"); !errors.Is(err, account.ErrLastAdmin) {
			t.Errorf("%s the last one: %v", what, err)
		}
	}
	if u, err := a.Get(ctx, "sari"); err != nil || !u.May(account.Admin, "", "") || !u.Disabled.IsZero() {
		t.Errorf("after that: %+v, %v", u, err)
	}
	add("wati", account.Admin.Everywhere())
	// Both at once: one must be refused.
	var wg sync.WaitGroup
	var errs [2]error
	for i, name := range []string{"sari", "wati"} {
		wg.Go(func() { errs[i] = ways["demoting"](name) })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[:]...), account.ErrLastAdmin) {
		t.Errorf("two demotions at once: %v", errs)
	}
}

func TestADisabledAccountIsOut(t *testing.T) {
	d := newDoor(t, false)
	_, c := d.visit("/in", nil)
	ctx := context.Background()
	if _, err := d.accounts.Disable(ctx, "sari"); err != nil {
		t.Fatal(err)
	}
	if body, _ := d.visit("/", c); body != "false" {
		t.Error("its session goes on")
	}
	fresh, err := d.accounts.Reset(ctx, "sari", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.accounts.Check(ctx, "sari", fresh); !errors.Is(err, account.ErrWrong) {
		t.Errorf("signing in: %v", err)
	}
	if _, err := d.accounts.Enable(ctx, "sari"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.accounts.Check(ctx, "sari", fresh); err != nil {
		t.Errorf("signing in again: %v", err)
	}
	if body, _ := d.visit("/", c); body != "false" {
		t.Error("the old session came back")
	}
}

func TestArrivingFromTheProvider(t *testing.T) {
	ctx := context.Background()
	a := account.NewAccounts(&accounttest.KV{}, accounttest.Cheap())
	if _, err := a.Add(ctx, "sari", account.Viewer.Everywhere()); err != nil {
		t.Fatal(err)
	}
	grants := []account.Grant{{Role: account.Validator, Kind: "air"}}
	for what, c := range map[string]struct{ name, subject string }{"a local account's name": {"sari", "https://sso.example 1"}} {
		if _, err := a.Arrive(ctx, c.name, c.subject, grants); err == nil || errors.Is(err, account.ErrWrong) {
			t.Errorf("%s: %v", what, err)
		}
	}
	u, err := a.Arrive(ctx, "budi@dinas.go.id", "https://sso.example 2", grants)
	if err != nil || u.Local() || !u.May(account.Validator, "3374", "air") || u.MustChange {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := a.Arrive(ctx, "budi@dinas.go.id", "https://sso.example 3", grants); err == nil {
		t.Error("somebody else came in under the name")
	}
	if u, err = a.Arrive(ctx, "budi@dinas.go.id", "https://sso.example 2", nil); err != nil || u.May(account.Viewer, account.Somewhere, account.SomeKind) {
		t.Errorf("after the provider took the roles: %+v, %v", u, err)
	}
	if _, err := a.Check(ctx, "budi@dinas.go.id", ""); !errors.Is(err, account.ErrWrong) {
		t.Errorf("with an empty password: %v", err)
	}
	if _, err := a.Reset(ctx, "budi@dinas.go.id", false); !errors.Is(err, account.ErrNotLocal) {
		t.Errorf("a password for it: %v", err)
	}
}

// Accounts of before grants hold for the whole province.
func TestAnAccountOfBeforeGrants(t *testing.T) {
	ctx, kv := context.Background(), &accounttest.KV{}
	if _, err := kv.Put(ctx, "user/lama", []byte(`{"name":"lama","role":"technician","must_change":false,"changed":"2026-01-02T03:04:05Z","generation":3,"hash":"x"}`)); err != nil {
		t.Fatal(err)
	}
	a := account.NewAccounts(kv, accounttest.Cheap())
	u, err := a.Get(ctx, "lama")
	if err != nil || !u.May(account.Technician, "", "") || u.May(account.Validator, account.Somewhere, account.SomeKind) || u.Generation != 3 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := a.SetGrants(ctx, "lama", []account.Grant{{Role: account.Viewer, District: "3374"}}); err != nil {
		t.Fatal(err)
	}
	if u, _ = a.Get(ctx, "lama"); u.May(account.Technician, "", "") || u.May(account.Viewer, "", "") || !u.May(account.Viewer, "3374", "air") {
		t.Errorf("after new grants: %+v", u)
	}
}

func TestALinkForAWallRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, walls := context.Background(), account.NewWalls(&accounttest.KV{})
		wall, token, err := walls.Add(ctx, account.Wall{Label: "lobi", View: "network", By: "sari"}, 7*24*time.Hour)
		if err != nil || len(token) < 43 {
			t.Fatalf("%+v, %q, %v", wall, token, err)
		}
		if got, err := walls.Find(ctx, token); err != nil || got != wall {
			t.Errorf("%+v, %v", got, err)
		}
		time.Sleep(7 * 24 * time.Hour)
		if _, err := walls.Find(ctx, token); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after its time: %v", err)
		}
		for _, bad := range []time.Duration{0, -time.Hour, account.Longest + 1} {
			if _, _, err := walls.Add(ctx, account.Wall{}, bad); err == nil {
				t.Errorf("a link for %v", bad)
			}
		}
	})
}
