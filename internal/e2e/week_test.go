package e2e

import (
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// DESIGN 13, with real processes: a week of history in random order, twice, over
// kill -9 of the server in between, ends with the rows and figures of the same week
// in order.
func TestAWeekInAnyOrderOverKillsIsTheWeekInOrder(t *testing.T) {
	t.Parallel()
	const packets, each = 168, 6                        // an hour in each
	end := figures.Day(time.Now().Add(-24 * time.Hour)) // a day that is over
	from := end.Add(-packets * time.Hour)
	values := rand.New(rand.NewPCG(1, 2))
	week := make([][]telemetry.Record, packets)
	for p := range week {
		for i := range each {
			if values.IntN(20) == 0 {
				continue // lost on the way to the gateway
			}
			at := from.Add(time.Duration(p)*time.Hour + time.Duration(i)*10*time.Minute + time.Minute)
			week[p] = append(week[p], record("udara", at, "pm2_5", math.Round(600*values.ExpFloat64())/10))
		}
	}
	play := func(order []int, kills ...int) (hours, hourly, daily []map[string]any) {
		r := newRig(t)
		r.place("code,name,district,lat,lon,class,public\n3374-09,Sepekan,3374,-6.99,110.42,acuan,true\n")
		r.importNodes("3374,pekan,kata-sandi-pekan,3374,3374-09\n", 1)
		epoch := telemetry.Epoch(time.Now().UnixNano())
		connect := func() *device {
			d := r.connect("3374/pekan", "kata-sandi-pekan")
			d.every, d.epoch, d.lowest = 10*time.Minute, epoch, 1
			d.born(series{device: "udara", quantity: "pm2_5", kind: sparkplug.TypeDouble, unit: telemetry.MicrogramPerCubicMetre})
			return d
		}
		d := connect()
		for n, p := range order {
			if slices.Contains(kills, n) {
				r.server.kill()
				r.serve()
				d = connect()
			}
			d.number = uint64(p * each) // a packet that comes again has its numbers again
			d.send(slices.Clone(week[p])...)
		}
		r.computed()
		span := "?site=3374-09&limit=1000&from=" + from.Format(time.RFC3339) + "&to=" + end.Format(time.RFC3339)
		return r.rows("/api/v1/observations" + span + "&resolution=hour"), r.rows("/api/v1/indices" + span), r.rows("/api/v1/indices" + span + "&kind=daily")
	}
	inOrder := make([]int, packets)
	for i := range inOrder {
		inOrder[i] = i
	}
	mixed := append(slices.Clone(inOrder), inOrder...)
	values.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	wantHours, wantHourly, wantDaily := play(inOrder)
	hours, hourly, daily := play(mixed, 100, 230)
	if len(wantHours) < packets-1 || len(wantHourly) != packets || len(wantDaily) != 7 {
		t.Errorf("in order there are %d hours, %d hourly figures and %d days", len(wantHours), len(wantHourly), len(wantDaily))
	}
	for what, rows := range map[string][2][]map[string]any{"hours": {wantHours, hours}, "hourly figures": {wantHourly, hourly}, "days": {wantDaily, daily}} {
		want, got := said(t, rows[0]), said(t, rows[1])
		if len(want) != len(got) {
			t.Errorf("%s: %d in order, %d mixed", what, len(want), len(got))
			continue
		}
		for i := range want {
			if want[i] != got[i] {
				t.Fatalf("%s:\nin order %s\nmixed    %s", what, want[i], got[i])
			}
		}
	}
}

// rows reads a list of the public interface.
func (r *rig) rows(path string) []map[string]any {
	r.t.Helper()
	resp, err := http.Get(r.ready.Pages + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %s %v %.300s", path, resp.Status, err, body)
	}
	var list struct {
		Data []map[string]any
	}
	if err := json.Unmarshal(body, &list); err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
	return list.Data
}

// said is what rows say, without when and how often that was computed.
func said(t *testing.T, rows []map[string]any) (out []string) {
	t.Helper()
	for _, row := range rows {
		for _, k := range []string{"id", "revision", "reason", "computed", "published", "hash", "trace"} {
			delete(row, k)
		}
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return out
}
