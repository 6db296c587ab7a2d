package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// serverFlags are what fleet and aqms share.
type serverFlags struct {
	server, ca string
	seed       uint64
	asJSON     bool
	verbose    bool
}

func (s *serverFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.server, "server", "", "the gateways' door, mqtts://HOST:PORT, or mqtt://HOST:PORT without TLS")
	f.StringVar(&s.ca, "ca", "", "PEM file of the authority that signs the server's certificate (mqtts)")
	f.Uint64Var(&s.seed, "seed", 1, "of values, outages and faults")
	f.BoolVar(&s.asJSON, "json", false, "print the result as JSON")
	f.BoolVar(&s.verbose, "verbose", false, "log why sessions end")
}

func (s *serverFlags) authority() ([]byte, error) {
	if s.ca == "" {
		return nil, nil
	}
	text, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	return text, nil
}

func (s *serverFlags) logger() *slog.Logger {
	if !s.verbose {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// print writes a result for people or for scripts.
func (s *serverFlags) print(w io.Writer, v any, text string) error {
	if !s.asJSON {
		_, err := fmt.Fprintln(w, text)
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// touch makes an empty file once something is ready.
func touch(path string) func() {
	if path == "" {
		return nil
	}
	return func() {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			slog.Error("the ready file could not be written", "error", err)
		}
	}
}

// fleetCommand plays many gateways.
func fleetCommand() *cobra.Command {
	var s serverFlags
	var o fleet.Options
	var credentials, makeCredentials, group, readyFile string
	var faults []string
	var gateways int
	cmd := &cobra.Command{
		Use: "fleet --server URL --credentials FILE", Short: "Play many gateways without chips, and account for every reading",
		Long: `fleet plays gateways that speak the whole protocol of the real one: births,
numbered records, live and backlog, resends until PUBACK.

The ledger (--ledger) is the witness: a line S is fsynced before its reading is
sent, a line A is written after its PUBACK. Fields, separated by tabs:

  S|A gateway epoch seq device quantity ts_ms value

"pantau ledger verify FILE" compares it with the database.

Credentials are the CSV file that "pantau gateway import" takes (group, name,
password, …); --make-credentials FILE writes one for --gateways N and ends.

Exit codes: 0 everything was acknowledged, or ended by a signal; 1 failed, or
something is not acknowledged; 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if makeCredentials != "" {
				if gateways < 1 {
					return usageError{errors.New("--make-credentials needs --gateways N")}
				}
				return fleet.WriteCredentials(makeCredentials, fleet.MakeCredentials(gateways, group))
			}
			if s.server == "" {
				return usageError{errors.New("name the server: --server mqtts://HOST:PORT")}
			}
			var err error
			if o.Gateways, err = players(credentials, gateways, group); err != nil {
				return err
			}
			if o.CA, err = s.authority(); err != nil {
				return err
			}
			for _, f := range faults {
				o.ClockFaults = append(o.ClockFaults, fleet.ClockFault(f))
			}
			o.Server, o.Seed, o.Logger, o.Started = s.server, s.seed, s.logger(), touch(readyFile)
			r, err := fleet.Run(cmd.Context(), o)
			if errors.Is(err, fleet.ErrOptions) {
				return usageError{err}
			}
			rate := float64(r.Acked) / r.Elapsed.Seconds()
			text := fmt.Sprintf("%d gateways in %v: %d readings sent, %d acknowledged (%.0f/s) in %d messages, %d resent, %d pending; %d connections, %d ended; PUBACK p50 %v, p99 %v",
				r.Gateways, r.Elapsed.Round(time.Millisecond), r.Readings, r.Acked, rate, r.Messages, r.Resent, r.Pending, r.Connects, r.Failures,
				r.P50.Round(time.Microsecond), r.P99.Round(time.Microsecond))
			if r.Last != "" {
				text += "\nlast: " + r.Last
			}
			err = errors.Join(err, s.print(cmd.OutOrStdout(), r, text))
			if err == nil && r.Pending > 0 && !errors.Is(cmd.Context().Err(), context.Canceled) {
				err = fmt.Errorf("%d messages were not acknowledged; the last reason: %s", r.Pending, r.Last)
			}
			return err
		},
	}
	s.bind(cmd)
	f := cmd.Flags()
	f.StringVar(&credentials, "credentials", "", "CSV file: group, name, password")
	f.StringVar(&makeCredentials, "make-credentials", "", "write a credentials file for --gateways N, and end")
	f.IntVar(&gateways, "gateways", 0, "how many play (default: all of the credentials)")
	f.StringVar(&group, "group", "3374", "their group, where there are no credentials")
	f.DurationVar(&o.Interval, "interval", time.Second, "between two messages of a gateway; 0 = as fast as the server takes them")
	f.DurationVar(&o.For, "for", 0, "how long is sampled (default: until Ctrl-C)")
	f.DurationVar(&o.Drain, "drain", time.Minute, "how long is then waited for PUBACKs")
	f.IntVar(&o.Readings, "readings", 10, fmt.Sprintf("readings in a message, 1 to %d", fleet.MaxReadings()))
	f.IntVar(&o.Window, "window", 32, "unacknowledged messages of a gateway")
	f.DurationVar(&o.LiveFor, "live-for", 5*time.Minute, "how long a message counts as live")
	f.DurationVar(&o.Backlog, "backlog", 0, "so much past lies in every spool at the start")
	f.DurationVar(&o.OutageEvery, "outage-every", 0, "mean time between two outages of a gateway (default: none)")
	f.DurationVar(&o.OutageFor, "outage-for", 10*time.Second, "mean length of an outage")
	f.Float64Var(&o.RestartRate, "restart-rate", 0, "share of outages in which the gateway's process restarts")
	f.StringSliceVar(&faults, "clock-faults", nil, "unknown, ahead, back: dealt out in turn")
	f.Float64Var(&o.ClockShare, "clock-share", 0.1, "share of the gateways that have a clock fault")
	f.StringVar(&o.Ledger, "ledger", "", "file for the lines S and A")
	f.StringVar(&readyFile, "ready-file", "", "made once all gateways have connected")
	return cmd
}

// players reads the credentials, or invents gateways for a server that asks for
// none.
func players(file string, n int, group string) ([]fleet.Credential, error) {
	if file == "" {
		if n < 1 {
			return nil, usageError{errors.New("name --credentials FILE, or --gateways N for a server that asks for no password")}
		}
		return fleet.MakeCredentials(n, group), nil
	}
	all, err := fleet.ReadCredentials(file)
	if err != nil {
		return nil, err
	}
	switch {
	case n > len(all):
		return nil, usageError{fmt.Errorf("--gateways %d: %s holds %d", n, file, len(all))}
	case n > 0:
		all = all[:n]
	}
	return all, nil
}

// aqmsCommand plays a foreign Sparkplug node.
func aqmsCommand() *cobra.Command {
	var s serverFlags
	var o fleet.AQMSOptions
	var node, passwordFile, readyFile string
	var qos int
	cmd := &cobra.Command{
		Use: "aqms --server URL --node GROUP/NAME", Short: "Play a foreign air quality station: Sparkplug B with devices, aliases, ppb and ppm",
		Long: `aqms plays a maker's own air quality monitoring station: a Sparkplug B edge node
that knows nothing of Pantau. It has devices (DBIRTH, DDATA), aliases, floats,
and PM10, PM2.5, SO2, CO, O3, NO2 and HC in µg/m³, ppb and ppm, and one metric that
no catalogue knows. What it measures without a session is lost.

Exit codes: 0 ended by --for or a signal; 1 failed; 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.server == "" || node == "" {
				return usageError{errors.New("name the server and the node: --server mqtts://HOST:PORT --node GROUP/NAME")}
			}
			var err error
			if o.Credential.Node, err = telemetry.ParseNode(node); err != nil {
				return usageError{err}
			}
			if passwordFile != "" {
				text, err := os.ReadFile(passwordFile)
				if err != nil {
					return fmt.Errorf("read the password: %w", err)
				}
				o.Credential.Password = trimLine(text)
			}
			if o.CA, err = s.authority(); err != nil {
				return err
			}
			o.Server, o.Seed, o.Logger, o.Started, o.QoS = s.server, s.seed, s.logger(), touch(readyFile), byte(qos)
			r, err := fleet.RunAQMS(cmd.Context(), o)
			if errors.Is(err, fleet.ErrOptions) {
				return usageError{err}
			}
			text := fmt.Sprintf("%d readings in %d messages, %d births, %d connections", r.Readings, r.Messages, r.Births, r.Connects)
			if r.Last != "" {
				text += "\nlast: " + r.Last
			}
			return errors.Join(err, s.print(cmd.OutOrStdout(), r, text))
		},
	}
	s.bind(cmd)
	f := cmd.Flags()
	f.StringVar(&node, "node", "", "GROUP/NAME, also its user name")
	f.StringVar(&passwordFile, "password-file", "", "file with its password")
	f.IntVar(&o.Devices, "devices", 1, "stations behind the node")
	f.DurationVar(&o.Interval, "interval", 10*time.Second, "between two DDATA of a device, at most 2m")
	f.DurationVar(&o.For, "for", 0, "how long (default: until Ctrl-C)")
	f.IntVar(&qos, "qos", 0, "0 as Sparkplug says, or 1")
	f.StringVar(&readyFile, "ready-file", "", "made after the first births")
	return cmd
}

// trimLine cuts the line's end off a one-line file.
func trimLine(text []byte) string {
	for len(text) > 0 && (text[len(text)-1] == '\n' || text[len(text)-1] == '\r') {
		text = text[:len(text)-1]
	}
	return string(text)
}
