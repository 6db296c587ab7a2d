package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// row is one line of a query's answer by column; absent where it is null.
type row map[string]any

// query asks the database itself, past our own code.
func (r *rig) query(q string) []row {
	r.t.Helper()
	rows, err := r.ask(http.MethodGet, q, "", "")
	if err != nil {
		r.t.Fatalf("%s: %v", q, err)
	}
	return rows
}

// ask sends a statement, as a user if one is named.
func (r *rig) ask(method, q, user, password string) ([]row, error) {
	form := url.Values{"db": {"pantau"}, "q": {q}, "epoch": {"ns"}}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.influx.URL+"/query?"+form.Encode(), nil)
	if err != nil {
		return nil, err
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error   string
		Results []struct {
			Error  string
			Series []struct {
				Name    string
				Columns []string
				Values  [][]any
			}
		}
	}
	dec := json.NewDecoder(resp.Body)
	dec.UseNumber()
	if err := dec.Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s: %s", resp.Status, answer.Error)
	}
	var out []row
	for _, result := range answer.Results {
		if result.Error != "" {
			return nil, fmt.Errorf("%s: %s", resp.Status, result.Error)
		}
		for _, s := range result.Series {
			for _, v := range s.Values {
				one := row{"": s.Name}
				for i, c := range s.Columns {
					if v[i] != nil {
						one[c] = v[i]
					}
				}
				out = append(out, one)
			}
		}
	}
	return out, nil
}

// influxWrite writes lines past our own code.
func (r *rig) influxWrite(lines, user, password string) error {
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.influx.URL+"/write?db=pantau&rp=raw", strings.NewReader(lines))
	if err != nil {
		return err
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("write: %s: %s", resp.Status, resp.Header.Get("X-Influxdb-Error"))
	}
	return nil
}

func (r row) number(column string) (float64, bool) {
	n, ok := r[column].(json.Number)
	if !ok {
		return 0, false
	}
	v, err := n.Float64()
	return v, err == nil
}

func (r row) text(column string) string {
	s, _ := r[column].(string)
	return s
}

// time is the point's, without the number of the clock id.
func (r row) time() int64 {
	n, ok := r["time"].(json.Number)
	if !ok {
		return 0
	}
	v, err := n.Int64()
	if err != nil {
		return 0
	}
	return v / int64(time.Millisecond)
}

// quoted writes a text as InfluxQL wants it.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// stored reads every raw point of a node, of all kinds.
func (r *rig) stored(node telemetry.Node) []row {
	r.t.Helper()
	var q []string
	for _, kind := range telemetry.Kinds() {
		q = append(q, fmt.Sprintf(`SELECT * FROM "pantau"."raw"."%s" WHERE "group" = %s AND gateway = %s`, kind, quoted(node.Group), quoted(node.ID)))
	}
	return r.query(strings.Join(q, ";"))
}

// labelled reads all values of one of the server's metrics, by their labels as
// they are printed.
func (r *rig) labelled(name string) map[string]float64 {
	out := map[string]float64{}
	resp, err := http.Get("http://" + r.ready.Addresses["http"] + "/metrics")
	if err != nil {
		return out
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name+"{")
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(rest, "} ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out[labels] = v
		}
	}
	return out
}
