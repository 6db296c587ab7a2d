//go:build bench

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
)

// measureCitizens returns the fleet's latencies from PUBLISH to PUBACK at 50,000
// readings a second while 2,000 times a second a citizen loads the start page,
// and how long those waited, counted from when each was due.
func measureCitizens(t *testing.T) (fleet.Result, []time.Duration) {
	t.Helper()
	progress("PUBACK at 50,000 readings/s with 2,000 page requests/s")
	const visitors, rate = 100, 2000
	r := newRig(t)
	o := r.benchFleet(true)
	o.Readings, o.Interval, o.For = 10, benchGateways*10*time.Second/50_000, 20*time.Second
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	var all []time.Duration
	var wait sync.WaitGroup
	begin := time.Now()
	for i := range visitors {
		wait.Go(func() {
			v := newVisitor(t, r.ready.Addresses["http"])
			defer v.close()
			each := visitors * time.Second / rate
			var own []time.Duration
			for due := begin.Add(each * time.Duration(i) / visitors); ctx.Err() == nil; due = due.Add(each) {
				if early := time.Until(due); early > 0 {
					pause(t, early)
				}
				if err := v.visit(); err != nil {
					t.Error(err)
					break
				}
				own = append(own, time.Since(due))
			}
			mu.Lock()
			all = append(all, own...)
			mu.Unlock()
		})
	}
	result := r.send(o)
	stop()
	wait.Wait()
	return result, all
}

// visitor loads the start page again and again over one connection. It is not
// http.Client, which would take as much of this machine as the server that is
// measured.
type visitor struct {
	conn   net.Conn
	answer *bufio.Reader
	ask    []byte
}

func newVisitor(t *testing.T, address string) *visitor {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{conn: conn, answer: bufio.NewReaderSize(conn, 32<<10), ask: []byte("GET / HTTP/1.1\r\nHost: " + address + "\r\nAccept-Encoding: gzip\r\n\r\n")}
}

func (v *visitor) close() { _ = v.conn.Close() }

// visit returns once the whole answer is there.
func (v *visitor) visit() error {
	if _, err := v.conn.Write(v.ask); err != nil {
		return err
	}
	status, err := v.answer.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("the start page: %q", status)
	}
	length := 0
	for {
		line, err := v.answer.ReadSlice('\n')
		if err != nil {
			return err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(n)); err != nil {
				return err
			}
		}
	}
	if length == 0 {
		return errors.New("the start page is empty")
	}
	_, err = v.answer.Discard(length)
	return err
}
