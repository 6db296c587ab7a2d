package uplink

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/internal/hostclock"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var node = telemetry.Node{Group: "3374", ID: "balai-kota"}

// gateway is spool, clock and uplink as the program puts them together.
type gateway struct {
	t      *testing.T
	dir    string
	spool  *spool.Spool
	clock  *clock.Clock
	uplink *Uplink
	stop   func()
}

func startGateway(t *testing.T, dir, server string, ntp bool, change func(*Options)) *gateway {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	sp, err := spool.Open(spool.Options{
		Dir: filepath.Join(dir, "spool"), Boot: clock.BootID{7}, SyncEvery: 20 * time.Millisecond, FreeFloor: -1, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	cl, err := clock.New(clock.Options{
		Epoch: sp.Epoch(), Boot: clock.BootID{7}, Last: sp.LastMapping(), Record: sp.AddMapping, AssumeNTP: ntp, Logger: log,
		Synced: func() bool { return false }, RTC: func() bool { return false },
	})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Node: node, Server: server, Dir: dir, Spool: sp, Clock: cl, Username: "balai-kota", Password: "rahasia-12345",
		Version: "test", FirstPause: 50 * time.Millisecond, LongestPause: 100 * time.Millisecond, Logger: log,
	}
	if change != nil {
		change(&o)
	}
	up, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := up.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	g := &gateway{t: t, dir: dir, spool: sp, clock: cl, uplink: up}
	stopped := false
	g.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		<-done
		if err := sp.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(g.stop)
	return g
}

func (g *gateway) sample(device string, readings ...telemetry.Reading) uint64 {
	g.t.Helper()
	n, err := g.spool.Append(spool.Sample{Device: device, Boottime: hostclock.Boottime(), Readings: readings})
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

func num(quantity string, v float64) telemetry.Reading {
	return telemetry.Reading{Quantity: quantity, Value: telemetry.Num(v)}
}

func TestReadingsReachTheHostAndLeaveTheSpool(t *testing.T) {
	b := startBroker(t, "allow_anonymous true")
	h := newHost(t, b)
	g := startGateway(t, t.TempDir(), "tcp://"+b.address, true, nil)
	birth := h.next(sparkplug.NBIRTH)
	if birth.seq != 0 || birth.bdSeq != 0 || len(birth.birth.Epochs) != 1 {
		t.Errorf("birth %+v", birth)
	}
	g.sample("air", num("pm2_5", 12.5), telemetry.Reading{Quantity: "pm10", Gap: telemetry.GapChecksum})
	if again := h.next(sparkplug.NBIRTH); again.bdSeq != 0 || len(again.birth.Definitions) != 3 {
		t.Errorf("a new device gives a birth of the same session: %+v", again.birth)
	}
	m := h.next(sparkplug.NDATA)
	if m.run.First != 1 || m.run.Count != 1 || m.run.Backlog || m.run.Quality != telemetry.TimeNTP || m.seq != 1 {
		t.Errorf("run %+v seq %d", m.run, m.seq)
	}
	if d := time.Since(time.UnixMilli(m.records[0].Time)); d < 0 || d > time.Minute {
		t.Errorf("time is %v ago", d)
	}
	g.stop()
	if m := h.next(sparkplug.NDEATH); m.bdSeq != 0 {
		t.Errorf("death %+v", m)
	}
	if st := g.spool.Stats(); st.Records != 0 {
		t.Errorf("%d records left in the spool", st.Records)
	}
}
