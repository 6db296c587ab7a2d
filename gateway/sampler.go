package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pantau-id/pantau/gateway/sensors"
	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/gateway/status"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// sampler is the loop of one device: it samples every interval and reports
// every per samples. What it reports goes to keep, what its part tells of itself
// to identify, and nothing that these do stops it.
type sampler struct {
	SensorOptions // as resolved; Part "" for the gateway itself
	device        sensors.Sensor
	quantities    []telemetry.Quantity
	boottime      func() time.Duration
	keep          func(spool.Sample)
	identify      func(device string, id telemetry.Identity) // zero: it tells nothing
	log           *slog.Logger

	// The loop's own.
	span        *span
	stuck       map[string]*sensors.Stuck
	last        int64              // CLOCK_BOOTTIME ms of the newest record
	lastFlagged time.Duration      // of the newest flagged sample of this span
	identity    telemetry.Identity // of the part that gave the newest values

	mu      sync.Mutex
	shown   map[string]shown
	sampled time.Duration // of the newest attempt's end, 0 = none yet
	gap     telemetry.GapReason
	failure string
	samples uint64
	failed  uint64
	moved   time.Duration // when the loop last made progress
}

// shown is what the status page shows of one quantity.
type shown struct {
	reading telemetry.Reading
	at      time.Duration
	gap     telemetry.GapReason
}

// outcome is what one attempt at a sample gave.
type outcome struct {
	readings []telemetry.Reading
	identity telemetry.Identity // of the part that gave them
	at       time.Duration      // CLOCK_BOOTTIME of its end
	err      error
}

func newSampler(o SensorOptions, device sensors.Sensor, boottime func() time.Duration, keep func(spool.Sample), identify func(string, telemetry.Identity), log *slog.Logger) *sampler {
	s := &sampler{
		SensorOptions: o, device: device, boottime: boottime, keep: keep, identify: identify, log: log.With("sensor", o.Name),
		quantities: device.Quantities(), stuck: map[string]*sensors.Stuck{}, shown: map[string]shown{}, last: -1, moved: boottime(),
	}
	var names []string
	for _, q := range s.quantities {
		names = append(names, q.Name)
	}
	s.span = newSpan(names)
	return s
}

// per is how many samples make one report.
func (s *sampler) per() int { return max(1, int(s.Report/s.Interval)) }

// run samples until ctx ends, reports what it has by then, and closes the
// device. A sample that hangs leaves gaps, and no second one is started beside
// it.
func (s *sampler) run(ctx context.Context) {
	tick := time.NewTicker(time.Duration(s.Interval))
	defer tick.Stop()
	results := make(chan outcome, 1)
	busy, filled, n := false, false, 1 // n is the sample's place in the report
	start := func() {
		filled = false
		if !busy {
			busy = true
			go func() { results <- s.sample(ctx) }()
		}
	}
	fill := func(o outcome) {
		filled = true
		s.take(o)
		s.recognize(o)
		if n == s.per() {
			s.report()
		}
	}
	start()
	for {
		select {
		case <-ctx.Done():
			if busy {
				<-results // drivers end with their context
			}
			if n > 1 && (n < s.per() || !filled) {
				s.report()
			}
			if err := s.device.Close(); err != nil {
				s.log.Warn("the sensor could not be stopped", "error", err)
			}
			return
		case o := <-results:
			busy = false
			if !filled {
				fill(o)
			}
		case <-tick.C:
			if !filled {
				fill(outcome{at: s.boottime(), err: fmt.Errorf("no answer within %v: %w", s.Interval, fault.ErrTimeout)})
			}
			n = n%s.per() + 1
			start()
		}
		s.mu.Lock()
		s.moved = s.boottime()
		s.mu.Unlock()
	}
}

// stuckFor says how long the loop has made no progress, or 0 while that is no
// longer than it may be.
func (s *sampler) stuckFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.boottime() - s.moved; d > 3*time.Duration(s.Interval)+10*time.Second {
		return d
	}
	return 0
}

const (
	maxSample   = 10 * time.Second // longest attempt at one sample
	attempts    = 3
	retryPause  = 200 * time.Millisecond
	notYetPause = time.Second // a part with no new value is asked again after it
)

