package account_test

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/account/accounttest"
)

const good = "kuda lumping di alun-alun"

func TestTheFirstPasswordIsToldOnce(t *testing.T) {
	ctx, kv := context.Background(), &accounttest.KV{}
	a := account.NewAccounts(kv, account.Strong())
	first, err := a.Bootstrap(ctx)
	if err != nil || !regexp.MustCompile(`^([a-z2-9]{5}-){3}[a-z2-9]{5}$`).MatchString(first) {
		t.Fatalf("got %q, %v", first, err)
	}
	again, err := a.Bootstrap(ctx)
	if err != nil || again != "" {
		t.Errorf("the second time: %q, %v; want nothing", again, err)
	}
	u, err := a.Check(ctx, " Admin ", first)
	if err != nil || u.Highest() != account.Admin || !u.MustChange {
		t.Errorf("the first password gives %+v, %v; want an admin who must choose another", u, err)
	}
	for key, value := range must(kv.List(ctx, "")) {
		if strings.Contains(string(value), first) {
			t.Errorf("%s holds the password in the clear", key)
		}
		if !strings.Contains(string(value), "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("%s holds no argon2id hash", key)
		}
	}
	other, err := account.NewAccounts(&accounttest.KV{}, account.Strong()).Bootstrap(ctx)
	if err != nil || other == first {
		t.Error("two installations got the same first password")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestWrongNamesAndPasswordsLookAlike(t *testing.T) {
	ctx := context.Background()
	a := account.NewAccounts(&accounttest.KV{}, accounttest.Cheap())
	first, err := a.Add(ctx, "sari", account.Operator.Everywhere())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"sari", "wrong"}, {"nobody", first}, {"sari", ""}, {"", first}, {"../user/sari", first}, {"sari", strings.Repeat("x", 100_000)}} {
		if _, err := a.Check(ctx, c[0], c[1]); !errors.Is(err, account.ErrWrong) {
			t.Errorf("%q: %v, want ErrWrong", c[0], err)
		}
	}
}

func TestWeakPasswordsAreRefused(t *testing.T) {
	ctx := context.Background()
	a := account.NewAccounts(&accounttest.KV{}, accounttest.Cheap())
	first, err := a.Add(ctx, "sari", account.Viewer.Everywhere())
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]error{
		"sebelaskara": account.ErrTooShort, strings.Repeat("ab", 20): account.ErrTooSimple, "aku-SARI-cantik-1": account.ErrTooSimple,
		strings.Repeat("panjang ", 40): account.ErrTooLong, first: account.ErrUnchanged,
	} {
		if _, err := a.SetPassword(ctx, "sari", first, password); !errors.Is(err, want) {
			t.Errorf("%.20q: %v, want %v", password, err, want)
		}
	}
	if _, err := a.SetPassword(ctx, "sari", "wrong", good); !errors.Is(err, account.ErrWrong) {
		t.Errorf("with a wrong old password: %v", err)
	}
	u, err := a.SetPassword(ctx, "sari", first, good)
	if err != nil || u.MustChange || u.Generation != 2 {
		t.Errorf("got %+v, %v", u, err)
	}
	if _, err := a.Check(ctx, "sari", first); !errors.Is(err, account.ErrWrong) {
		t.Error("the one-time password still works")
	}
}

