package e2e

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/gateway"
	"github.com/pantau-id/pantau/internal/server"
)

// certify lets n gateways claim certificates, as the real program does.
func (r *rig) certify(n int) []fleet.Credential {
	r.t.Helper()
	out := make([]fleet.Credential, n)
	dir := r.t.TempDir()
	client := server.NewClient(r.data())
	var work errgroup.Group
	work.SetLimit(8)
	for i := range n {
		work.Go(func() error {
			ctx := r.t.Context()
			var claim server.Claim
			if err := client.Call(ctx, "POST", "/gateways", server.AddGateway{District: "3374", Name: fmt.Sprintf("kawanan-%04d", i)}, &claim); err != nil {
				return err
			}
			id, err := gateway.Claim(ctx, gateway.ClaimOptions{Code: claim.Code, Server: r.door, Data: filepath.Join(dir, fmt.Sprint(i))})
			if err != nil {
				return err
			}
			pair, err := tls.X509KeyPair([]byte(id.Certificate), []byte(id.Key))
			out[i] = fleet.Credential{Node: id.Node, Certificate: &pair}
			return err
		})
	}
	if err := work.Wait(); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// E11: thousands of gateways with certificates are cut at once, and again. All
// are back in time (herdBack), nothing is lost, and the server's memory does not
// grow from one time to the next.
func TestHerdComesBack(t *testing.T) {
	t.Parallel()
	const n = herd
	r := newRig(t)
	begin := time.Now()
	credentials := r.certify(n)
	t.Logf("%d gateways claimed certificates in %v", n, time.Since(begin).Round(time.Millisecond))
	ca, err := os.ReadFile(filepath.Join(r.data(), "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	connected, enough := make(chan struct{}), make(chan struct{})
	type outcome struct {
		result fleet.Result
		err    error
	}
	ended := make(chan outcome, 1)
	ledger := filepath.Join(r.dir, "fleet.tsv")
	go func() {
		result, err := fleet.Run(t.Context(), fleet.Options{
			Server: "mqtts://" + r.door, CA: ca, Gateways: credentials, Interval: 5 * time.Second, For: 10 * time.Minute, Enough: enough,
			Drain: 2 * time.Minute, Ledger: ledger, Seed: 14, Started: func() { close(connected) },
		})
		ended <- outcome{result, err}
	}()
	select {
	case <-connected:
	case out := <-ended:
		t.Fatalf("the fleet ended before it was connected: %+v, %v", out.result, out.err)
	}
	var memory []float64
	for range herdReturns {
		r.server.kill()
		cut := time.Now()
		r.serve()
		await(t, "all gateways back", herdBack, func() bool { s, ok := r.metric("pantau_broker_sessions"); return ok && s == n })
		back := time.Since(cut)
		pause(t, 5*time.Second) // each has sent since
		rss, ok := r.metric("process_resident_memory_bytes")
		if !ok {
			t.Error("the server does not say what memory it holds")
		}
		memory = append(memory, rss)
		t.Logf("%d gateways back %v after the cut; the server holds %.0f MB", n, back.Round(10*time.Millisecond), rss/1e6)
	}
	close(enough)
	out := <-ended
	if out.err != nil || out.result.Pending > 0 {
		t.Fatalf("%+v, %v", out.result, out.err)
	}
	if c := out.result.Connects; c < (herdReturns+1)*n {
		t.Errorf("only %d connects: not all were cut", c)
	}
	if last := memory[herdReturns-1]; last > 1.25*memory[0]+32e6 || last > 1<<30 {
		t.Errorf("memory after each return: %.0f", memory)
	}
	t.Logf("fleet: %+v", out.result)
	r.complete(out.result, ledger)
}
