package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pantau-id/pantau/internal/envelope"
)

func open(t testing.TB, o Options) *Journal {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Reserve == 0 {
		o.Reserve = 1 << 20
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	j, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, j) })
	return j
}

func shut(t testing.TB, j *Journal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := j.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(b []byte) (int, error) {
	if testing.Verbose() {
		fmt.Fprintf(os.Stderr, "%s: %s", w.t.Name(), b)
	}
	return len(b), nil
}

func packet(n int) envelope.Packet {
	return envelope.Packet{Received: int64(n), Client: "3374/a", Session: 1, Topic: "spBv1.0/3374/NDATA/a", Payload: fmt.Appendf(nil, "packet %06d", n)}
}

// submit sends packets and waits until all callbacks ran; it returns their errors
// in the order of the callbacks.
func submit(j *Journal, packets ...envelope.Packet) []error {
	errs := make([]error, 0, len(packets))
	var wg sync.WaitGroup
	wg.Add(len(packets))
	for _, p := range packets {
		j.Submit(p, func(err error) { errs = append(errs, err); wg.Done() })
	}
	wg.Wait()
	return errs
}

var errEnough = errors.New("enough")

// readAll returns the payloads of all packets behind after, and the positions.
func readAll(t testing.TB, j *Journal, after uint64) (payloads []string, seqs []uint64) {
	t.Helper()
	_, last, err := j.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if last <= after {
		return nil, nil
	}
	err = j.Read(t.Context(), after, func(seq uint64, body []byte) error {
		seqs = append(seqs, seq)
		if k, err := envelope.KindOf(body); err != nil {
			return err
		} else if k == envelope.KindPackets {
			for p, err := range envelope.Packets(body) {
				if err != nil {
					return err
				}
				payloads = append(payloads, string(p.Payload))
			}
		}
		if seq >= last {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	return payloads, seqs
}

func TestPacketsComeBackInOrderAfterReopening(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	var want []string
	for round := range 3 {
		var packets []envelope.Packet
		for n := range 1500 {
			p := packet(round*10000 + n)
			packets = append(packets, p)
			want = append(want, string(p.Payload))
		}
		for i, err := range submit(j, packets...) {
			if err != nil {
				t.Fatalf("packet %d: %v", i, err)
			}
		}
		if got, _ := readAll(t, j, 0); !slices.Equal(got, want) {
			t.Fatalf("round %d: %d packets, want %d in order", round, len(got), len(want))
		}
		shut(t, j)
		j = open(t, Options{Dir: dir})
	}
	if got, _ := readAll(t, j, 0); !slices.Equal(got, want) {
		t.Fatalf("%d packets, want %d in order", len(got), len(want))
	}
	if s := j.Stats(); s.Missing != 0 {
		t.Errorf("%d positions are said to be missing", s.Missing)
	}
}

func TestSubmitCopiesThePacket(t *testing.T) {
	j := open(t, Options{})
	p := packet(1)
	done := make(chan error, 1)
	j.Submit(p, func(err error) { done <- err })
	copy(p.Payload, "XXXXXXXXXX")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got, _ := readAll(t, j, 0); len(got) != 1 || got[0] != "packet 000001" {
		t.Errorf("got %q", got)
	}
}

func TestManySubmittersShareCommits(t *testing.T) {
	reg := prometheus.NewRegistry()
	j := open(t, Options{Registerer: reg})
	var wg sync.WaitGroup
	for s := range 32 {
		wg.Go(func() {
			for n := range 50 {
				done := make(chan error, 1)
				p := packet(s*1000 + n)
				p.Client = fmt.Sprintf("3374/g%d", s)
				j.Submit(p, func(err error) { done <- err })
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := testutil.ToFloat64(j.metrics.packets); n != 1600 {
		t.Errorf("%v packets counted", n)
	}
	if n := testutil.ToFloat64(j.metrics.commits); n >= 1600/2 {
		t.Errorf("%v commits for 1600 packets: nothing is shared", n)
	}
	// Each client's packets stand in its order.
	next := map[string]int64{}
	_, last, _ := j.Bounds(t.Context())
	_ = j.Read(t.Context(), 0, func(seq uint64, body []byte) error {
		for p := range envelope.Packets(body) {
			if n, ok := next[p.Client]; ok && p.Received != n {
				t.Errorf("%s: packet %d, want %d", p.Client, p.Received, n)
			}
			next[p.Client] = p.Received + 1
		}
		if seq == last {
			return errEnough
		}
		return nil
	})
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
}

func TestAppendStandsBehindWhatWasSubmitted(t *testing.T) {
	j := open(t, Options{})
	var errs []error
	for n := range 10 {
		j.Submit(packet(n), func(err error) { errs = append(errs, err) })
	}
	seq, err := j.Append(t.Context(), envelope.AppendTick(nil, envelope.Tick{Time: 5, Session: 1}))
	if err != nil {
		t.Fatal(err)
	}
	if len(errs) != 10 || errors.Join(errs...) != nil {
		t.Errorf("callbacks before the append returned: %v", errs)
	}
	_, seqs := readAll(t, j, 0)
	if seqs[len(seqs)-1] != seq {
		t.Errorf("the tick stands at %v, Append said %d", seqs, seq)
	}
	if _, err := j.Append(t.Context(), make([]byte, MaxEnvelope+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a body above the limit: %v", err)
	}
	if _, err := j.Append(t.Context(), append([]byte{byte(envelope.KindRules)}, make([]byte, MaxEnvelope-1)...)); err != nil {
		t.Errorf("a body at the limit: %v", err)
	}
}

func TestTooLargePacketFailsAlone(t *testing.T) {
	j := open(t, Options{})
	big := packet(2)
	big.Payload = make([]byte, envelope.MaxBytes+1)
	errs := submit(j, packet(1), big, packet(3))
	if errs[0] != nil || !errors.Is(errs[1], ErrTooLarge) || errs[2] != nil {
		t.Errorf("%v", errs)
	}
	if got, _ := readAll(t, j, 0); len(got) != 2 {
		t.Errorf("kept %d packets", len(got))
	}
}

func TestReadTailsWithoutPolling(t *testing.T) {
	j := open(t, Options{})
	got := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- j.Read(ctx, 0, func(_ uint64, body []byte) error {
			for p := range envelope.Packets(body) {
				got <- string(p.Payload)
			}
			return nil
		})
	}()
	for n := range 20 {
		if errs := submit(j, packet(n)); errs[0] != nil {
			t.Fatal(errs[0])
		}
		if g, want := <-got, string(packet(n).Payload); g != want {
			t.Fatalf("got %q, want %q", g, want)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Read returned %v", err)
	}
}

func TestCloseEndsReadersAndRefuses(t *testing.T) {
	j := open(t, Options{})
	ended := make(chan error, 1)
	go func() { ended <- j.Read(t.Context(), 0, func(uint64, []byte) error { return nil }) }()
	acked := make(chan error, 1)
	j.Submit(packet(1), func(err error) { acked <- err })
	shut(t, j)
	if err := <-acked; err != nil {
		t.Errorf("what was submitted before Close: %v", err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if err := j.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("Err: %v", err)
	}
	if _, err := j.Append(t.Context(), []byte{1}); !errors.Is(err, ErrClosed) {
		t.Errorf("Append: %v", err)
	}
}

// NATS takes no lock: two servers on one folder lose what was acknowledged.
func TestTrapTwoServersOnOneFolder(t *testing.T) {
	dir := t.TempDir()
	open(t, Options{Dir: dir})
	_, err := Open(t.Context(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second Open: %v", err)
	}
}

func TestPurgeFreesAndPositionsGoOn(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	for n := range 50 {
		if err := errors.Join(submit(j, packet(n))...); err != nil {
			t.Fatal(err)
		}
	}
	before := j.Stats()
	if err := j.Purge(t.Context(), 30); err != nil {
		t.Fatal(err)
	}
	if s := j.Stats(); s.First != 31 || s.Last != 50 || s.Bytes >= before.Bytes {
		t.Errorf("after the purge: %+v", s)
	}
	if got, seqs := readAll(t, j, 0); len(got) != 20 || seqs[0] != 31 || got[0] != "packet 000030" {
		t.Errorf("read %q at %v", got, seqs)
	}
	// All of it, and beyond.
	if err := j.Purge(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	shut(t, j)
	j = open(t, Options{Dir: dir})
	if first, last, _ := j.Bounds(t.Context()); first != 51 || last != 50 {
		t.Errorf("bounds of the empty journal: %d, %d", first, last)
	}
	if err := errors.Join(submit(j, packet(99))...); err != nil {
		t.Fatal(err)
	}
	if got, seqs := readAll(t, j, 50); len(got) != 1 || seqs[0] != 51 {
		t.Errorf("read %q at %v", got, seqs)
	}
	if s := j.Stats(); s.Missing != 0 {
		t.Errorf("purged positions count as missing: %+v", s)
	}
}

// When the quota is used up packets are refused in order, ticks go on, and
// nothing that was acknowledged is dropped; room made by Purge is used again.
func TestFullRefusesInOrderAndGoesOnAfterPurge(t *testing.T) {
	j := open(t, Options{MaxBytes: 4 << 20})
	kept, refused := 0, 0
	for n := 0; refused == 0; n++ {
		p := packet(n)
		p.Payload = append(p.Payload, make([]byte, 100<<10)...)
		errs := submit(j, p, p, p)
		for i, err := range errs {
			switch {
			case err == nil && refused > 0:
				t.Fatalf("packet %d of group %d was kept behind a refused one", i, n)
			case err == nil:
				kept++
			case !errors.Is(err, ErrFull):
				t.Fatal(err)
			default:
				refused++
			}
		}
	}
	if err := j.Err(); !errors.Is(err, ErrFull) {
		t.Errorf("Err() is %v", err)
	}
	if kept < 30 {
		t.Errorf("only %d packets of 100 KiB fit into 4 MiB", kept)
	}
	for n := range 100 {
		if _, err := j.Append(t.Context(), envelope.AppendTick(nil, envelope.Tick{Time: int64(n), Session: 1})); err != nil {
			t.Fatalf("tick %d while full: %v", n, err)
		}
	}
	got, _ := readAll(t, j, 0)
	if len(got) != kept {
		t.Errorf("%d packets are there, %d were acknowledged", len(got), kept)
	}
	_, last, _ := j.Bounds(t.Context())
	if err := j.Purge(t.Context(), last/2); err != nil {
		t.Fatal(err)
	}
	if err := j.Err(); err != nil {
		t.Errorf("after the purge: %v", err)
	}
	if err := errors.Join(submit(j, packet(1))...); err != nil {
		t.Errorf("after the purge: %v", err)
	}
}

// A packet submitted before the callback of a refused one has returned is
// refused too, even when room was made meanwhile: no session may have a hole.
func TestNothingStandsBehindARefusedPacket(t *testing.T) {
	j := open(t, Options{MaxBytes: 4 << 20})
	fill := packet(0)
	fill.Payload = make([]byte, 200<<10)
	for j.Err() == nil {
		submit(j, fill)
	}
	inCallback, release := make(chan struct{}), make(chan struct{})
	first, second := make(chan error, 1), make(chan error, 1)
	j.Submit(packet(1), func(err error) {
		close(inCallback)
		<-release
		first <- err
	})
	<-inCallback
	_, last, _ := j.Bounds(t.Context())
	if err := j.Purge(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	j.Submit(packet(2), func(err error) { second <- err })
	close(release)
	if err := <-first; !errors.Is(err, ErrFull) {
		t.Errorf("first: %v", err)
	}
	if err := <-second; !errors.Is(err, ErrFull) {
		t.Errorf("second: %v", err)
	}
	// The acknowledging goroutine lifts the refusal after the callback returned.
	for j.Err() != nil {
		if err := j.Purge(t.Context(), last); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(submit(j, packet(3))...); err != nil {
		t.Errorf("third: %v", err)
	}
}

func TestBusyRefusesInsteadOfGrowing(t *testing.T) {
	j := open(t, Options{MaxPending: 64 << 10})
	p := packet(1)
	p.Payload = make([]byte, 30<<10)
	errs := submit(j, slices.Repeat([]envelope.Packet{p}, 200)...)
	busy := false
	for _, err := range errs {
		if errors.Is(err, ErrBusy) {
			busy = true
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !busy {
		t.Error("6 MB were taken into 64 KiB of waiting room")
	}
	for j.Err() != nil {
		submit(j, packet(2))
	}
	if err := errors.Join(submit(j, packet(3))...); err != nil {
		t.Error(err)
	}
}
