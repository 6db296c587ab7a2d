package fleet

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Credential is how one gateway logs in: by a certificate, or by user name
// ("group/name") and password.
type Credential struct {
	Node        telemetry.Node
	Password    string
	Certificate *tls.Certificate // nil = by password
}

// ReadCredentials reads a CSV file whose first line names the columns; group,
// name and password must be among them, others are ignored. It is the file that
// `pantau gateway import` takes.
func ReadCredentials(path string) ([]Credential, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	head, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read credentials from %s: %w", path, err)
	}
	column := map[string]int{}
	for i, name := range head {
		column[strings.ToLower(strings.TrimSpace(name))] = i
	}
	for _, name := range []string{"group", "name", "password"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("read credentials from %s: its first line names no column %q", path, name)
		}
	}
	var out []Credential
	for line := 2; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read credentials from %s: %w", path, err)
		}
		field := func(name string) string {
			if i := column[name]; i < len(row) {
				return strings.TrimSpace(row[i])
			}
			return ""
		}
		node, err := telemetry.ParseNode(field("group") + "/" + field("name"))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
		out = append(out, Credential{Node: node, Password: field("password")})
	}
}

// MakeCredentials invents n gateways with random passwords, spread over the
// groups in turn.
func MakeCredentials(n int, groups ...string) []Credential {
	var out []Credential
	for i := range n {
		out = append(out, Credential{
			Node:     telemetry.Node{Group: groups[i%len(groups)], ID: fmt.Sprintf("sim-%05d", i/len(groups)+1)},
			Password: randomPassword(),
		})
	}
	return out
}

func randomPassword() string {
	var b [18]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// WriteCredentials writes what ReadCredentials reads, with the district (the
// group) and a site of its own for each gateway, mode 0600.
func WriteCredentials(path string, all []Credential) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	w := csv.NewWriter(f)
	err = w.Write([]string{"group", "name", "password", "district", "site"})
	for _, c := range all {
		if err == nil {
			err = w.Write([]string{c.Node.Group, c.Node.ID, c.Password, c.Node.Group, "Simulasi " + c.Node.Group + " " + c.Node.ID})
		}
	}
	w.Flush()
	if err = errors.Join(err, w.Error(), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write credentials to %s: %w", path, err)
	}
	return nil
}
