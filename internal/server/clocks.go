package server

import (
	"context"
	"fmt"
	"time"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// ruleClock names the alerts of gateways whose clock is behind: all that they
// bring is late, so no other alert would come of it. It is no rule of the
// journal, since it judges by receive time.
const ruleClock = "clock-behind"

// clocksEvery is how often clocks are looked at.
const clocksEvery = 15 * time.Second

// watchClocks makes alerts of clocks that are behind, and ends them.
func (s *Server) watchClocks(ctx context.Context) error {
	tick := time.NewTicker(clocksEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !s.synced() {
			continue // it may be ours that is wrong
		}
		if err := s.book.Keep(ctx, clockAlarms(s.book.Open(), s.view.all(), time.Now())); err != nil && ctx.Err() == nil {
			s.log.Warn("the alert of a clock that is behind could not be kept; trying again", "error", err)
		}
	}
}

// clockAlarms compares what is open with what the nodes are like.
func clockAlarms(open []ingest.AlertRecord, nodes []ingest.Node, now time.Time) []alert.Transition {
	firing := map[telemetry.Node]alert.Transition{}
	for _, r := range open {
		if r.Firing.Rule == ruleClock {
			firing[r.Firing.Series.Node] = r.Firing
		}
	}
	var out []alert.Transition
	for _, n := range nodes {
		if !n.ClockBad {
			continue
		}
		if _, known := firing[n.Node]; !known {
			key := fmt.Sprintf("%s|%s|%d", ruleClock, n.Node, n.LateSince)
			out = append(out, alert.Transition{Key: key, Alert: key, Rule: ruleClock, Name: "Jam gateway terlambat", NameEN: "Gateway's clock is behind",
				Severity: alert.Warning, Series: alert.Series{Node: n.Node}, State: alert.Firing, Time: n.LateSince / int64(time.Millisecond)})
		}
		delete(firing, n.Node)
	}
	for _, t := range firing { // right again, or forgotten
		t.Key, t.State, t.Time = t.Key+"|"+string(alert.Resolved), alert.Resolved, now.UnixMilli()
		out = append(out, t)
	}
	return out
}
