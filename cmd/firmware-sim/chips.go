package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	firmwaresim "github.com/pantau-id/pantau/firmware-sim"
	"github.com/pantau-id/pantau/firmware-sim/world"
)

// loads are whose electricity the meters may measure.
var loads = map[string]world.LoadKind{"household": world.Household, "market": world.Market, "street-light": world.StreetLight}

// chipsCommand plays the chips of one gateway.
func chipsCommand() *cobra.Command {
	var o firmwaresim.Options
	var start, pzem, sdm string
	var quiet bool
	cmd := &cobra.Command{
		Use: "chips --dir DIR", Short: "Play the sensors and meters of one gateway, register by register",
		Long: `chips plays the sensors of one gateway until Ctrl-C or SIGTERM, and then removes
what it made in DIR:

  i2c-1.sock    I2C: SPS30 at 0x69, SCD41 at 0x62, BME280 at 0x76
  ttyAIR        link to a serial port: A02YYUW ultrasonic ranger, 9600 8N1
  ttyRTU        link to a serial port: Modbus RTU, 9600 8N1, PZEM-004T v3 at
                address 1, Eastron SDM120 at address 2
  control.sock  commands; see "firmware-sim fault"

A request on i2c-1.sock is, big endian, u16 address, u16 write length, u16 read
length and the bytes to write; the answer is u8 status (0 done, 1 NACK, 2 bus
error, 3 time-out) and, with status 0, the bytes read.

The world behind the chips is a function of seed, site and time: traffic, burning
and rain, a bin that fills and is emptied, electric loads. With --speed the
world and the chips run faster than the clock; the serial lines keep their pace.

Exit codes: 0 ended by a signal; 1 failed; 2 wrong usage; 3 another firmware-sim
already serves DIR.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if start != "" {
				if o.Start, err = time.Parse(time.RFC3339, start); err != nil {
					return usageError{fmt.Errorf("--start: %w; want for example 2026-08-17T07:00:00+07:00", err)}
				}
			}
			var known bool
			if o.PZEMLoad, known = loads[pzem]; !known {
				return usageError{fmt.Errorf("--pzem-load %q: want household, market or street-light", pzem)}
			}
			if o.SDMLoad, known = loads[sdm]; !known {
				return usageError{fmt.Errorf("--sdm120-load %q: want household, market or street-light", sdm)}
			}
			if !quiet {
				o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
			}
			return firmwaresim.Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "folder of sockets and links; made if absent (required)")
	f.StringVar(&o.ReadyFile, "ready-file", "", "written when everything can be opened, removed at the end")
	f.Uint64Var(&o.Seed, "seed", 1, "of the world")
	f.StringVar(&o.Site, "site", "site-1", "name of the place in the world; each is different")
	f.StringVar(&start, "start", "", "the world's time at the start, RFC 3339 (default: now)")
	f.Float64Var(&o.Speed, "speed", 1, "seconds of the world in one second")
	f.DurationVar(&o.SmokeAfter, "smoke-after", 0, "a smoke episode so long after the start, by the clock (default: none)")
	f.DurationVar(&o.SmokeFor, "smoke-for", firmwaresim.SmokeFor, "how long it lasts")
	f.Float64Var(&o.SmokePeak, "smoke-peak", firmwaresim.SmokePeak, "its PM2.5 in µg/m³")
	f.StringVar(&pzem, "pzem-load", "household", "what the PZEM-004T measures: household, market, street-light")
	f.StringVar(&sdm, "sdm120-load", "market", "what the SDM120 measures")
	f.StringSliceVar(&o.Without, "without", nil, "parts to leave out, of "+strings.Join(firmwaresim.Parts(), ", "))
	f.BoolVar(&quiet, "quiet", false, "no log")
	return cmd
}

// faultCommand breaks and mends running chips.
func faultCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "fault DIR COMMAND...", Short: "Break and mend the chips that run in a folder",
		Long: `fault sends one command to the chips that run in DIR and prints the answer.

` + firmwaresim.ControlHelp + `

Examples:
  firmware-sim fault ./chips list
  firmware-sim fault ./chips fail sps30 crc 30s
  firmware-sim fault ./chips fail ttyRTU unplug
  firmware-sim fault ./chips clear all

Exit codes: 0 done; 1 the command was refused; 2 wrong usage; 3 no chips run in
DIR.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			command := strings.Fields(strings.Join(args[1:], " "))
			if asJSON {
				if len(command) != 1 || command[0] != "list" {
					return usageError{fmt.Errorf("--json goes with list only")}
				}
				command = append(command, "json")
			}
			text, err := firmwaresim.Control(cmd.Context(), args[0], command...)
			fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "list as JSON")
	return cmd
}
