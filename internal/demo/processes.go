package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// start runs one of our programs until the demo stops; its log goes to a file.
func (d *demo) start(ctx context.Context, name, program string, args ...string) error {
	if err := os.MkdirAll(d.path("log"), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(d.path("log", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(d.bin, program), args...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own keeps the terminal's Ctrl-C away: the demo stops its
	// children in order. If the demo itself is killed, the kernel ends them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	done := make(chan error, 1)
	stopping := make(chan struct{})
	go func() { // ends when the process does; the closer below waits for it
		err := cmd.Wait()
		select {
		case <-stopping:
		default:
			d.failed <- fmt.Errorf("%s ended by itself: %w\n%s", name, orDone(err), tail(log.Name()))
		}
		done <- errors.Join(log.Close())
	}()
	d.stack.Add(name, func(ctx context.Context) error {
		close(stopping)
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return errors.Join(ctx.Err(), cmd.Process.Kill())
		}
	})
	return nil
}

// errDone is the error of a process that ended without one, too early.
var errDone = errors.New("exit status 0")

func orDone(err error) error {
	if err == nil {
		return errDone
	}
	return err
}

// output runs one of our programs to its end and returns what it prints.
func (d *demo) output(ctx context.Context, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, program), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", program, args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// await waits until a file appears, or a process ended that should not have.
func (d *demo) await(ctx context.Context, file string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-d.failed:
			return err
		case <-tick.C:
		}
	}
}

// tail returns the last lines of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
}

// random returns 128 random bits in hexadecimal.
func random() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails on Linux
	}
	return hex.EncodeToString(b[:])
}
