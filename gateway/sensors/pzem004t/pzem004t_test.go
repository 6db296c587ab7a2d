package pzem004t

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/gateway/sensors/modbus"
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

const question = "01040000000a"

// TestRecordedAnswer has the registers as the user manual's §2.3 lays them out,
// with high words that are not zero, so that their order shows.
func TestRecordedAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := recording{question: "01 04 14 0898 03e8 0001 08bc 0002 86a0 0001 01f4 0060 0000"}
		d := New(modbus.New(line), 1, Baud)
		got, err := d.Sense(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// 66,536 mA; 133,308 tenths of a watt; 100,000 Wh.
		for i, want := range []float64{220, 66.536, 13330.8, 100, 50, 0.96} {
			if got[i].Value.Number != want {
				t.Errorf("%s = %+v, want %v", got[i].Quantity, got[i], want)
			}
		}
		if q := d.Quantities(); len(q) != len(got) || q[3].Name != "energy" || q[3].Unit != "kWh" {
			t.Errorf("quantities %v", q)
		}
	})
}

func TestIdentify(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   error
	}{
		"a meter":        {"01 04 14 0898 03e8 0001 08bc 0002 86a0 0001 01f4 0060 0000", nil},
		"another meter":  {"01 04 14 4366 3334 0000 0000 0000 0000 3f80 0000 0000 0000", fault.ErrProtocol},
		"another slave":  {"01 84 02", fault.ErrProtocol},
		"no such device": {"", fault.ErrNoAnswer},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := modbus.Unit{Master: modbus.New(recording{question: c.answer}), Address: 1, Baud: Baud, Probes: probes}
			if err := Identify(t.Context(), u); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		})
	}
}