func TestAccountsHaveNamesRolesAndResets(t *testing.T) {
	ctx := context.Background()
	a := account.NewAccounts(&accounttest.KV{}, accounttest.Cheap())
	for _, bad := range []string{"", "Sari", "a/b", "-x", strings.Repeat("x", 65), "sari\n"} {
		if _, err := a.Add(ctx, bad, account.Viewer.Everywhere()); !errors.Is(err, account.ErrInvalid) {
			t.Errorf("name %q: %v", bad, err)
		}
	}
	if _, err := a.Add(ctx, "sari", account.Grant{Role: "boss"}); !errors.Is(err, account.ErrNoSuchRole) {
		t.Errorf("role boss: %v", err)
	}
	if _, err := a.Add(ctx, "sari", account.Technician.Everywhere()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Add(ctx, "sari", account.Viewer.Everywhere()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the same name twice: %v", err)
	}
	if _, err := a.Reset(ctx, "nobody", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reset of nobody: %v", err)
	}
	fresh, err := a.Reset(ctx, "sari", false)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := a.Check(ctx, "sari", fresh); err != nil || !u.MustChange || u.Generation != 2 {
		t.Errorf("after a reset: %+v, %v", u, err)
	}
	users, err := a.List(ctx)
	if err != nil || len(users) != 1 || users[0].Name != "sari" || users[0].Highest() != account.Technician {
		t.Errorf("list: %+v, %v", users, err)
	}
}

func TestRolesIncludeThoseBefore(t *testing.T) {
	roles := account.Roles()
	for i, r := range roles {
		for j, least := range roles {
			if got := r.AtLeast(least); got != (i >= j) {
				t.Errorf("%s at least %s = %v", r, least, got)
			}
		}
	}
	if account.Role("root").AtLeast(account.Viewer) || account.Role("").AtLeast(account.Viewer) {
		t.Error("an unknown role includes something")
	}
}

func TestGuessingIsThrottled(t *testing.T) {
	now := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	th := account.NewThrottle()
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 5 {
		if wait := th.Try(here, "sari", now); wait != 0 {
			t.Fatalf("try %d waits %v", i+1, wait)
		}
	}
	if wait := th.Try(here, "sari", now.Add(time.Second)); wait != time.Minute {
		t.Errorf("the sixth try within a minute waits %v, want a minute", wait)
	}
	if wait := th.Try(there, "sari", now.Add(time.Second)); wait != 0 {
		t.Errorf("another address waits %v", wait)
	}
	if wait := th.Try(here, "budi", now.Add(30*time.Second)); wait != 31*time.Second {
		t.Errorf("another name from the same address waits %v", wait)
	}
	// The next round's pause is twice as long.
	later := now.Add(2 * time.Minute)
	for range 5 {
		if wait := th.Try(here, "sari", later); wait != 0 {
			t.Fatalf("after the pause: waits %v", wait)
		}
	}
	if wait := th.Try(here, "sari", later); wait != 2*time.Minute {
		t.Errorf("the second pause is %v", wait)
	}
	if wait := th.Try(here, "sari", later.Add(2*time.Hour)); wait != 0 {
		t.Errorf("two hours later: waits %v", wait)
	}
}

func TestRightPasswordsAreNotCounted(t *testing.T) {
	now := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	th := account.NewThrottle()
	office := netip.MustParseAddr("2001:db8:1:2::1")
	for i := range 50 { // an office behind one address signs in
		if wait := th.Try(office, "sari", now); wait != 0 {
			t.Fatalf("sign-in %d waits %v", i, wait)
		}
		th.Right(office, "sari")
	}
	// A visitor with a whole /64 counts as one.
	for i := range 5 {
		if wait := th.Try(netip.MustParseAddr("2001:db8:1:3::"+string(rune('1'+i))), "x", now); wait != 0 {
			t.Fatal(wait)
		}
	}
	if th.Try(netip.MustParseAddr("2001:db8:1:3::99"), "x", now) == 0 {
		t.Error("addresses of one /64 are counted apart")
	}
}

func TestAnAccountTriedFromManyAddressesPausesBriefly(t *testing.T) {
	now := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	th := account.NewThrottle()
	for i := range 20 {
		if wait := th.Try(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), "sari", now); wait != 0 {
			t.Fatalf("try %d waits %v", i, wait)
		}
	}
	if wait := th.Try(netip.MustParseAddr("203.0.113.9"), "sari", now); wait != time.Minute {
		t.Errorf("the account waits %v, want a minute", wait)
	}
	if wait := th.Try(netip.MustParseAddr("203.0.113.9"), "budi", now); wait != 0 {
		t.Errorf("another account waits %v", wait)
	}
}

func TestManyTriesAtOnceAreNotFree(t *testing.T) {
	th := account.NewThrottle()
	from, now := netip.MustParseAddr("192.0.2.1"), time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	allowed := 0
	for range 100 {
		wg.Go(func() {
			if th.Try(from, "sari", now) == 0 {
				mu.Lock()
				allowed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if allowed != 5 {
		t.Errorf("%d of 100 simultaneous tries were allowed, want 5", allowed)
	}
}