// sample reads once, and again where that may help, within nine tenths of the
// interval.
func (s *sampler) sample(ctx context.Context) outcome {
	limit := min(maxSample, time.Duration(s.Interval)*9/10)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := min(retryPause, limit/10)
	var o outcome
	for try := 1; ; try++ {
		o.readings, o.err = s.sense(ctx)
		o.at = s.boottime()
		if part, ok := s.device.(sensors.Identified); ok {
			o.identity = part.Identity()
		}
		wait := pause
		if errors.Is(o.err, fault.ErrNotReady) {
			wait = min(notYetPause, limit/4)
		} else if try >= attempts {
			return o
		}
		if o.err == nil || !pauseFor(ctx, wait) {
			return o
		}
	}
}

// pauseFor waits, and reports whether ctx still holds.
func pauseFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// sense calls the driver. A driver that panics has failed like any other.
func (s *sampler) sense(ctx context.Context) (readings []telemetry.Reading, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("the driver panicked", "panic", p, "stack", string(debug.Stack()))
			readings, err = nil, fmt.Errorf("the driver panicked: %v", p)
		}
	}()
	return s.device.Sense(ctx)
}

// take adds what an attempt gave to the span and to what is shown.
func (s *sampler) take(o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples++
	s.sampled = o.at
	if o.err != nil {
		reason := sensors.GapOf(o.err)
		s.failed++
		if s.gap != reason {
			s.log.Warn("the sensor gives no data", "reason", reason, "error", o.err)
		}
		s.gap, s.failure = reason, o.err.Error()
		s.span.fail(reason)
		for _, q := range s.span.quantities {
			v := s.shown[q.name]
			v.gap = reason
			s.shown[q.name] = v
		}
		return
	}
	if s.gap != telemetry.GapNone {
		s.log.Info("the sensor gives data again")
	}
	s.gap, s.failure = telemetry.GapNone, ""
	for i := range o.readings {
		r := &o.readings[i]
		if s.isStuck(r, o.at) && r.Flag == telemetry.FlagNone {
			r.Flag = telemetry.FlagStuck
		}
		if r.Flag != telemetry.FlagNone {
			s.lastFlagged = o.at
		}
		v := s.shown[r.Quantity]
		v.gap = r.Gap
		if r.Gap == telemetry.GapNone && r.Value.Finite() {
			v.reading, v.at = *r, o.at
		}
		s.shown[r.Quantity] = v
	}
	s.span.add(o.readings)
}

// recognize tells of the part if it is another one than that of the last values.
// While there are none, the last one known stands.
func (s *sampler) recognize(o outcome) {
	if o.err != nil || o.identity == s.identity {
		return
	}
	s.identity = o.identity
	s.log.Info("the sensor tells who it is", "firmware", o.identity.Firmware, "serial", o.identity.Serial)
	s.identify(s.Name, o.identity)
}

func (s *sampler) isStuck(r *telemetry.Reading, at time.Duration) bool {
	if r.Gap != telemetry.GapNone {
		return false
	}
	w := s.stuck[r.Quantity]
	if w == nil {
		w = &sensors.Stuck{}
		s.stuck[r.Quantity] = w
	}
	return w.Observe(r.Quantity, r.Value, at)
}

// report ends the span. Flagged samples beside good ones become a record of
// their own, at the time of the last of them: two records of one device never
// share a millisecond.
func (s *sampler) report() {
	good, flagged := s.span.report()
	at := s.boottime()
	if len(flagged) > 0 {
		s.record(s.lastFlagged, flagged)
	}
	if len(good) > 0 {
		s.record(at, good)
	}
}

func (s *sampler) record(at time.Duration, readings []telemetry.Reading) {
	ms := max(at.Milliseconds(), s.last+1)
	s.last = ms
	s.keep(spool.Sample{Device: s.Name, Boottime: time.Duration(ms) * time.Millisecond, Readings: readings})
}

// view is what the status page shows. wall turns CLOCK_BOOTTIME into UTC.
func (s *sampler) view(wall func(time.Duration) time.Time) status.Sensor {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := status.Sensor{
		Name: s.Name, Part: s.Part, Bus: s.Bus, Address: s.Address, Interval: time.Duration(s.Interval), Report: time.Duration(s.Report),
		Gap: s.gap, Error: s.failure, Samples: s.samples, Failed: s.failed,
	}
	if s.sampled > 0 {
		v.Sampled = wall(s.sampled)
	}
	for _, q := range s.quantities {
		one := status.Value{Quantity: q, Gap: s.shown[q.Name].gap}
		if got := s.shown[q.Name]; got.at > 0 {
			one.Reading, one.At = got.reading, wall(got.at)
		}
		v.Values = append(v.Values, one)
	}
	return v
}
