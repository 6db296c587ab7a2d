// Command brokeralone starts the broker room alone on loopback, so that any
// public MQTT 3.1.1 test suite can be pointed at it. It is not shipped.
//
// Listener, limits and frame checker are the production ones; the rules are
// open: no login, every topic but test/nosubscribe, QoS 2, clean=0, keep-alive 0
// and retained messages. Messages are kept in memory for no longer than their
// PUBACK takes. Exit code 1: it could not start; 2: wrong flags.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pantau-id/pantau/broker"
	"github.com/pantau-id/pantau/internal/envelope"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:1883", "loopback `address` to listen on")
	verbose := flag.Bool("v", false, "log what mochi says too")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "brokeralone: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Stdout, *listen, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "brokeralone:", err)
		cancel()
		os.Exit(1)
	}
}

// run serves until ctx ends; it writes its address to out when it is ready.
func run(ctx context.Context, out io.Writer, listen string, verbose bool) error {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	j := newJournal()
	defer j.close()
	b, err := broker.New(broker.Options{
		PlainListen: listen,
		Journal:     j,
		Open:        &broker.Open{Deny: func(topic string) bool { return topic == "test/nosubscribe" }},
		Logger:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		return err
	}
	if err := b.Start(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, b.PlainAddr())
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return b.Stop(stop)
}

// journal says from its one goroutine that everything was kept.
type journal struct {
	queue chan func(error)
	ended chan struct{}
}

func newJournal() *journal {
	j := &journal{queue: make(chan func(error), 1<<16), ended: make(chan struct{})}
	go func() {
		defer close(j.ended)
		for done := range j.queue {
			done(nil)
		}
	}()
	return j
}

func (j *journal) Submit(_ envelope.Packet, done func(error)) { j.queue <- done }
func (j *journal) Err() error                                 { return nil }

func (j *journal) close() {
	close(j.queue)
	<-j.ended
}
