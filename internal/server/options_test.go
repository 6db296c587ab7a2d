package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func resolve(t *testing.T, text string) (Options, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pantau.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Defaults()
	if err := o.Load(path); err != nil {
		return o, err
	}
	return o, o.Resolve()
}

func TestSettingsNameFieldAndValue(t *testing.T) {
	for text, want := range map[string]string{
		"[mqtt]\nplain = '0.0.0.0:1883'":                 `mqtt.plain = "0.0.0.0:1883"`,
		"[mqtt]\nlisten = '8883'":                        `mqtt.listen = "8883"`,
		"clock = 'ntp'":                                  `clock = "ntp"`,
		"[influx]\nurl = 'localhost'":                    `influx.url = "localhost"`,
		"[journal]\nquota = '1kB'":                       `journal.quota`,
		"[journal]\nquota = 'much'":                      `want for example 10GB`,
		"[http]\ncert = 'a.pem'":                         `http.cert and http.key go together`,
		"[http]\ntrusted_proxies = ['10.0.0.1/99']":      `http.trusted_proxies = "10.0.0.1/99"`,
		"[[webhook]]\nname = 'ops'\nurl = 'https://a.b'": `webhook[0].secret_file`,
		"[htp]\nlisten = ''":                             `unknown key "htp"`,
	} {
		if _, err := resolve(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if o, err := resolve(t, "[journal]\nquota = '20GB'\n"); err != nil || o.Journal.Quota != 20e9 || o.HTTP.Listen != "127.0.0.1:8080" {
		t.Errorf("%+v, %v", o, err)
	}
}

// What a start would refuse is refused before anything is opened: `pantau check`
// and `pantau serve` ask the same Resolve.
func TestChannelsAndPagesAreCheckedWithoutAStart(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("0123456789abcdef\n")
	webhook := func(url, secret, more string) string {
		return "[[webhook]]\nname = 'ops'\nurl = '" + url + "'\nsecret_file = '" + secret + "'\n" + more
	}
	email := func(host, port, from, to, more string) string {
		return "[[email]]\nname = 'dinas'\nhost = '" + host + "'\nport = " + port + "\nfrom = '" + from + "'\nto = [" + to + "]\n" + more
	}
	for text, want := range map[string]string{
		webhook("example.org", good, ""):                                                                       "no https address",
		webhook("http://example.org", good, ""):                                                                "list the target's network under allow",
		webhook("https://example.org", file("0123456789abcde"), ""):                                            "at least 16",
		webhook("https://example.org", file(" \n"), ""):                                                        `webhook[0].secret_file`,
		webhook("https://example.org", good, "allow = ['10.0.0.0']"):                                           "want a network",
		email("", "587", "a@b.id", "'c@d.id'", ""):                                                             "host",
		email("mail.b.id", "0", "a@b.id", "'c@d.id'", ""):                                                      "port 0",
		email("mail.b.id", "99999", "a@b.id", "'c@d.id'", ""):                                                  "port",
		email("mail.b.id", "587", "a b.id", "'c@d.id'", ""):                                                    `sender "a b.id"`,
		email("mail.b.id", "587", "a@b.id", "", ""):                                                            "0 receivers",
		email("mail.b.id", "587", "a@b.id", "'c d.id'", ""):                                                    "receivers",
		email("mail.b.id", "587", "a@b.id", "'c@d.id'", "user = 'a'"):                                          "user and password_file go together",
		email("m.id", "587", "a@b.id", "'c@d.id'", "") + "\n" + email("m.id", "587", "a@b.id", "'c@d.id'", ""): "want a name of its own",
		"[mqtt]\nca = '" + good + "'\ncert = '" + good + "'\nkey = '" + good + "'":                             "holds no certificate",
		"[http]\ntiles = 'https://example.org/{z}/{x}.png'":                                                    "lacks {y}",
		"[public]\nswatches = ['#00ff00']":                                                                     "public.swatches has 1 colours",
	} {
		if _, err := resolve(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v, want %s", text, err, want)
		}
	}
	for _, text := range []string{
		webhook("https://example.org/x", good, ""), webhook("http://10.0.0.7/x", good, "allow = ['10.0.0.0/24']"),
		email("mail.b.id", "587", "a@b.id", "'c@d.id'", ""), email("mail.b.id", "587", "a@b.id", "'c@d.id'", "user = 'a'\npassword_file = '"+good+"'"),
	} {
		if _, err := resolve(t, text); err != nil {
			t.Errorf("%s\n%v", text, err)
		}
	}
}

// Statement 23 of the security list: nobody runs with a secret from a document.
func TestStatement23ExampleSecretsAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("changeme\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	of := " = '" + file + "'\n"
	for field, text := range map[string]string{
		"influx.write_token_file": "[influx]\nwrite_token_file" + of,
		"influx.read_token_file":  "[influx]\nread_token_file" + of,
		"oidc.client_secret_file": "[oidc]\nissuer = 'https://sso.b.id'\nclient_secret_file" + of,
		"webhook[0].secret_file":  "[[webhook]]\nname = 'ops'\nurl = 'https://b.id'\nsecret_file" + of,
		"email[0].password_file":  "[[email]]\nname = 'dinas'\nhost = 'b.id'\nport = 25\nfrom = 'a@b.id'\nto = ['c@d.id']\nuser = 'a'\npassword_file" + of,
	} {
		if _, err := resolve(t, text); err == nil || !strings.Contains(err.Error(), field+" = ") || !strings.Contains(err.Error(), "example value") {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
