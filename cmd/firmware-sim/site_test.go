package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// standIn is a gateway program that cannot reach the server at its first claim,
// and then says through a pipe what it was started with.
const standIn = `#!/bin/sh
dir=$(dirname "$0")
case "$1" in
claim)
	echo "$@" >>"$dir/claims"
	[ -e "$dir/tried" ] && exit 0
	touch "$dir/tried"
	exit 3 ;;
esac
{ echo "$@"; cat "$2"; } >"$dir/said"
trap 'exit 0' TERM
while :; do read -r line <"$dir/never"; done
`

func TestSiteClaimsOnceAndRunsTheGatewayOnTheChips(t *testing.T) {
	dir := t.TempDir()
	program, code := filepath.Join(dir, "gateway"), filepath.Join(dir, "code")
	for file, text := range map[string]string{program: standIn, code: "kode-sekali-pakai\n"} {
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, pipe := range []string{"said", "never"} {
		if err := unix.Mkfifo(filepath.Join(dir, pipe), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for run := range 2 { // the second one is claimed already
		ctx, cancel := context.WithCancel(t.Context())
		cmd := root()
		cmd.SetErr(io.Discard)
		cmd.SetArgs([]string{"site", "--server", "server:8883", "--data", filepath.Join(dir, "data"), "--claim-file", code, "--gateway", program, "--retry", "1ms"})
		ended := make(chan error, 1)
		go func() { ended <- cmd.ExecuteContext(ctx) }()
		said, err := os.ReadFile(filepath.Join(dir, "said"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"--config", `server = "mqtts://server:8883"`, `part = "sps30"`, filepath.Join(dir, "data", "chips", "i2c-1.sock")} {
			if !strings.Contains(string(said), want) {
				t.Errorf("run %d: the gateway was not told %s:\n%s", run, want, said)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "data", "chips", "ttyRTU")); err != nil {
			t.Errorf("run %d: the chips: %v", run, err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run %d: end: %v", run, err)
		}
	}
	claims, err := os.ReadFile(filepath.Join(dir, "claims"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(claims), "claim kode-sekali-pakai --server server:8883"); n != 2 {
		t.Errorf("%d claims, want one in vain and one more:\n%s", n, claims)
	}
}
