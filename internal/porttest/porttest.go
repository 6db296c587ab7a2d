// Package porttest finds ports for servers that tests start, where a server cannot
// choose its own: because it must be told one, or is to come back on the same.
//
// It promises a port of loopback that nobody listened on a moment ago, that no test
// of the process has been given before, and that lies below those which the kernel
// gives to outgoing connections (32768 and up by default): such a connection could
// take it until the server is there, or while it is on its way back.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

var given sync.Map // ports

// Free returns a port.
func Free(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		if _, before := given.LoadOrStore(port, true); before {
			continue
		}
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("a hundred ports on loopback are all in use")
	return 0
}
