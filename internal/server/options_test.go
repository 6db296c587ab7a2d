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

// Statement 23 of the security list: nobody runs with a secret from a document.
func TestStatement23ExampleSecretsAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("changeme\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := resolve(t, "[influx]\nwrite_token_file = '"+file+"'"); err == nil || !strings.Contains(err.Error(), "example value") {
		t.Errorf("got %v", err)
	}
}
