package uplink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// bdSeq is the number that ties a will to its birth: one more with each
// CONNECT, kept on disk, so that the death of an old connection never takes a
// new one with it. [tck-id-topics-nbirth-bdseq-increment]
type bdSeq struct {
	file  string
	last  uint64 // of this process
	known bool
}

// next returns the number for the next CONNECT: the first is 0, 255 is followed
// by 0. The error says that the disk does not have it; the number is good all the
// same, since a full disk must not keep the gateway from bringing its data away.
// [tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq]
func (b *bdSeq) next() (uint64, error) {
	if !b.known {
		text, err := os.ReadFile(b.file)
		switch {
		case err == nil:
			// What can't be read counts as 0: the server compares for equality only.
			n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 8)
			b.last, b.known = n, true
		case !errors.Is(err, fs.ErrNotExist):
			return 0, fmt.Errorf("read bdSeq: %w", err)
		}
	}
	var n uint64
	if b.known {
		n = (b.last + 1) % 256
	}
	b.last, b.known = n, true
	if err := b.keep(n); err != nil {
		return n, fmt.Errorf("keep bdSeq %d: %w", n, err)
	}
	return n, nil
}

func (b *bdSeq) keep(n uint64) error {
	tmp := b.file + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, n)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, b.file)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(b.file))
	}
	return err
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
