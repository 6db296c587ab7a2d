package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/internal/influxtest"
)

// guardedInflux starts a database that asks for passwords, with one user that
// only writes and one that only reads, and returns it with the server's
// environment.
func guardedInflux(t testing.TB, r *rig) (writer, reader string) {
	t.Helper()
	db, err := influxtest.Start(t.Context(), influxtest.Config{Dir: filepath.Join(t.TempDir(), "influxdb"), Auth: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Kill)
	r.influx = db
	writer, reader = "a-secret-that-writes", "a-secret-that-reads"
	for i, q := range []string{
		`CREATE USER admin WITH PASSWORD 'a-secret-of-admin' WITH ALL PRIVILEGES`,
		`CREATE DATABASE pantau`,
		`CREATE RETENTION POLICY raw ON pantau DURATION INF REPLICATION 1 DEFAULT`,
		`CREATE RETENTION POLICY hours ON pantau DURATION INF REPLICATION 1`,
		`CREATE RETENTION POLICY days ON pantau DURATION INF REPLICATION 1`,
		fmt.Sprintf(`CREATE USER writer WITH PASSWORD '%s'`, writer),
		fmt.Sprintf(`CREATE USER reader WITH PASSWORD '%s'`, reader),
		`GRANT WRITE ON pantau TO writer`,
		`GRANT READ ON pantau TO reader`,
	} {
		user := "admin"
		if i == 0 {
			user = "" // the first user can be made without signing in, once
		}
		if _, err := r.ask(http.MethodPost, q, user, "a-secret-of-admin"); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	r.env = []string{"PANTAU_INFLUX_WRITE_TOKEN=writer:" + writer, "PANTAU_INFLUX_READ_TOKEN=reader:" + reader}
	return writer, reader
}

// Statement 24: the database's user that writes can't read, the one that reads
// can't write, and the server does all of its work with these two.
func TestTokenThatWritesCannotRead(t *testing.T) {
	t.Parallel()
	r := bareRig(t)
	writer, reader := guardedInflux(t, r)
	r.serve()
	result, file := r.play(5, fleet.Options{Interval: 100 * time.Millisecond, For: 5 * time.Second, Seed: 12}, nil)
	r.complete(result, file) // written by one user, read back by the other

	const q = `SELECT count(pm2_5) FROM "pantau"."raw"."air"`
	rows, err := r.ask(http.MethodGet, q, "reader", reader)
	if err != nil || len(rows) != 1 {
		t.Errorf("the user that reads: %v, %v", rows, err)
	}
	if rows, err := r.ask(http.MethodGet, q, "writer", writer); err == nil && len(rows) > 0 {
		t.Errorf("the user that writes read %v", rows)
	} else {
		t.Logf("the user that writes asks: %v, %v", rows, err)
	}
	line := fmt.Sprintf("other,device=uji x=1 %d\n", time.Now().UnixNano())
	if err := r.influxWrite(line, "writer", writer); err != nil {
		t.Errorf("the user that writes: %v", err)
	}
	if err := r.influxWrite(line, "reader", reader); err == nil {
		t.Error("the user that reads wrote a point")
	} else {
		t.Logf("the user that reads writes: %v", err)
	}
	for user, password := range map[string]string{"writer": writer, "reader": reader} {
		for _, q := range []string{`DROP MEASUREMENT "air"`, `DROP DATABASE pantau`, `CREATE USER eve WITH PASSWORD 'eve' WITH ALL PRIVILEGES`, `SHOW USERS`} {
			if rows, err := r.ask(http.MethodPost, q, user, password); err == nil {
				t.Errorf("%s may %s: %v", user, q, rows)
			}
		}
	}
	if _, err := r.ask(http.MethodGet, q, "", ""); err == nil {
		t.Error("anybody may read")
	}
	r.server.stop()
	log, _ := r.server.log.state()
	for _, secret := range []string{writer, reader, url.QueryEscape(writer)} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
}
