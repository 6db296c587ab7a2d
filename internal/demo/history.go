package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
)

// hall is the code of the site where the three gateways with chips hang.
const hall = "3374-04"

// registerPlaces registers what the province consists of, once: the places first,
// since a class that comes later holds from then on only.
func (d *demo) registerPlaces(ctx context.Context) error {
	done := d.path("posts", "registered")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if _, err := d.output(ctx, "firmware-sim", "history", "--make", d.path("posts")); err != nil {
		return err
	}
	chips := d.path("posts", "chips.csv")
	text := "code,name,district,lat,lon,operator,public,simulated\n" +
		hall + ",Balai Kota Semarang,3374,-6.9815,110.4126,Simulasi Pantau,true,true\n"
	if err := os.WriteFile(chips, []byte(text), 0o600); err != nil {
		return err
	}
	data := d.path("server")
	if err := d.setFigureRules(ctx, data); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"place", "import", d.path("posts", "sites.csv"), d.path("posts", "sensors.csv"), d.path("posts", "deployments.csv"), "--data", data},
		{"place", "import", chips, "--data", data},
		{"gateway", "import", d.path("posts", "gateways.csv"), "--simulated", "--data", data},
	} {
		if _, err := d.output(ctx, "pantau", args...); err != nil {
			return fmt.Errorf("%w\n(if %s is of an earlier version: rm -r %s begins anew)", err, d.dir, d.dir)
		}
	}
	return os.WriteFile(done, nil, 0o600)
}

// setFigureRules says in which gas the full stations' hydrocarbon analysers were
// calibrated, without which a ppb of them has no mass, and asks for a bulletin every
// hour, so that there is one to look at.
func (d *demo) setFigureRules(ctx context.Context, data string) error {
	text, err := d.output(ctx, "pantau", "figures", "rules", "show", "--data", data)
	if err != nil {
		return err
	}
	var rules figures.Rules
	if err := json.Unmarshal(text, &rules); err != nil {
		return fmt.Errorf("read the rules of the figures: %w", err)
	}
	rules.HCGas = map[string]string{"3301-03": "methane", "3372-03": "methane", "3374-03": "methane"}
	rules.Bulletins = nil
	for hour := range 24 {
		rules.Bulletins = append(rules.Bulletins, hour)
	}
	if text, err = json.MarshalIndent(rules, "", "  "); err != nil {
		return err
	}
	file := d.path("posts", "ispu.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	_, err = d.output(ctx, "pantau", "figures", "rules", "set", file, "--data", data, "--since", time.Now().AddDate(0, 0, -40).Format("2006-01-02 15:04"),
		"--reason", "Simulasi: penganalisis HC stasiun lengkap dikalibrasi dengan metana; buletin terbit tiap jam")
	return err
}

// startHistory plays the posts of the province, from where they were at the end of
// the run before.
func (d *demo) startHistory(ctx context.Context) error {
	return d.start(ctx, "province", "firmware-sim", "history", "--server", "mqtts://"+d.ready.Addresses["mqtt"],
		"--ca", d.path("server", "ca.pem"), "--credentials", d.path("posts", "gateways.csv"), "--state", d.path("history.json"))
}

// watchHistory says in one line how far the past is, until it is all there.
func (d *demo) watchHistory(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := ""
	for width := 0; ; {
		line, done := d.progress(ctx)
		if line != "" && line != last {
			last = line
			fmt.Printf("\r%-*s", width, line)
			width = max(width, len(line))
		}
		if done {
			fmt.Println()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// progress reads how far the past is from what the player and the server say of
// themselves.
func (d *demo) progress(ctx context.Context) (line string, done bool) {
	text, err := os.ReadFile(d.path("history.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return "history: the posts connect …", false
	}
	var sent struct{ Due, Arrived uint64 }
	if err != nil || json.Unmarshal(text, &sent) != nil || sent.Due == 0 {
		return "", false
	}
	waits, err := d.gauges(ctx, "pantau_ingest_dirty_hours", "pantau_publication_dirty_site_days", "pantau_publication_due_site_days")
	if err != nil {
		return "", false
	}
	// A handful always waits: the running hour of each gateway.
	if sent.Arrived+200 >= sent.Due && waits[0] < 200 && waits[1]+waits[2] < 100 {
		return "history: 30 days are there, with their figures", true
	}
	return fmt.Sprintf("history: %d %% sent, %.0f hours and %.0f days of figures still to compute", 100*sent.Arrived/sent.Due, waits[0], waits[1]+waits[2]), false
}

// gauges reads values of the server's metrics.
func (d *demo) gauges(ctx context.Context, names ...string) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.ready.Pages+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := make([]float64, len(names))
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		for i, name := range names {
			if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
				if out[i], err = strconv.ParseFloat(text, 64); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}
