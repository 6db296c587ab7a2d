package broker

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/journal"
)

// BenchmarkPublish drives 200 nodes with a window of 16 messages of 250 bytes,
// against a journal in memory that acknowledges in groups and against the real
// one, which fsyncs each group. CPU is the whole process: broker, journal and
// the generator, which writes each message by itself as a real client does.
func BenchmarkPublish(b *testing.B) {
	for _, secure := range []bool{false, true} {
		for _, durable := range []bool{false, true} {
			b.Run(fmt.Sprintf("tls=%v/fsync=%v", secure, durable), func(b *testing.B) { benchmarkPublish(b, secure, durable) })
		}
	}
}

func benchmarkPublish(b *testing.B, secure, durable bool) {
	const nodes, window = 200, 16
	ca := newCA(b, "ca")
	r := start(b, ca.withTLS(b), func(o *Options) {
		o.Limits.HalfOpenPerAddress = nodes
		if durable {
			o.Journal = openJournal(b)
		}
	})
	r.journal.quick = true
	conns := make([]net.Conn, nodes)
	frames := make([][]byte, nodes)
	for i := range conns {
		id := fmt.Sprintf("3374/%d", i)
		var err error
		if secure {
			conns[i], err = tls.Dial("tcp", r.Addr().String(), &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", Certificates: []tls.Certificate{ca.issue(b, id)}})
		} else {
			conns[i], err = net.Dial("tcp", r.PlainAddr().String())
		}
		if err != nil {
			b.Fatal(err)
		}
		defer conns[i].Close()
		l := login{id: id, user: id, password: r.registry.add(id), keepAlive: 300}
		if _, err := conns[i].Write(l.packet()); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conns[i], make([]byte, 4)); err != nil {
			b.Fatal(err)
		}
		frames[i] = publishPacket(1, 1, topicOf("NDATA", id), strings.Repeat("x", 250))
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	cpu, begin := cpuTime(), time.Now()
	b.ResetTimer()
	for i := range conns {
		wg.Go(func() {
			c, frame, under := conns[i], frames[i], 0
			acks := make([]byte, 4*window)
			for {
				for under < window && left.Add(-1) >= 0 {
					if _, err := c.Write(frame); err != nil {
						b.Error(err)
						return
					}
					under++
				}
				if under == 0 {
					return
				}
				n, err := io.ReadAtLeast(c, acks, 4)
				if err == nil && n%4 != 0 {
					var rest int
					rest, err = io.ReadFull(c, acks[n:n+4-n%4])
					n += rest
				}
				if err != nil {
					b.Error(err)
					return
				}
				under -= n / 4
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "messages/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/message")
}

func openJournal(b *testing.B) Journal {
	j, err := journal.Open(b.Context(), journal.Options{Dir: b.TempDir(), Reserve: 64 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := j.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return j
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
