package dashboards_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/audit"
)

// told are the actions of the audit log, oldest first, as "who action object".
func (s *site) told(t testing.TB) []string {
	t.Helper()
	found, _, err := s.audit.Search(context.Background(), audit.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range slices.Backward(found) {
		out = append(out, strings.TrimSpace(r.Who+" "+r.Action+" "+r.Object))
	}
	return out
}

var secretOf = regexp.MustCompile(`<code class="secret">([^<]+)</code>`)

// once returns the one-time secret that a page shows.
func once(t *testing.T, body string) string {
	t.Helper()
	m := secretOf.FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("the page tells no secret:\n%s", body)
	}
	return m[1]
}

// authenticator is the telephone of a test.
func authenticator(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(secret, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	_ = binary.Write(mac, binary.BigEndian, at.Unix()/30)
	h := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(h[h[19]&15:])&0x7fffffff%1_000_000)
}

func TestPeopleAreAddedGrantedAndRemoved(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Admin)
	list := "/dinas/atur/pengguna"
	r, body := v.post(list, url.Values{"nama": {" Sari "}, "peran": {"validator"}, "wilayah": {"3374"}, "jenis": {"air"}})
	if r.StatusCode != 200 {
		t.Fatalf("%s: %s", r.Status, body)
	}
	has(t, "the answer", body, "Kata sandi sekali pakai untuk sari", "tidak akan ditampilkan lagi", "Kota Semarang")
	password := once(t, body)
	if _, body = v.get(list); strings.Contains(body, password) || !strings.Contains(body, ">sari<") {
		t.Error("the list shows the password again, or not the person")
	}
	for what, form := range map[string]url.Values{
		"Nama akun ini sudah ada": {"nama": {"sari"}, "peran": {"viewer"}}, "Nama akun harus": {"nama": {"a/b"}, "peran": {"viewer"}},
		"tidak dikenal": {"nama": {"budi"}, "peran": {"boss"}}, "atau jenis data tidak": {"nama": {"budi"}, "peran": {"viewer"}, "wilayah": {"9999"}},
	} {
		if r, body := v.post(list, form); r.StatusCode != 422 || !strings.Contains(body, what) {
			t.Errorf("%v: %s, want %q", form, r.Status, what)
		}
	}
	sari := s.visitor(t)
	if r, _ := sari.post("/masuk", url.Values{"nama": {"sari"}, "sandi": {password}}); r.Header.Get("Location") != "/sandi" {
		t.Fatalf("her first sign-in leads to %q", r.Header.Get("Location"))
	}
	if r, _ := sari.post("/sandi", url.Values{"lama": {password}, "baru": {goodPassword}, "ulang": {goodPassword}}); r.StatusCode != 303 {
		t.Fatal(r.Status)
	}
	one := list + "/sari"
	_, body = v.get(one)
	has(t, "her page", body, "validator", "Kota Semarang", "Udara", "masuk", "mengganti kata sandi", `name="hak" value="validator:3374:air"`)
	for _, c := range []struct {
		path string
		form url.Values
	}{
		{one + "/beri", url.Values{"peran": {"operator"}}},
		{one + "/cabut", url.Values{"hak": {"validator:3374:air"}}},
	} {
		if r, _ := v.post(c.path, c.form); r.StatusCode != 303 || r.Header.Get("Location") != one+"?pesan=diubah" {
			t.Errorf("%s: %s to %s", c.path, r.Status, r.Header.Get("Location"))
		}
	}
	if u, err := s.accounts.Get(t.Context(), "sari"); err != nil || len(u.Grants) != 1 || u.Grants[0] != account.Operator.Everywhere() {
		t.Errorf("%+v, %v", u, err)
	}
	if r, _ := v.post(one+"/cabut", url.Values{"hak": {"validator:3374:air"}}); r.StatusCode != 404 {
		t.Errorf("revoking what is not there: %s", r.Status)
	}
	if r, _ := sari.get("/dinas/jaringan"); r.StatusCode != 200 {
		t.Errorf("her session: %s", r.Status)
	}
	_, body = v.post(one+"/sandi", url.Values{})
	if fresh := once(t, body); fresh == password {
		t.Error("a reset gave the same password")
	}
	if r, _ := sari.get("/dinas/jaringan"); r.StatusCode != 303 {
		t.Errorf("her session after a reset: %s", r.Status)
	}
	for _, path := range []string{"/nonaktif", "/aktif"} {
		if r, _ := v.post(one+path, url.Values{}); r.StatusCode != 303 {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	if r, _ := v.post(one+"/hapus", url.Values{}); r.StatusCode != 303 || r.Header.Get("Location") != list+"?pesan=diubah" {
		t.Errorf("removing: %s", r.Status)
	}
	if r, _ := v.get(one); r.StatusCode != 404 {
		t.Errorf("her page afterwards: %s", r.Status)
	}
	want := []string{"admin signin.ok", "admin user.add sari", "sari signin.ok", "sari password.change sari", "admin user.grant sari", "admin user.revoke sari",
		"admin user.reset sari", "admin user.disable sari", "admin user.enable sari", "admin user.remove sari"}
	if got := s.told(t); !slices.Equal(got, want) {
		t.Errorf("the audit log says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if strings.Contains(s.log.String(), password) {
		t.Error("the log holds a password")
	}
}

// The last admin can't be removed, disabled or demoted on the pages.
func TestTheLastAdminStaysOnThePages(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Admin)
	for path, form := range map[string]url.Values{"hapus": {}, "nonaktif": {}, "cabut": {"hak": {"admin"}}} {
		r, body := v.post("/dinas/atur/pengguna/admin/"+path, form)
		if r.StatusCode != 409 || !strings.Contains(body, "Ditolak: tidak ada orang lain") {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	if r, _ := v.get("/dinas/atur/pengguna"); r.StatusCode != 200 {
		t.Errorf("the admin is out: %s", r.Status)
	}
}

// Statement 20: admins set up a second factor before anything else, and sign in
// with it from then on.
func TestStatement20AdminsSignInWithACode(t *testing.T) {
	s := start(t, newWorld(), func(o *dashboards.Options) { o.CodeOptional = false })
	v := s.signedIn(t, account.Admin)
	for _, path := range []string{"/dinas", "/dinas/jaringan", "/dinas/atur/pengguna", "/en/dinas/jaringan"} {
		if r, _ := v.get(path); r.StatusCode != 303 || !strings.HasSuffix(r.Header.Get("Location"), "/sandi/kode") {
			t.Errorf("%s before it is set up: %s to %s", path, r.Status, r.Header.Get("Location"))
		}
	}
	if r, _ := v.get("/dinas/langsung?t=id.ringkas"); r.StatusCode != 403 {
		t.Errorf("live updates before it is set up: %s", r.Status)
	}
	r, body := v.get("/sandi/kode")
	if r.StatusCode != 200 {
		t.Fatal(r.Status)
	}
	has(t, "the page", body, `<svg class="qr"`, "Admin masuk dengan kata sandi dan kode", `href="otpauth://totp/Pantau:admin?issuer=Pantau&amp;secret=`)
	secret := once(t, body)
	if _, again := v.get("/sandi/kode"); once(t, again) != secret {
		t.Error("the secret changes while it is being set up")
	}
	if r, body := v.post("/sandi/kode", url.Values{"kode": {"000000"}}); r.StatusCode != 422 || once(t, body) != secret {
		t.Errorf("a wrong code: %s", r.Status)
	}
	r, body = v.post("/sandi/kode", url.Values{"kode": {authenticator(t, secret, time.Now())}})
	if r.StatusCode != 200 {
		t.Fatalf("%s: %s", r.Status, body)
	}
	var recovery []string
	for _, m := range secretOf.FindAllStringSubmatch(body, -1) {
		recovery = append(recovery, m[1])
	}
	if len(recovery) != account.RecoveryCodes {
		t.Fatalf("%d recovery codes", len(recovery))
	}
	if r, body := v.get("/sandi/kode"); r.StatusCode != 200 || strings.Contains(body, recovery[0]) || strings.Contains(body, secret) {
		t.Error("secret or recovery codes are shown again")
	}
	if r, _ := v.get("/dinas/jaringan"); r.StatusCode != 200 {
		t.Errorf("after it is set up: %s", r.Status)
	}
	// From now on the password alone is not enough.
	other := s.visitor(t)
	login := url.Values{"nama": {"admin"}, "sandi": {goodPassword}, "lanjut": {"/dinas/jaringan?cari=x"}}
	if r, _ := other.get("/masuk/kode"); r.Header.Get("Location") != "/masuk?pesan=lama" {
		t.Errorf("the second step without the first leads to %q", r.Header.Get("Location"))
	}
	r, _ = other.post("/masuk", login)
	if r.Header.Get("Location") != "/masuk/kode" || len(r.Cookies()) != 1 {
		t.Fatalf("the password leads to %q", r.Header.Get("Location"))
	}
	half := r.Cookies()[0].Value
	if r, _ := other.get("/dinas/jaringan"); r.StatusCode != 303 || !strings.HasPrefix(r.Header.Get("Location"), "/masuk") {
		t.Errorf("the password alone opens a page: %s", r.Status)
	}
	if r, body := other.post("/masuk/kode", url.Values{"kode": {"123456"}}); r.StatusCode != 422 || !strings.Contains(body, "Kode ini salah") {
		t.Errorf("a wrong code: %s", r.Status)
	}
	r, _ = other.post("/masuk/kode", url.Values{"kode": {recovery[4]}})
	if r.StatusCode != 303 || r.Header.Get("Location") != "/dinas/jaringan?cari=x" || len(r.Cookies()) != 1 || r.Cookies()[0].Value == half {
		t.Errorf("a recovery code: %s to %s", r.Status, r.Header.Get("Location"))
	}
	if r, _ := other.get("/dinas/jaringan"); r.StatusCode != 200 {
		t.Errorf("with a recovery code: %s", r.Status)
	}
	third := s.visitor(t)
	third.post("/masuk", login)
	if r, _ := third.post("/masuk/kode", url.Values{"kode": {recovery[4]}}); r.StatusCode != 422 {
		t.Errorf("a recovery code for the second time: %s", r.Status)
	}
	// Another telephone.
	if r, _ := other.post("/sandi/kode/lepas", url.Values{"kode": {"999999"}}); r.StatusCode != 422 {
		t.Errorf("removing it with a wrong code: %s", r.Status)
	}
	if r, _ := other.post("/sandi/kode/lepas", url.Values{"kode": {recovery[5]}}); r.Header.Get("Location") != "/sandi/kode?pesan=dilepas" {
		t.Errorf("removing it: %s", r.Status)
	}
	if _, body := other.get("/sandi/kode"); once(t, body) == secret {
		t.Error("the new secret is the old one")
	}
	if r, _ := v.get("/dinas/jaringan"); r.StatusCode != 303 {
		t.Errorf("the other session after that: %s", r.Status)
	}
	got := strings.Join(s.told(t), "\n")
	has(t, "the audit log", got, "admin code.set admin", "admin signin.ok", "code.refused admin", "admin code.drop admin")
	if strings.Contains(s.log.String(), recovery[4]) || strings.Contains(s.log.String(), strings.ReplaceAll(secret, " ", "")) {
		t.Error("the log holds a secret")
	}
}

// Statement 20: a session that somebody planted is worth nothing after a sign-in,
// at either step of it.
func TestStatement20NoStepOfASignInKeepsItsToken(t *testing.T) {
	s := start(t, newWorld())
	s.person(t, "sari", account.Admin)
	secret := account.NewCodeSecret()
	if _, _, err := s.accounts.SetCode(t.Context(), "sari", secret, authenticator(t, secret, time.Now())); err != nil {
		t.Fatal(err)
	}
	attacker, victim := s.visitor(t), s.visitor(t)
	login := url.Values{"nama": {"sari"}, "sandi": {goodPassword}}
	r, _ := attacker.post("/masuk", login) // a session that exists at the server
	planted := r.Cookies()[0]
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	victim.client.Jar.SetCookies(u, []*http.Cookie{planted})
	first, _ := victim.post("/masuk", login)
	second, _ := victim.post("/masuk/kode", url.Values{"kode": {authenticator(t, secret, time.Now().Add(30*time.Second))}})
	if len(first.Cookies()) != 1 || len(second.Cookies()) != 1 || second.StatusCode != 303 {
		t.Fatalf("%s, %s", first.Status, second.Status)
	}
	tokens := []string{planted.Value, first.Cookies()[0].Value, second.Cookies()[0].Value}
	slices.Sort(tokens)
	if len(slices.Compact(tokens)) != 3 {
		t.Error("a step of the sign-in kept the token")
	}
	for name, token := range map[string]string{"the planted": planted.Value, "the half-way": first.Cookies()[0].Value} {
		thief := s.visitor(t)
		thief.client.Jar.SetCookies(u, []*http.Cookie{{Name: planted.Name, Value: token}})
		if r, _ := thief.get("/dinas/jaringan"); r.StatusCode == 200 {
			t.Errorf("%s token is signed in", name)
		}
	}
}

// Statement 14 and 19 for codes: guessing is throttled as passwords are.
func TestGuessingCodesIsThrottled(t *testing.T) {
	from := netip.MustParseAddr("192.0.2.1")
	s := start(t, newWorld(), func(o *dashboards.Options) { o.ClientAddr = func(*http.Request) netip.Addr { return from } })
	s.person(t, "sari", account.Admin)
	secret := account.NewCodeSecret()
	if _, _, err := s.accounts.SetCode(t.Context(), "sari", secret, authenticator(t, secret, time.Now())); err != nil {
		t.Fatal(err)
	}
	v := s.visitor(t)
	v.post("/masuk", url.Values{"nama": {"sari"}, "sandi": {goodPassword}})
	for range 5 {
		if r, _ := v.post("/masuk/kode", url.Values{"kode": {"abcdef"}}); r.StatusCode != 422 {
			t.Fatal(r.Status)
		}
	}
	if r, _ := v.post("/masuk/kode", url.Values{"kode": {authenticator(t, secret, time.Now().Add(30*time.Second))}}); r.StatusCode != 429 {
		t.Errorf("the sixth try: %s", r.Status)
	}
	// From many addresses, beginning anew with the right password each time.
	tries := 0
	for i := range 30 {
		from = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		bot := s.visitor(t)
		bot.post("/masuk", url.Values{"nama": {"sari"}, "sandi": {goodPassword}})
		if r, _ := bot.post("/masuk/kode", url.Values{"kode": {"abcdef"}}); r.StatusCode == 422 {
			tries++
		}
	}
	if tries > 20 {
		t.Errorf("thirty addresses had %d tries in a minute", tries)
	}
}

func TestTheAuditPageSearchesAndChecks(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Admin)
	for i := range 120 {
		if err := s.audit.Add(t.Context(), audit.Entry{Who: "budi", Action: "site.set", Object: fmt.Sprintf("SMG-%03d", i), Detail: hostile[i%len(hostile)]}); err != nil {
			t.Fatal(err)
		}
	}
	_, body := v.get("/dinas/atur/audit")
	has(t, "the page", body, "SMG-119", "SMG-070", "sebelum=")
	if strings.Contains(body, "SMG-069") {
		t.Error("the first page holds more than fifty")
	}
	for _, found := range foreign(t, body) {
		t.Errorf("the page holds %s", found)
	}
	older := regexp.MustCompile(`href="(/dinas/atur/audit\?[^"]*sebelum=[^"]+)"`).FindStringSubmatch(body)
	if older == nil {
		t.Fatal("there is no older page")
	}
	_, body = v.get(strings.ReplaceAll(older[1], "&amp;", "&"))
	has(t, "the older page", body, "SMG-069", "SMG-020", "Terbaru")
	_, body = v.get("/en/dinas/atur/audit?objek=smg-007")
	has(t, "the search", body, "SMG-007")
	if strings.Contains(body, "SMG-008") {
		t.Error("the search finds what it was not asked for")
	}
	if _, body = v.get("/dinas/atur/audit?siapa=admin&apa=signin"); !strings.Contains(body, "masuk</strong>") || strings.Contains(body, "SMG-") {
		t.Error("search by person and action")
	}
	if _, body = v.get("/dinas/atur/audit?dari=kemarin"); !strings.Contains(body, "Tanggal tidak dapat dipahami") {
		t.Error("a bad date is not told of")
	}
	if _, body = v.get("/dinas/atur/audit?sampai=2001-01-01"); !strings.Contains(body, "Tidak ada entri") {
		t.Error("search by time")
	}
	_, body = v.get("/dinas/atur/audit?periksa=1")
	has(t, "the check", body, "Rantai utuh: 121 entri")
}

// Statement 25: what cannot be told of is not done.
func TestStatement25NothingChangesUnrecorded(t *testing.T) {
	w := newWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Admin)
	if err := s.audit.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, body := v.post("/dinas/peringatan/"+url.PathEscape("pm25/3374/balaikota/sps30/17")+"/tangani", url.Values{})
	if r.StatusCode != 503 || !strings.Contains(body, "Perubahan belum dapat dicatat") || !regexp.MustCompile(`<code>[0-9a-f]{8}</code>`).MatchString(body) {
		t.Errorf("acknowledging: %s", r.Status)
	}
	if !w.alerts[0].AckAt.IsZero() {
		t.Error("an alert was acknowledged unrecorded")
	}
	if r, _ := v.post("/dinas/atur/pengguna", url.Values{"nama": {"sari"}, "peran": {"viewer"}}); r.StatusCode != 503 {
		t.Errorf("adding a person: %s", r.Status)
	}
	if all, err := s.accounts.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if r, _ := s.visitor(t).post("/masuk", url.Values{"nama": {"admin"}, "sandi": {goodPassword}}); r.StatusCode != 500 || len(r.Cookies()) > 0 {
		t.Errorf("signing in unrecorded: %s, %v", r.Status, r.Cookies())
	}
	if r, _ := v.get("/dinas/jaringan"); r.StatusCode != 200 {
		t.Errorf("looking: %s", r.Status)
	}
}
