package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	firmwaresim "github.com/pantau-id/pantau/firmware-sim"
	"github.com/pantau-id/pantau/firmware-sim/world"
)

// site is a whole simulated place: chips, and the real gateway program on them.
type site struct {
	server, claimFile, data, gateway string
	interval, report, retry          time.Duration
	chips                            firmwaresim.Options
	out                              io.Writer
	log                              *slog.Logger
}

// claimUnreachable is pantau-gateway's exit code for "try again".
const claimUnreachable = 3

// siteCommand plays chips and runs the real gateway on them.
func siteCommand() *cobra.Command {
	s := site{chips: firmwaresim.Options{SDMLoad: world.Market}}
	cmd := &cobra.Command{
		Use: "site --server HOST:PORT --data DIR --claim-file FILE", Short: "Play the chips of one site and run the real gateway on them",
		Long: `site is a simulated place in one command, for containers and trials: it plays the
chips, claims the real pantau-gateway with a one-time code, and runs it on them.
DIR keeps the gateway's queue, keys and settings between runs.

The code is the one that "pantau gateway add" printed; the file is read only
until the claim has succeeded.

Exit codes: 0 ended by a signal; 1 failed; 2 wrong usage; 3 another firmware-sim
already serves DIR.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.server == "" || s.data == "" {
				return usageError{errors.New("name the server and a folder: --server HOST:PORT --data DIR")}
			}
			s.out, s.log = cmd.ErrOrStderr(), slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return s.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.server, "server", "", "the server's door for gateways, HOST:PORT (required)")
	f.StringVar(&s.data, "data", "", "folder that is kept between runs (required)")
	f.StringVar(&s.claimFile, "claim-file", "", "file with the one-time code; needed for the first run only")
	f.StringVar(&s.gateway, "gateway", "", "the gateway program (default: pantau-gateway beside this program, or in PATH)")
	f.DurationVar(&s.interval, "interval", 5*time.Second, "between two samples")
	f.DurationVar(&s.report, "report", time.Minute, "between two values sent, a multiple of the interval")
	f.DurationVar(&s.retry, "retry", 5*time.Second, "wait before another try to claim when the server can't be reached")
	f.Uint64Var(&s.chips.Seed, "seed", 1, "of the world")
	f.StringVar(&s.chips.Site, "site", hostName(), "name of the place in the world")
	return cmd
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "site-1"
	}
	return name
}

func (s *site) run(ctx context.Context) error {
	program, err := s.program()
	if err != nil {
		return err
	}
	// The gateway reads relative paths from its settings file's folder.
	if s.data, err = filepath.Abs(s.data); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// The chips outlive the gateway, which switches them off when it ends.
	chips, unplug := context.WithCancel(context.WithoutCancel(ctx))
	defer unplug()
	started, ended := make(chan struct{}), make(chan error, 1)
	s.chips.Dir, s.chips.Logger = filepath.Join(s.data, "chips"), s.log
	s.chips.Started = func() { close(started) }
	go func() {
		ended <- firmwaresim.Run(chips, s.chips)
		stop() // a gateway without chips is of no use
	}()
	select {
	case <-started:
		if err = s.claim(ctx, program); err == nil {
			err = s.play(ctx, program)
		}
	case <-ctx.Done():
	}
	if errors.Is(err, context.Canceled) {
		err = nil // asked to end, or the chips failed, which they say themselves
	}
	unplug()
	return errors.Join(<-ended, err)
}

// program finds the gateway program.
func (s *site) program() (string, error) {
	if s.gateway != "" {
		return s.gateway, nil
	}
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), "pantau-gateway")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	p, err := exec.LookPath("pantau-gateway")
	if err != nil {
		return "", fmt.Errorf("find the gateway program; name it with --gateway: %w", err)
	}
	return p, nil
}

// command is the gateway program with our streams; the end of ctx asks it to end.
func (s *site) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, program, append(args, "--data", filepath.Join(s.data, "gateway"))...)
	c.Stdout, c.Stderr = s.out, s.out
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 15 * time.Second
	return c
}

// claim gets the gateway its certificate, once; a server that is not up yet is
// waited for.
func (s *site) claim(ctx context.Context, program string) error {
	done := filepath.Join(s.data, "claimed")
	if _, err := os.Stat(done); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look whether the gateway was claimed: %w", err)
	}
	text, err := os.ReadFile(s.claimFile)
	if err != nil {
		return fmt.Errorf("read the claim's code; --claim-file names it: %w", err)
	}
	code := strings.TrimSpace(string(text))
	if code == "" {
		return fmt.Errorf("%s is empty; put the code there that \"pantau gateway add\" prints", s.claimFile)
	}
	for {
		err := s.command(ctx, program, "claim", code, "--server", s.server).Run()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != claimUnreachable {
			return fmt.Errorf("claim the gateway: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(s.retry):
		}
	}
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		return fmt.Errorf("note that the gateway was claimed: %w", err)
	}
	return nil
}

// play runs the gateway until ctx ends.
func (s *site) play(ctx context.Context, program string) error {
	file := filepath.Join(s.data, "gateway.toml")
	if err := os.WriteFile(file, []byte(s.settings()), 0o600); err != nil {
		return fmt.Errorf("write the gateway's settings: %w", err)
	}
	err := s.command(ctx, program, "--config", file).Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return fmt.Errorf("the gateway: %w", err)
}

// settings are those of a gateway with all simulated parts.
func (s *site) settings() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[gateway]\nsimulated = true\ntime = \"assume-ntp\"\n\n[uplink]\nserver = \"mqtts://%s\"\n", s.server)
	sensor := func(part, name, bus string, address int) {
		fmt.Fprintf(&b, "\n[[sensor]]\npart = %q\nname = %q\nbus = %q\ninterval = %q\nreport = %q\n", part, name, filepath.Join(s.chips.Dir, bus), s.interval, s.report)
		if address > 0 {
			fmt.Fprintf(&b, "address = %d\n", address)
		}
	}
	sensor("sps30", "udara", firmwaresim.I2CSocket, 0)
	sensor("scd41", "co2", firmwaresim.I2CSocket, 0)
	sensor("bme280", "cuaca", firmwaresim.I2CSocket, 0)
	sensor("a02yyuw", "bak", firmwaresim.AirPort, 0)
	sensor("pzem004t", "rumah", firmwaresim.RTUPort, firmwaresim.PZEMAddress)
	sensor("sdm120", "pasar", firmwaresim.RTUPort, firmwaresim.SDMAddress)
	return b.String()
}
