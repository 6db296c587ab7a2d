package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/influxtest"
)

// startInflux starts an InfluxDB 1.8 of its own, unless the environment names
// another, with one user that only writes and one that only reads.
func (d *demo) startInflux(ctx context.Context) error {
	if os.Getenv("PANTAU_INFLUX_URL") != "" {
		return nil
	}
	db, err := influxtest.Start(ctx, influxtest.Config{Binary: ".setup/bin/influxd", Dir: d.path("influx"), Auth: true})
	if err != nil {
		return err
	}
	d.stack.Add("database", func(context.Context) error { db.Stop(); return nil })
	passwords := map[string]string{}
	for _, user := range []string{"admin", "writer", "reader"} {
		if passwords[user], err = kept(d.path("influx", user+".password")); err != nil {
			return err
		}
	}
	admin := url.UserPassword("admin", passwords["admin"])
	// The first user can be made without signing in, once.
	if err := query(ctx, db.URL, nil, fmt.Sprintf(`CREATE USER admin WITH PASSWORD '%s' WITH ALL PRIVILEGES`, passwords["admin"])); err != nil && !strings.Contains(err.Error(), "unable to parse authentication credentials") {
		return err
	}
	for _, q := range []string{
		`CREATE DATABASE pantau`,
		`CREATE RETENTION POLICY raw ON pantau DURATION INF REPLICATION 1 DEFAULT`,
		`CREATE RETENTION POLICY hours ON pantau DURATION INF REPLICATION 1`,
		`CREATE RETENTION POLICY days ON pantau DURATION INF REPLICATION 1`,
		fmt.Sprintf(`CREATE USER writer WITH PASSWORD '%s'`, passwords["writer"]),
		fmt.Sprintf(`CREATE USER reader WITH PASSWORD '%s'`, passwords["reader"]),
		`GRANT WRITE ON pantau TO writer`,
		`GRANT READ ON pantau TO reader`,
	} {
		if err := query(ctx, db.URL, admin, q); err != nil {
			return err
		}
	}
	return errors.Join(
		os.Setenv("PANTAU_INFLUX_URL", db.URL),
		os.Setenv("PANTAU_INFLUX_WRITE_TOKEN", "writer:"+passwords["writer"]),
		os.Setenv("PANTAU_INFLUX_READ_TOKEN", "reader:"+passwords["reader"]),
	)
}

// kept returns the secret of a file, made at the first call.
func kept(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret := random()
		return secret, os.WriteFile(path, []byte(secret), 0o600)
	}
	return string(text), err
}

// query runs one InfluxQL statement; statements here are of our own making.
func query(ctx context.Context, base string, user *url.Userinfo, q string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/query", strings.NewReader(url.Values{"q": {q}}.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || strings.Contains(string(body), `"error"`) {
		return fmt.Errorf("InfluxDB answers %s to %.30s…: %s", resp.Status, q, body)
	}
	return nil
}
