package sdm120

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/gateway/sensors/modbus"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// recording is a line on which each question has its recorded answer.
type recording map[string]string

func (r recording) SetBaud(int) error { return nil }
func (r recording) Drop() error       { return nil }

func (r recording) Write(q []byte) (int, error) {
	r["now"] = r[hex.EncodeToString(q[:6])]
	return len(q), nil
}

func (r recording) Read(p []byte) (int, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(r["now"], " ", ""))
	r["now"] = ""
	if len(b) == 0 {
		time.Sleep(40 * time.Millisecond)
		return 0, err
	}
	return copy(p, binary.LittleEndian.AppendUint16(b, modbus.CRC(b))), err
}

// TestRecordedAnswers: 230.2 V is the example of the protocol document (§1);
// power and power factor are those of a site that exports; a number that is none
// is a gap.
func TestRecordedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registers := make([]string, 0x20)
		for i := range registers {
			registers[i] = "0000"
		}
		put := func(at int, high, low string) { registers[at], registers[at+1] = high, low }
		put(0x00, "4366", "3334") // 230.20001, to the digit
		put(0x06, "4087", "126f") // 4.221
		put(0x0c, "c473", "e000") // -975.5
		put(0x1e, "bf75", "c28f") // -0.96
		line := recording{
			"010400000020": "01 04 40 " + strings.Join(registers, " "),
			"010400460006": "01 04 0c 4247 f5c3 449a 5220 7fc0 0000", // 49.99, 1234.566, NaN
			"0103fc000002": "01 03 04 016e a8b5",
			"0103fc030001": "01 03 02 0204",
		}
		d := New(modbus.New(line), 1, Baud)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.Sense(short); err != nil || d.Identity() != (telemetry.Identity{}) {
			t.Errorf("%v, %+v: the meter was asked who it is without the time for it", err, d.Identity())
		}
		got, err := d.Sense(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []float64{230.20001, 4.221, -975.5, -0.96, 49.99, 1234.5664} {
			if got[i].Value.Number != want {
				t.Errorf("%s = %+v, want %v", got[i].Quantity, got[i], want)
			}
		}
		if got[6].Gap != telemetry.GapNotNumber {
			t.Errorf("%+v, want a gap", got[6])
		}
		for i, q := range d.Quantities() {
			if got[i].Quantity != q.Name {
				t.Errorf("reading %d is %s, announced as %s", i, got[i].Quantity, q.Name)
			}
		}
		if id := d.Identity(); id != (telemetry.Identity{Firmware: "0204", Serial: "24029365"}) {
			t.Errorf("the meter told %+v", id)
		}
	})
}

// A relative without these registers gives its values all the same, in time.
func TestAMeterThatDoesNotTellWhoItIs(t *testing.T) {
	for name, answer := range map[string]string{"refuses": "01 83 02", "keeps silent": ""} {
		synctest.Test(t, func(t *testing.T) {
			line := recording{
				"010400000020": "01 04 40 " + strings.Repeat("0000", 0x20), "010400460006": "01 04 0c" + strings.Repeat("0000", 6),
				"0103fc000002": answer, "0103fc030001": answer,
			}
			for _, p := range probes { // by which the master gets in step after a silence
				line[fmt.Sprintf("01040000%04x", p.Count)] = fmt.Sprintf("0104%02x", 2*p.Count) + strings.Repeat("0000", int(p.Count))
			}
			d := New(modbus.New(line), 1, Baud)
			for n := range 10 {
				before := time.Now()
				if got, err := d.Sense(t.Context()); err != nil || len(got) != 7 || d.Identity() != (telemetry.Identity{}) {
					t.Errorf("%s: sample %d: %v, %v, %+v", name, n, got, err, d.Identity())
				}
				if took := time.Since(before); n > maxAsks && took > 100*time.Millisecond {
					t.Errorf("%s: sample %d still takes %v", name, n, took)
				}
			}
		})
	}
}

func TestIdentify(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   error
	}{
		"a meter":       {"01 04 04 4248 0000", nil},
		"no mains":      {"01 04 04 0000 0000", fault.ErrProtocol},
		"not a number":  {"01 04 04 7fc0 0000", fault.ErrProtocol},
		"another slave": {"01 84 02", fault.ErrProtocol},
		"nothing":       {"", fault.ErrNoAnswer},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := modbus.Unit{Master: modbus.New(recording{"010400460002": c.answer}), Address: 1, Baud: Baud, Probes: probes}
			if err := Identify(t.Context(), u); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		})
	}
}
