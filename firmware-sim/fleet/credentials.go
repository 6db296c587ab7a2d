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
	"path/filepath"
	"strconv"
	"strings"
	"time"

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
	rows := [][]string{importColumns}
	for _, c := range all {
		rows = append(rows, []string{c.Node.Group, c.Node.ID, c.Password, c.Node.Group, "simulasi-" + c.Node.Group + "-" + c.Node.ID})
	}
	return writeCSV(path, rows)
}

// WritePosts writes into a folder what registers posts: gateways.csv with new
// passwords for `pantau gateway import`, and sites.csv, sensors.csv and
// deployments.csv for `pantau place import`. Certificates are dated as of now.
func WritePosts(dir string, posts []Post, now time.Time) error {
	date := func(days int) string { return now.In(wib).AddDate(0, 0, days).Format(time.DateOnly) }
	degrees := func(v float64) string { return strconv.FormatFloat(v, 'f', 4, 64) }
	gateways := [][]string{importColumns}
	sites := [][]string{{"code", "name", "district", "lat", "lon", "class", "certificate_number", "certificate_issuer",
		"certificate_collocated", "certificate_expires", "operator", "public", "simulated"}}
	sensors := [][]string{{"id", "name", "maker", "model", "serial", "calibrated", "note"}}
	deployments := [][]string{{"site", "sensor", "node", "device"}}
	for i := range posts {
		p := &posts[i]
		gateways = append(gateways, []string{p.Node.Group, p.Node.ID, randomPassword(), p.District.Code, p.Site})
		site := []string{p.Site, p.Name, p.District.Code, degrees(p.Lat), degrees(p.Lon), p.Class, "", "", "", "", "Simulasi Pantau", "true", "true"}
		if p.Class == "sni9178" {
			copy(site[6:], []string{fmt.Sprintf("SIM-9178-%s", p.Site), "Simulasi, bukan sertifikat", date(-150), date(215)})
		}
		sites = append(sites, site)
		for _, one := range p.instruments {
			id := p.Site + "-" + one.device
			sensors = append(sensors, []string{id, one.device, "Pantau", "simulasi", id, date(-60 - i%30), "simulasi: tidak ada alatnya"})
			deployments = append(deployments, []string{p.Site, id, p.Node.String(), one.device})
		}
	}
	for name, rows := range map[string][][]string{"gateways": gateways, "sites": sites, "sensors": sensors, "deployments": deployments} {
		if err := writeCSV(filepath.Join(dir, name+".csv"), rows); err != nil {
			return err
		}
	}
	return nil
}

// importColumns is the head of the file that registers gateways.
var importColumns = []string{"group", "name", "password", "district", "site"}

// writeCSV writes a file that only its owner reads.
func writeCSV(path string, rows [][]string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	w := csv.NewWriter(f)
	err = w.WriteAll(rows)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
