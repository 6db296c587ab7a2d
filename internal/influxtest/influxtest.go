// Package influxtest runs a real InfluxDB 1.8 as a child process: for tests,
// and for `make run` where no other database is named.
//
// It promises that the database listens on loopback only, keeps everything in
// one folder, answers before Start returns, and is gone after Stop or Kill.
package influxtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config says how to run influxd.
type Config struct {
	Binary string // default Find()
	Dir    string // holds everything; made if absent
	Addr   string // host:port; default 127.0.0.1 and a free port
	// Auth switches authentication on. The first user must then be made as admin:
	// CREATE USER … WITH PASSWORD … WITH ALL PRIVILEGES.
	Auth bool
	Log  io.Writer // influxd's log; default none
}

// Server is a running influxd.
type Server struct {
	URL    string // http://127.0.0.1:port
	config Config
	cmd    *exec.Cmd
	done   chan struct{} // closed when the process has ended
	once   sync.Once
}

// Find names the influxd to use: that of the environment's PANTAU_INFLUXD, else
// .setup/bin/influxd below the module's root, else one on the PATH.
func Find() (string, error) {
	if p := os.Getenv("PANTAU_INFLUXD"); p != "" {
		return p, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find influxd: %w", err)
	}
	for {
		p := filepath.Join(dir, ".setup", "bin", "influxd")
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	if p, err := exec.LookPath("influxd"); err == nil {
		return p, nil
	}
	return "", errors.New("find influxd: neither PANTAU_INFLUXD nor .setup/bin/influxd nor the PATH has it: run `./setup.sh test`")
}

const configText = `reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = %q
  logging-enabled = false
[data]
  dir = %q
  wal-dir = %q
  index-version = "tsi1"
  query-log-enabled = false
  cache-snapshot-memory-size = "64m"
[coordinator]
  write-timeout = "10s"
[http]
  bind-address = %q
  auth-enabled = %v
  log-enabled = false
  max-row-limit = 0
[monitor]
  store-enabled = false
[subscriber]
  enabled = false
[continuous_queries]
  enabled = false
`

var listening = regexp.MustCompile(`msg="Listening on HTTP".* addr=(\S+)`)

// Start runs influxd and returns when it answers.
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Binary == "" {
		var err error
		if c.Binary, err = Find(); err != nil {
			return nil, err
		}
	}
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make InfluxDB's folder: %w", err)
	}
	file := filepath.Join(c.Dir, "influxdb.conf")
	text := fmt.Sprintf(configText, filepath.Join(c.Dir, "meta"), filepath.Join(c.Dir, "data"), filepath.Join(c.Dir, "wal"), c.Addr, c.Auth)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write InfluxDB's configuration: %w", err)
	}
	s := &Server{config: c, done: make(chan struct{})}
	s.cmd = exec.CommandContext(context.WithoutCancel(ctx), c.Binary, "run", "-config", file) // it outlives Start
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	log, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start influxd: %w", err)
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start influxd: %w", err)
	}
	addr := make(chan string, 1)
	var last []string
	go func() {
		defer close(s.done)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			line := lines.Text()
			if c.Log != nil {
				fmt.Fprintln(c.Log, line)
			}
			if m := listening.FindStringSubmatch(line); m != nil && len(addr) == 0 {
				addr <- m[1]
			}
			if last = append(last, line); len(last) > 5 {
				last = last[1:]
			}
		}
		_ = s.cmd.Wait() // how it ended is Stop's and Kill's business
	}()
	select {
	case a := <-addr:
		s.URL = "http://" + a
		s.config.Addr = a
	case <-s.done:
		return nil, fmt.Errorf("start influxd: it ended at once: %s", strings.Join(last, "\n"))
	case <-ctx.Done():
		s.Kill()
		return nil, fmt.Errorf("start influxd: %w", ctx.Err())
	}
	if err := s.await(ctx); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

// await returns when influxd answers: it listens a moment before it does.
func (s *Server) await(ctx context.Context) error {
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for influxd's first answer: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *Server) answers(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/ping", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusNoContent
}

// Restart starts a stopped server again, with the same folder and address.
func (s *Server) Restart(ctx context.Context) (*Server, error) { return Start(ctx, s.config) }

// PID is the process's id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends influxd in order, and hard after ten seconds.
func (s *Server) Stop() {
	s.once.Do(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-s.done:
		case <-time.After(10 * time.Second):
			s.Kill()
		}
	})
}

// Kill ends influxd as a power cut would.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.done
}

// Pause and Resume stop the process in its tracks (SIGSTOP) and let it go on: a
// database that takes connections and never answers. Pause returns once it stands.
func (s *Server) Pause() error {
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("pause influxd: %w", err)
	}
	for {
		err := unix.Waitid(unix.P_PID, s.PID(), nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait until influxd is paused: %w", err)
		}
		return nil
	}
}

// Resume is Pause's end.
func (s *Server) Resume() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// TB is what New needs of a *testing.T or *testing.B.
type TB interface {
	Helper()
	TempDir() string
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// New starts an InfluxDB for one test.
func New(t TB) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Start(ctx, Config{Dir: filepath.Join(t.TempDir(), "influxdb")})
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(s.Kill)
	return s
}

// shared is the InfluxDB of Shared, once somebody asked for it.
var shared struct {
	once   sync.Once
	dir    string
	server *Server
	err    error
}

// Shared returns the one InfluxDB of all tests of a package that do it no harm,
// each with buckets of its own. The package's TestMain
// must be Run.
func Shared(t TB) *Server {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "pantau-influxdb-*"); shared.err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		shared.server, shared.err = Start(ctx, Config{Dir: shared.dir})
	})
	if shared.err != nil {
		t.Fatalf("%v", shared.err)
	}
	return shared.server
}

// Run runs a package's tests (m is a *testing.M), ends the database that they
// shared, and returns the exit code.
func Run(m interface{ Run() int }) int {
	code := m.Run()
	if shared.server != nil {
		shared.server.Kill()
	}
	if err := os.RemoveAll(shared.dir); err != nil {
		fmt.Fprintln(os.Stderr, "remove the tests' InfluxDB:", err)
	}
	return code
}
