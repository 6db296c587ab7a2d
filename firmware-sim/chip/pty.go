package chip

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// PTY is the parts' end of a pseudo-terminal in raw mode, with a symbolic link
// that the host opens as its serial port. It stays usable while no host has it
// open; like a real receiver it then loses what arrives.
type PTY struct {
	ours, theirs *os.File // theirs stays open, so that a host may come and go
	link         string
}

// ptyUnread is the number of unread bytes from which a host counts as absent:
// a second of the ranger's frames.
const ptyUnread = 40

// OpenPTY makes a pseudo-terminal and the link to it. A link left behind by an
// earlier run is replaced; any other file at that path is an error.
func OpenPTY(link string) (*PTY, error) {
	if info, err := os.Lstat(link); err == nil {
		if info.Mode()&fs.ModeSymlink == 0 {
			return nil, fmt.Errorf("chip: link to a pseudo-terminal: %s exists and is no symbolic link", link)
		}
		if err := os.Remove(link); err != nil {
			return nil, fmt.Errorf("chip: replace the link to a pseudo-terminal: %w", err)
		}
	}
	ours, theirs, err := openPair()
	if err != nil {
		return nil, fmt.Errorf("chip: open a pseudo-terminal: %w", err)
	}
	p := &PTY{ours: ours, theirs: theirs, link: link}
	err = ioctl(theirs, raw)
	if err == nil {
		err = os.Symlink(theirs.Name(), link)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("chip: prepare %s: %w", link, err), ours.Close(), theirs.Close())
	}
	return p, nil
}

// openPair opens both ends. Ours does not block, so that closing it ends a read
// that waits.
func openPair() (ours, theirs *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	ours = os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0) // unlock
	}
	if err == nil {
		theirs, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	return ours, theirs, nil
}

// Read returns what the host sent.
func (p *PTY) Read(b []byte) (int, error) { return p.ours.Read(b) }

// Write sends to the host. Where nobody has read for a while, what waits is
// dropped first: a host that comes later must not read the past.
func (p *PTY) Write(b []byte) (int, error) {
	err := ioctl(p.theirs, func(fd int) error {
		n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err == nil && n >= ptyUnread {
			err = unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("chip: look at %s: %w", p.link, err)
	}
	return p.ours.Write(b)
}

// Close hangs up and removes the link.
func (p *PTY) Close() error {
	err := errors.Join(p.ours.Close(), p.theirs.Close())
	if gone := os.Remove(p.link); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

func raw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B9600
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// ioctl runs f on the descriptor without taking the file out of the poller.
func ioctl(file *os.File, f func(fd int) error) error {
	c, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
