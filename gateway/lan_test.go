package gateway

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Statement 2: nothing of a gateway listens beyond loopback, unless its page was
// switched on there.
func TestStatement2NothingListensOnTheLAN(t *testing.T) {
	if host, _, err := net.SplitHostPort(Defaults().Status.Listen); err != nil || !loopback(host) {
		t.Errorf("by default the page listens on %q", Defaults().Status.Listen)
	}
	g, _ := start(t, quiet(t))
	own, err := netip.ParseAddrPort(g.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	all := listening(t)
	if !slices.Contains(all, own) {
		t.Fatalf("the gateway's page on %v is not among this process's sockets %v", own, all)
	}
	for _, a := range all {
		if !a.Addr().IsLoopback() {
			t.Errorf("open to the LAN: %v", a)
		}
	}
}

// listening returns the TCP addresses on which this process listens and its
// bound UDP addresses, as the kernel tells them (proc_net_tcp(5)).
func listening(t *testing.T) []netip.AddrPort {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	mine := map[string]bool{}
	for _, f := range files {
		if to, err := os.Readlink(f); err == nil { // Glob's own descriptor is gone
			if inode, ok := strings.CutPrefix(to, "socket:["); ok {
				mine[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	const listen, unconnected = "0A", "07"
	var out []netip.AddrPort
	for file, state := range map[string]string{"tcp": listen, "tcp6": listen, "udp": unconnected, "udp6": unconnected} {
		text, err := os.ReadFile("/proc/self/net/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			// sl local_address rem_address st … inode
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != state || !mine[f[9]] {
				continue
			}
			host, port, _ := strings.Cut(f[1], ":")
			ip, err := hex.DecodeString(host)
			if err != nil {
				t.Fatal(err)
			}
			number, err := hex.DecodeString(port)
			if err != nil {
				t.Fatal(err)
			}
			for word := range slices.Chunk(ip, 4) {
				// The kernel prints each 32-bit word in the machine's own order.
				binary.BigEndian.PutUint32(word, binary.NativeEndian.Uint32(word))
			}
			addr, ok := netip.AddrFromSlice(ip)
			if !ok {
				t.Fatalf("address %q", f[1])
			}
			out = append(out, netip.AddrPortFrom(addr.Unmap(), uint16(number[0])<<8|uint16(number[1])))
		}
	}
	return out
}
