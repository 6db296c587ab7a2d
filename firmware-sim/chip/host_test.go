package chip

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestI2CSocketRoundTrip(t *testing.T) {
	bus := NewBus()
	w := newWatch()
	bus.Attach(SCD41Address, NewSCD41(func(time.Time) Climate { return Climate{CO2: 500} }, w.Now))
	path := filepath.Join(t.TempDir(), "i2c")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- ServeI2C(ctx, l, bus) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tx := func(addr uint16, send []byte, read int) (byte, []byte) {
		t.Helper()
		req := binary.BigEndian.AppendUint16(nil, addr)
		req = binary.BigEndian.AppendUint16(req, uint16(len(send)))
		req = binary.BigEndian.AppendUint16(req, uint16(read))
		if _, err := conn.Write(append(req, send...)); err != nil {
			t.Fatal(err)
		}
		var status [1]byte
		if _, err := io.ReadFull(conn, status[:]); err != nil {
			t.Fatal(err)
		}
		if status[0] != 0 {
			return status[0], nil
		}
		p := make([]byte, read)
		if _, err := io.ReadFull(conn, p); err != nil {
			t.Fatal(err)
		}
		return 0, p
	}
	if st, _ := tx(SCD41Address, []byte{0x36, 0x82}, 0); st != 0 {
		t.Errorf("command: status %d", st)
	}
	if st, _ := tx(SCD41Address, nil, 9); st != 1 {
		t.Errorf("read while busy: status %d, want 1", st)
	}
	w.Pass(time.Millisecond)
	if st, p := tx(SCD41Address, nil, 9); st != 0 || p[0] != 0xf8 || p[2] != 0x31 {
		t.Errorf("serial number: status %d, % x", st, p)
	}
	if st, _ := tx(0x44, nil, 0); st != 1 {
		t.Errorf("empty address: status %d, want 1", st)
	}
	bus.Fail(Broken)
	if st, _ := tx(SCD41Address, nil, 0); st != 2 {
		t.Errorf("broken bus: status %d, want 2", st)
	}
	bus.Fail(Silent)
	if st, _ := tx(SCD41Address, nil, 0); st != 3 {
		t.Errorf("hanging bus: status %d, want 3", st)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection survived the stop")
	}
}

func TestPTYRoundTripAndHangUp(t *testing.T) {
	link := filepath.Join(t.TempDir(), "ttyRTU")
	if err := os.Symlink("/nowhere", link); err != nil { // left by an earlier run
		t.Fatal(err)
	}
	p, err := OpenPTY(link)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	played := make(chan error, 1)
	wire := NewRTU(NewPZEM004T(1, func(time.Time) Mains { return manualMains() }, time.Now))
	go func() { played <- Play(ctx, wire, p) }()
	for range 2 { // a host may come, go, and come again
		host, err := os.OpenFile(link, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		// 0x0A and 0x0D in the frame show that the line is raw.
		if _, err := host.Write(question(t, "01 04 0000 000a")); err != nil {
			t.Fatal(err)
		}
		reply := make([]byte, 25)
		if _, err := io.ReadFull(host, reply); err != nil {
			t.Fatal(err)
		}
		if CRC16(reply) != 0 {
			t.Errorf("reply % x", reply)
		}
		host.Close()
	}
	host, err := os.OpenFile(link, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	cancel()
	if err := <-played; err != nil {
		t.Errorf("stop: %v", err)
	}
	if n, err := host.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the host read %d, %v after the hang-up", n, err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link is still there: %v", err)
	}
}

func TestPTYForgetsWhatNobodyReads(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "ttyAIR")
	p, err := OpenPTY(link)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	unread := func() (n int) {
		if err := ioctl(p.theirs, func(fd int) (err error) { n, err = unix.IoctlGetInt(fd, unix.TIOCINQ); return err }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i := range 1200 { // more than a terminal's buffer holds
		want := 4
		if n := unread(); n < ptyUnread {
			want += n
		}
		if _, err := p.Write([]byte{0xff, byte(i >> 8), byte(i), 0}); err != nil {
			t.Fatal(err)
		}
		for unread() != want { // the kernel hands over in its own time
			runtime.Gosched()
		}
	}
	host, err := os.OpenFile(link, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	frame := make([]byte, 4)
	if _, err := io.ReadFull(host, frame); err != nil {
		t.Fatal(err)
	}
	if n := binary.BigEndian.Uint16(frame[1:]); n < 1180 {
		t.Errorf("the first frame read is number %d of 1200", n)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPTY(filepath.Join(dir, "file")); err == nil {
		t.Error("a file was replaced by a link")
	}
}
