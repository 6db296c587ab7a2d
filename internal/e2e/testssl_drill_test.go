//go:build drill

package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// accepted are findings of testssl.sh that stand, with the reason.
var accepted = map[string]string{
	"cert_revocation": "nobody but gateways believes this authority; the door's key lives in memory only, its certificate 90 days, and gateways' own certificates are revoked in the registry",
}

// Statement 12: testssl.sh finds nothing above LOW, with the authority added. It
// takes two minutes, so it is no part of `make test`; TestTLS of the broker is.
func TestStatement12TestSSL(t *testing.T) {
	r := newRig(t)
	report := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.Command("testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1",
		"--add-ca", filepath.Join(r.data(), "ca.pem"), "--jsonfile", report, "localhost:"+r.door[strings.LastIndexByte(r.door, ':')+1:])
	out, err := cmd.CombinedOutput() // its exit code counts findings
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("this drill needs testssl.sh: apt-get install testssl.sh")
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var findings []struct{ ID, Severity, Finding string }
	if err := json.Unmarshal(text, &findings); err != nil {
		t.Fatal(err)
	}
	if len(findings) < 100 {
		t.Errorf("only %d findings: it did not look at everything\n%s", len(findings), out)
	}
	for _, f := range findings {
		switch f.Severity {
		case "OK", "INFO", "DEBUG":
		case "MEDIUM", "HIGH", "CRITICAL", "FATAL":
			if why, ok := accepted[f.ID]; ok {
				t.Logf("%s %s: %s; it stands: %s", f.Severity, f.ID, f.Finding, why)
				continue
			}
			t.Errorf("%s %s: %s", f.Severity, f.ID, f.Finding)
		default:
			t.Logf("%s %s: %s", f.Severity, f.ID, f.Finding)
		}
	}
}
