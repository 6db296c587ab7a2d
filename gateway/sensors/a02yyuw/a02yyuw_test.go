package a02yyuw

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// recording is a line on which bursts come 100 ms apart; what is read at once is
// at most chunk bytes.
type recording struct {
	bursts  [][]byte
	chunk   int
	next    time.Time
	left    []byte
	dropped int
}

func (r *recording) SetBaud(baud int) error {
	if baud != 9600 {
		return fmt.Errorf("%d baud", baud)
	}
	return nil
}

func (r *recording) Drop() error {
	r.left, r.dropped = nil, r.dropped+1
	return nil
}

func (r *recording) Read(p []byte) (int, error) {
	const wait = 40 * time.Millisecond
	if len(r.left) == 0 {
		if r.next.IsZero() {
			r.next = time.Now().Add(30 * time.Millisecond)
		}
		if len(r.bursts) == 0 || time.Until(r.next) > wait {
			time.Sleep(wait)
			return 0, nil
		}
		time.Sleep(time.Until(r.next))
		r.left, r.bursts = r.bursts[0], r.bursts[1:]
		r.next = time.Now().Add(100 * time.Millisecond)
	}
	n := copy(p[:min(len(p), r.chunk)], r.left)
	r.left = r.left[n:]
	return n, nil
}

// TestRecordedFrames: the frame FF 07 A1 A7 of the product wiki is 1,953 mm.
func TestRecordedFrames(t *testing.T) {
	good := []byte{0xff, 0x07, 0xa1, 0xa7}
	noise := make([]byte, 200)
	for name, c := range map[string]struct {
		bursts [][]byte
		want   error
		mm     float64
	}{
		"a frame":                     {[][]byte{good}, nil, 1953},
		"the rest of one before it":   {[][]byte{good[2:], good}, nil, 1953},
		"two that came together":      {[][]byte{{0xff, 0x00, 0x64, 0x63, 0xff, 0x07, 0xa1, 0xa7}}, nil, 1953},
		"a bad one before it":         {[][]byte{{0xff, 0x07, 0xa1, 0xa8}, good}, nil, 1953},
		"FF within it":                {[][]byte{{0xff, 0x00, 0xff, 0xfe}}, nil, 255},
		"bad sums":                    {[][]byte{{0xff, 7, 0xa1, 0xa6}, {0xff, 7, 0xa1, 0xa8}, {0xfe, 7, 0xa1, 0xa6}}, fault.ErrChecksum, 0},
		"broken off":                  {[][]byte{good[:2], good[:3], good[:2]}, fault.ErrTimeout, 0},
		"nothing":                     {nil, fault.ErrNoAnswer, 0},
		"noise without a pause":       {[][]byte{noise}, fault.ErrProtocol, 0},
		"an older frame's end and FF": {[][]byte{{0xa1, 0xa7, 0xff}, good}, nil, 1953},
	} {
		for _, chunk := range []int{1, 3, 32} {
			t.Run(fmt.Sprintf("%s by %d", name, chunk), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					line := &recording{bursts: c.bursts, chunk: chunk}
					d, err := New(line, 0, 0)
					if err != nil {
						t.Fatal(err)
					}
					got, err := d.Sense(t.Context())
					if !errors.Is(err, c.want) {
						t.Fatalf("%v, %v; want %v", got, err, c.want)
					}
					if err == nil && (got[0].Value.Number != c.mm || len(got) != 1) {
						t.Errorf("%+v, want %v mm", got, c.mm)
					}
					if line.dropped != 1 {
						t.Error("what lay in the buffer was not thrown away")
					}
				})
			})
		}
	}
}

func TestOutsideItsRangeThePartMeasuresNothing(t *testing.T) {
	for mm, gap := range map[int]telemetry.GapReason{
		0: telemetry.GapNotNumber, 29: telemetry.GapNotNumber, 30: "", 4500: "", 4501: telemetry.GapNotNumber, 0xfffd: telemetry.GapNotNumber,
	} {
		synctest.Test(t, func(t *testing.T) {
			h, l := byte(mm>>8), byte(mm)
			d, err := New(&recording{bursts: [][]byte{{0xff, h, l, 0xff + h + l}}, chunk: 4}, 2000, 300)
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Sense(t.Context())
			if err != nil || got[0].Gap != gap || got[1].Gap != gap {
				t.Errorf("%d mm: %+v, %v; want gap %q", mm, got, err, gap)
			}
		})
	}
}

func TestSenseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := New(&recording{chunk: 4}, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		// A line on which nothing came is silent, however short the time was.
		if _, err := d.Sense(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fault.ErrNoAnswer) || time.Since(start) > 150*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestGeometryThatCannotBeIsRefused(t *testing.T) {
	for _, g := range [][2]float64{{1200, 0}, {0, 200}, {200, 1200}, {500, 500}, {5000, 200}, {1200, 10}} {
		if _, err := New(&recording{}, g[0], g[1]); err == nil {
			t.Errorf("empty %v mm, full %v mm was accepted", g[0], g[1])
		}
	}
}
