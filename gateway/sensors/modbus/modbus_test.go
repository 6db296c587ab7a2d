package modbus

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
)

// line is a line with a scripted slave: it returns the bytes of an answer and
// when they come.
type line struct {
	asked   [][]byte
	slave   func(q []byte) (answer []byte, after time.Duration)
	pending []arrival
	failure error
}

type arrival struct {
	at    time.Time
	bytes []byte
}

func (l *line) SetBaud(int) error { return l.failure }

func (l *line) Write(q []byte) (int, error) {
	if l.failure != nil {
		return 0, l.failure
	}
	l.asked = append(l.asked, append([]byte(nil), q...))
	if a, after := l.slave(q); len(a) > 0 {
		at := time.Now().Add(after)
		if n := len(l.pending); n > 0 && at.Before(l.pending[n-1].at) {
			at = l.pending[n-1].at // a slave answers in order
		}
		l.pending = append(l.pending, arrival{at, a})
	}
	return len(q), nil
}

func (l *line) Read(p []byte) (int, error) {
	if l.failure != nil {
		return 0, l.failure
	}
	const wait = 40 * time.Millisecond
	if len(l.pending) == 0 || time.Until(l.pending[0].at) > wait {
		time.Sleep(wait)
		return 0, nil
	}
	time.Sleep(time.Until(l.pending[0].at))
	n := copy(p, l.pending[0].bytes)
	if l.pending[0].bytes = l.pending[0].bytes[n:]; len(l.pending[0].bytes) == 0 {
		l.pending = l.pending[1:]
	}
	return n, nil
}

func (l *line) Drop() error {
	for len(l.pending) > 0 && !l.pending[0].at.After(time.Now()) {
		l.pending = l.pending[1:]
	}
	return l.failure
}

// frame appends the CRC to the bytes of a hexadecimal text.
func frame(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.AppendUint16(b, CRC(b))
}

func whole(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var voltage = Range{0, 2}

func unit(l *line) Unit {
	return Unit{Master: New(l), Address: 1, Baud: 9600, Probes: []Range{{0, 1}, {0, 3}}}
}

// TestRecordedExchange replays the example of Eastron's SDM120 protocol document
// (V2.4, §1): voltage, 230.2 V.
func TestRecordedExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{slave: func([]byte) ([]byte, time.Duration) {
			return whole(t, "01 04 04 43 66 33 34 1b 38"), 100 * time.Millisecond
		}}
		regs, err := unit(l).Read(t.Context(), ReadInput, voltage)
		if err != nil || regs[0] != 0x4366 || regs[1] != 0x3334 {
			t.Fatalf("%04x, %v", regs, err)
		}
		if want := whole(t, "01 04 00 00 00 02 71 cb"); string(l.asked[0]) != string(want) {
			t.Errorf("asked % x, want % x", l.asked[0], want)
		}
	})
}

func TestWhatIsNoAnswerIsAnErrorOfItsKind(t *testing.T) {
	good := "01 04 04 43 66 33 34"
	for name, c := range map[string]struct {
		answer []byte
		want   error // nil: a value
	}{
		"silence":                 {nil, fault.ErrNoAnswer},
		"wrong CRC":               {append(frame(t, good)[:7], 0x1b, 0x39), fault.ErrChecksum},
		"changed value":           {append(whole(t, "01 04 04 43 67 33 34"), 0x1b, 0x38), fault.ErrChecksum},
		"broke off":               {frame(t, good)[:5], fault.ErrTimeout},
		"another unit":            {frame(t, "02 04 04 43 66 33 34"), fault.ErrNoAnswer},
		"another function":        {frame(t, "01 03 04 43 66 33 34"), fault.ErrProtocol},
		"another length":          {frame(t, "01 04 02 43 66"), fault.ErrProtocol},
		"refused":                 {frame(t, "01 84 02"), fault.ErrProtocol},
		"busy":                    {frame(t, "01 84 06"), fault.ErrNotReady},
		"echo before it":          {append(frame(t, "01 04 00 00 00 02"), frame(t, good)...), nil},
		"noise before it":         {append([]byte{0, 0x55, 1, 4, 4}, frame(t, good)...), nil},
		"another answer before":   {append(frame(t, "01 04 02 00 07"), frame(t, good)...), nil},
		"another unit before it":  {append(frame(t, "09 04 04 00 00 00 00"), frame(t, good)...), nil},
		"noise after it":          {append(frame(t, good), 0, 0), nil},
		"refusal with a bad CRC":  {[]byte{1, 0x84, 2, 0, 0}, fault.ErrTimeout},
		"a longer value's middle": {frame(t, "01 04 14 01 04 04 43 66 33 34 00 00 00 00 00 00 00 00 00 00 00 00 00"), fault.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &line{slave: func([]byte) ([]byte, time.Duration) { return c.answer, 20 * time.Millisecond }}
				start := time.Now()
				regs, err := unit(l).Read(t.Context(), ReadInput, voltage)
				switch {
				case c.want == nil && (err != nil || regs[0] != 0x4366):
					t.Errorf("%04x, %v; want the value", regs, err)
				case c.want != nil && !errors.Is(err, c.want):
					t.Errorf("%04x, %v; want %v", regs, err, c.want)
				}
				if d := time.Since(start); d > time.Second {
					t.Errorf("took %v", d)
				}
			})
		})
	}
}

func TestExceptionKeepsItsCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{slave: func([]byte) ([]byte, time.Duration) { return frame(t, "01 84 02"), 0 }}
		_, err := unit(l).Read(t.Context(), ReadInput, voltage)
		var e Exception
		if !errors.As(err, &e) || e != 2 || !strings.Contains(err.Error(), "illegal data address") {
			t.Errorf("%v", err)
		}
	})
}

// TestALateAnswerIsNeverTheNextOnes is the case in which simonvetter/modbus
// returns the wrong register: the slave answers the first question when the second
// has been asked.
func TestALateAnswerIsNeverTheNextOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := 700 * time.Millisecond
		l := &line{}
		l.slave = func(q []byte) ([]byte, time.Duration) { // each register holds its own number
			first, n := binary.BigEndian.Uint16(q[2:]), binary.BigEndian.Uint16(q[4:])
			a := fmt.Sprintf("01 04 %02x", 2*n)
			for r := first; r < first+n; r++ {
				a += fmt.Sprintf(" %04x", r)
			}
			after := late
			late = 0
			return frame(t, a), after
		}
		u := unit(l)
		if _, err := u.Read(t.Context(), ReadInput, Range{0x10, 2}); !errors.Is(err, fault.ErrNoAnswer) {
			t.Fatalf("the first question: %v", err)
		}
		regs, err := u.Read(t.Context(), ReadInput, Range{0x20, 2})
		if err != nil || regs[0] != 0x20 {
			t.Errorf("the second question: %04x, %v; want 0020", regs, err)
		}
	})
}

// TestNoAnswerIsEverAnotherQuestions runs a slave that is late, silent, noisy
// and wrong at random; its answers carry the number of the question.
func TestNoAnswerIsEverAnotherQuestions(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			l := &line{}
			l.slave = func(q []byte) ([]byte, time.Duration) {
				n := int(binary.BigEndian.Uint16(q[4:]))
				a := []byte{q[0], q[1], byte(2 * n)}
				for range n {
					a = binary.BigEndian.AppendUint16(a, uint16(len(l.asked)))
				}
				a = binary.LittleEndian.AppendUint16(a, CRC(a))
				after := time.Duration(rnd.IntN(200)) * time.Millisecond
				switch rnd.IntN(8) {
				case 0:
					return nil, 0
				case 1, 2:
					after = time.Duration(rnd.IntN(1500)) * time.Millisecond
				case 3:
					a[rnd.IntN(len(a))] ^= byte(1 + rnd.IntN(255))
				case 4:
					a = a[:rnd.IntN(len(a))]
				case 5:
					a = append(make([]byte, rnd.IntN(6)), a...)
				}
				return a, after
			}
			m := New(l)
			units := []Unit{
				{Master: m, Address: 1, Baud: 9600, Probes: []Range{{0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}}},
				{Master: m, Address: 2, Baud: 2400, Probes: []Range{{0, 2}, {0, 4}, {0, 8}, {0, 10}, {0, 12}}},
			}
			ranges := [][]Range{{{0, 10}}, {{0, 0x20}, {0x46, 6}}}
			good := 0
			for range 400 {
				i := rnd.IntN(2)
				r := ranges[i][rnd.IntN(len(ranges[i]))]
				regs, err := units[i].Read(t.Context(), ReadInput, r)
				if err == nil {
					good++
					if int(regs[0]) != len(l.asked) {
						t.Fatalf("seed %d: question %d got the answer to question %d", seed, len(l.asked), regs[0])
					}
				}
				time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
			}
			if good < 40 {
				t.Errorf("seed %d: only %d of 400 questions were answered", seed, good)
			}
		})
	}
}

func TestAFailedLineIsABusErrorAndUsedAgainWhenMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{slave: func(q []byte) ([]byte, time.Duration) {
			n := q[5]
			return frame(t, fmt.Sprintf("01 04 %02x", 2*n)+strings.Repeat(" 0007", int(n))), 0
		}}
		u := unit(l)
		l.failure = fmt.Errorf("pulled: %w", fault.ErrBus)
		if _, err := u.Read(t.Context(), ReadInput, voltage); !errors.Is(err, fault.ErrBus) {
			t.Errorf("%v, want a bus error", err)
		}
		l.failure = nil
		if regs, err := u.Read(t.Context(), ReadInput, voltage); err != nil || regs[0] != 7 {
			t.Errorf("%v, %v", regs, err)
		}
	})
}

func TestReadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{slave: func([]byte) ([]byte, time.Duration) { return nil, 0 }}
		u := unit(l)
		done := make(chan error)
		go func() { // holds the line for half a second
			_, err := u.Read(t.Context(), ReadInput, voltage)
			done <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := u.Read(ctx, ReadInput, voltage); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for the line: %v", err)
		}
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("waited %v", d)
		}
		if err := <-done; !errors.Is(err, fault.ErrNoAnswer) {
			t.Error(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start = time.Now()
		if _, err := u.Read(ctx, ReadInput, voltage); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for the answer: %v", err)
		}
		if d := time.Since(start); d > 150*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}
