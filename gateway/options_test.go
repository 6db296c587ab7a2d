package gateway

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// update rewrites the expected files of testcases from what is printed now.
const update = false

// Each folder of testcases holds a settings file and either digest.txt, what
// `pantau-gateway check` prints of it, or init.err, why it is refused: two sensors
// of one name, in whatever case, for example. [tck-id-case-sensitivity-metric-names]
func TestSettingsFiles(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "/var/lib/default")
	folders, err := filepath.Glob("testcases/*")
	if err != nil || len(folders) < 5 {
		t.Fatalf("%d cases, %v", len(folders), err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			o := Defaults()
			err := o.Load(filepath.Join(folder, "gateway.toml"))
			if err == nil {
				err = o.Resolve()
			}
			got, file := "", "init.err"
			if err != nil {
				got = err.Error() + "\n"
			} else {
				got, file = o.Digest(), "digest.txt"
			}
			file = filepath.Join(folder, file)
			if update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%s is not there; the program says:\n%s", file, got)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestSecretsThatOthersMayReadAreRefused(t *testing.T) {
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("rahasia\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := Defaults()
	o.Gateway.Name, o.Gateway.Data = "3374/x", dir
	o.Uplink.Server, o.Uplink.Username, o.Uplink.Password = "mqtt://127.0.0.1:1883", "x", password
	if err := o.Resolve(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
	if err := os.Chmod(password, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := o.Resolve(); err != nil {
		t.Error(err)
	}
}

func TestSettingsReadBackAsWritten(t *testing.T) {
	o := Defaults()
	if err := o.Load("testcases/full/gateway.toml"); err != nil {
		t.Fatal(err)
	}
	if err := o.Resolve(); err != nil {
		t.Fatal(err)
	}
	m, err := o.Settings()
	if err != nil {
		t.Fatal(err)
	}
	list, ok := m["sensor"].([]any)
	if !ok || len(list) != 4 {
		t.Fatalf("sensors: %v", m["sensor"])
	}
	first, ok := list[0].(map[string]any)
	if !ok || first["part"] != "sps30" || first["report"] != "1m0s" {
		t.Errorf("first sensor: %v", list[0])
	}
}
