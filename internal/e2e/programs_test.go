package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/internal/server"
)

// letter is what a mail server was handed, and how.
type letter struct {
	signedIn string // user and password
	secret   bool   // over TLS, with the sign-in
	text     string
}

// mailServer is an SMTP server (RFC 5321) on loopback that wants TLS (RFC 3207) and
// then a sign-in (RFC 4954) before it takes a letter.
func mailServer(t testing.TB) (port int, ca string, letters <-chan letter) {
	t.Helper()
	certified := httptest.NewTLSServer(nil) // for its certificate of 127.0.0.1
	t.Cleanup(certified.Close)
	ca = papersFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw})))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // it ends the loop below
	out := make(chan letter, 16)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go takeLetter(conn, certified.TLS, out)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, ca, out
}

func takeLetter(conn net.Conn, c *tls.Config, out chan<- letter) {
	defer func() { _ = conn.Close() }() // the sender may be gone
	r := bufio.NewReader(conn)
	say := func(lines ...string) { _, _ = fmt.Fprint(conn, strings.Join(lines, "\r\n")+"\r\n") } // likewise
	var got letter
	say("220 mail ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		words := append(strings.Fields(line), "", "", "")
		switch verb := strings.ToUpper(words[0]); {
		case verb == "EHLO" && got.secret:
			say("250-mail", "250 AUTH PLAIN")
		case verb == "EHLO":
			say("250-mail", "250 STARTTLS")
		case verb == "STARTTLS":
			say("220 go on")
			conn = tls.Server(conn, c)
			r, got.secret = bufio.NewReader(conn), true
		case verb == "AUTH" && got.secret:
			text, err := base64.StdEncoding.DecodeString(words[2])
			if err != nil {
				say("501 what?")
				continue
			}
			got.signedIn = strings.Trim(strings.ReplaceAll(string(text), "\x00", " "), " ")
			say("235 welcome")
		case verb == "QUIT":
			say("221 bye")
			return
		case verb == "NOOP" || verb == "RSET":
			say("250 ok")
		case got.signedIn == "":
			say("530 sign in first")
		case verb == "DATA":
			say("354 go on")
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
				got.text += line
			}
			out <- got
			say("250 kept")
		default:
			say("250 ok")
		}
	}
}

// output runs a program to its end and returns what it prints as JSON.
func output[T any](t testing.TB, program string, args ...string) (out T) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	text, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, text)
	}
	return out
}

// What the guides tell people to do beside the gateway: the database's tokens from
// files, alerts by e-mail, and simulated fleets from the command line.
func TestProgramsAsTheGuidesStartThem(t *testing.T) {
	t.Parallel()
	port, ca, letters := mailServer(t)
	r := bareRig(t)
	writer, reader := guardedInflux(t, r)
	r.env = []string{"SSL_CERT_FILE=" + ca}
	config := papersFile(t, fmt.Sprintf("[influx]\nwrite_token_file = %q\nread_token_file = %q\n[[email]]\nname = \"dinas\"\nhost = \"127.0.0.1\"\nport = %d\nuser = \"pantau\"\npassword_file = %q\nfrom = \"pantau@example.org\"\nto = [\"piket@example.org\"]\n",
		papersFile(t, "writer:"+writer+"\n"), papersFile(t, "reader:"+reader+"\n"), port, papersFile(t, "kata-sandi-surat\n")))
	r.flags = []string{"--config", config}
	r.serve()
	rules := papersFile(t, `[{"id":"any","name":"Debu terlihat","name_en":"Dust seen","quantity":"pm2_5","condition":"above","threshold":-1,"clear":-2,"for":"0s","clear_for":"0s","severity":"warning","scope":{}}]`)
	if err := r.admin(&server.Done{}, "rules", "set", rules); err != nil {
		t.Fatal(err)
	}

	credentials, ledger := filepath.Join(r.dir, "credentials.csv"), filepath.Join(r.dir, "ledger.tsv")
	if out, err := exec.Command(filepath.Join(bin, "firmware-sim"), "fleet", "--make-credentials", credentials, "--gateways", "3").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var imported server.ImportResult
	if err := r.admin(&imported, "gateway", "import", credentials); err != nil || imported.Imported != 3 {
		t.Fatalf("%+v, %v", imported, err)
	}
	played := output[fleet.Result](t, "firmware-sim", "fleet", "--server", "mqtts://"+r.door, "--ca", filepath.Join(r.data(), "ca.pem"),
		"--credentials", credentials, "--interval", "200ms", "--for", "3s", "--ledger", ledger, "--json")
	if played.Gateways != 3 || played.Readings == 0 || played.Pending != 0 {
		t.Errorf("%+v", played)
	}
	r.complete(played, ledger)

	r.importNodes("3374,asing,kata-sandi-asing,3374,\n", 1)
	foreign := output[fleet.AQMSResult](t, "firmware-sim", "aqms", "--server", "mqtts://"+r.door, "--ca", filepath.Join(r.data(), "ca.pem"),
		"--node", "3374/asing", "--password-file", papersFile(t, "kata-sandi-asing\n"), "--qos", "1", "--interval", "200ms", "--for", "3s", "--json")
	if foreign.Connects != 1 || foreign.Messages == 0 {
		t.Errorf("%+v", foreign)
	}
	await(t, "the foreign node's readings", patience, func() bool {
		rows, err := r.ask("GET", `SELECT hc_ppb FROM "pantau"."raw"."air" WHERE gateway = 'asing'`, "reader", reader)
		return err == nil && uint64(len(rows)) >= foreign.Messages
	})

	select {
	case got := <-letters:
		if !got.secret || got.signedIn != "pantau kata-sandi-surat" || !strings.Contains(got.text, "piket@example.org") || !strings.Contains(got.text, "Debu terlihat") {
			t.Errorf("the letter: %+v", got)
		}
	case <-time.After(patience):
		t.Error("no letter came")
	}
	r.server.stop()
	if log, _ := r.server.log.state(); strings.Contains(log, "kata-sandi-surat") {
		t.Error("the log holds the mail server's password")
	}
}
