package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/envelope"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// BenchmarkSubmit is the journal alone: submitters that each wait for their
// durable acknowledgement, packets of 200 bytes. One JetStream message per
// packet reaches 6,100/s and 6,500/s here.
func BenchmarkSubmit(b *testing.B) {
	for _, submitters := range []int{64, 256} {
		b.Run(fmt.Sprintf("submitters=%d", submitters), func(b *testing.B) {
			j := open(b, Options{MaxBytes: 8 << 30, Logger: quiet})
			var left atomic.Int64
			left.Store(int64(b.N))
			latencies := make([][]time.Duration, submitters)
			b.ResetTimer()
			var wg sync.WaitGroup
			for s := range submitters {
				wg.Go(func() {
					p := envelope.Packet{Client: fmt.Sprintf("3374/g%d", s), Session: 1, Topic: "spBv1.0/3374/NDATA/g", Payload: make([]byte, 200)}
					done := make(chan error, 1)
					for left.Add(-1) >= 0 {
						begin := time.Now()
						j.Submit(p, func(err error) { done <- err })
						if err := <-done; err != nil {
							b.Error(err)
							return
						}
						latencies[s] = append(latencies[s], time.Since(begin))
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			all := slices.Concat(latencies...)
			slices.Sort(all)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

func fillTo(b testing.TB, j *Journal, bytes int64) {
	b.Helper()
	p := packet(1)
	p.Payload = make([]byte, 1000)
	var failed atomic.Bool
	for j.Stats().Bytes < bytes {
		var wg sync.WaitGroup
		wg.Add(4000)
		for range 4000 {
			j.Submit(p, func(err error) {
				if err != nil {
					failed.Store(true)
				}
				wg.Done()
			})
		}
		wg.Wait()
		if failed.Load() {
			b.Fatal("the journal refused")
		}
	}
}

// BenchmarkRead is how fast a reader catches up, in envelopes and bytes.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{1, 20, 400} {
		b.Run(fmt.Sprintf("packets=%d", size), func(b *testing.B) {
			j := open(b, Options{MaxBytes: 8 << 30, Logger: quiet})
			p := packet(1)
			p.Payload = make([]byte, 200)
			var body []byte
			for range size {
				body = envelope.AppendPacket(body, &p)
			}
			const envelopes = 4000
			var wg sync.WaitGroup
			for range 32 {
				wg.Go(func() {
					for range envelopes / 32 {
						if _, err := j.Append(b.Context(), body); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.SetBytes(int64(len(body)))
			b.ResetTimer()
			for n := 0; n < b.N; {
				err := j.Read(b.Context(), 0, func(seq uint64, _ []byte) error {
					if n++; n >= b.N || seq == envelopes {
						return errEnough
					}
					return nil
				})
				if !errors.Is(err, errEnough) {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "envelopes/s")
		})
	}
}
