package fleet

import (
	"context"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// grain is how often a gateway wakes for samples that are closer together.
const grain = 10 * time.Millisecond

// drainGrain is how often it looks whether all is acknowledged at the end.
const drainGrain = 50 * time.Millisecond

// sample takes samples until sampling ends, and then waits until all is
// acknowledged or draining ends. Outages, clock steps and pings happen here too.
func (p *player) sample(sampling, draining context.Context) {
	interval := p.f.o.Interval
	if interval == 0 {
		interval = grain // as fast as it goes: PUBACKs make the next one
	}
	// Gateways don't sample in step.
	next := p.f.boottime() + 1 + p.rng.Int64N(max(1, interval.Milliseconds()))
	timer := time.NewTimer(time.Duration(next-p.f.boottime()) * time.Millisecond)
	defer timer.Stop()
	out := p.nextOutage(p.f.boottime())
	done := sampling.Done()
	for {
		select {
		case <-draining.Done():
			return
		case <-done:
			done = nil
			timer.Reset(drainGrain)
		case <-p.kick:
		case <-timer.C:
			now := p.f.boottime()
			if done != nil {
				p.f.ledger.wait()
				n := int64(0)
				if now >= next {
					n = (now-next)/interval.Milliseconds() + 1
					next += n * interval.Milliseconds()
				}
				p.tick(int(n), interval.Milliseconds(), now)
				if out > 0 && now >= out {
					p.outage()
					out = p.nextOutage(now)
				}
			}
			p.ping()
			wait := max(grain, time.Duration(next-p.f.boottime())*time.Millisecond)
			if done == nil {
				wait = drainGrain
			} else if out > 0 {
				wait = min(wait, max(grain, time.Duration(out-p.f.boottime())*time.Millisecond))
			}
			timer.Reset(min(wait, pingEvery))
		}
		p.mu.Lock()
		p.pump()
		left := done == nil && p.unacknowledged() == 0
		p.mu.Unlock()
		if left {
			return
		}
		if err := p.f.ledger.failed(); err != nil {
			p.f.fail(err)
			return
		}
	}
}

// tick takes what is due.
func (p *player) tick(n int, step, now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stepClock(now)
	if p.f.o.Interval == 0 {
		p.top()
	} else if n > 0 {
		p.produce(n, step, now)
	}
}

// top makes as many messages as the window has room for.
func (p *player) top() {
	if n := len(p.free); n > 0 && p.conn != nil && p.f.sampling() {
		q := p.queues[len(p.queues)-1]
		if waiting := len(q.messages) - q.head - (p.f.o.Window - n); waiting < n {
			p.produce(n-max(0, waiting), 0, p.f.boottime())
		}
	}
}

// sampling reports whether samples are still taken.
func (f *fleet) sampling() bool {
	select {
	case <-f.o.Enough:
		return false
	default:
		return f.o.For == 0 || time.Since(f.begin) < f.o.For
	}
}

// past fills the spool with what was sampled before the start.
func (p *player) past() {
	step := p.f.o.Interval.Milliseconds()
	if n := p.f.o.Backlog.Milliseconds(); n > 0 && step > 0 {
		p.mu.Lock()
		p.produce(int(n/step), step, p.f.boottime())
		p.mu.Unlock()
	}
}

func (p *player) nextOutage(now int64) int64 {
	if p.f.o.OutageEvery <= 0 {
		return 0
	}
	return now + int64(p.rng.ExpFloat64()*float64(p.f.o.OutageEvery.Milliseconds())) + 1
}

// outage cuts the link without a farewell; some restart the process.
func (p *player) outage() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offUntil = time.Now().Add(time.Duration((0.5 + p.rng.Float64()) * float64(p.f.o.OutageFor)))
	if p.conn != nil {
		_ = p.conn.Close() // its reader notices
	}
	if p.rng.Float64() < p.f.o.RestartRate {
		p.restart()
	}
}

func (p *player) ping() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil && time.Since(p.lastSent) > pingEvery {
		p.write([]byte{typePingreq, 0})
	}
}

const (
	year     = 365 * 24 * time.Hour
	stepBack = 2 * time.Minute
)

// faults gives the gateway its clock.
func (p *player) faults(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock = playedClock{}
	fault := ClockFault("")
	if n := len(p.f.o.ClockFaults); n > 0 && p.rng.Float64() < p.f.o.ClockShare {
		fault = p.f.o.ClockFaults[i%n]
	}
	p.fault = fault
	switch fault {
	case ClockUnknown:
	case ClockAhead:
		p.setClock(p.f.offset+year.Milliseconds(), telemetry.TimeNTP)
	default:
		p.setClock(p.f.offset, telemetry.TimeNTP)
	}
}

// stepClock does the step of a faulty clock once half of the run is over.
func (p *player) stepClock(now int64) {
	if p.stepped || p.f.o.For == 0 || now < p.f.boottimeAt(p.f.o.For/2) {
		return
	}
	p.stepped = true
	switch p.fault {
	case ClockAhead:
		p.setClock(p.f.offset, telemetry.TimeNTP)
	case ClockBack:
		p.setClock(p.f.offset-stepBack.Milliseconds(), telemetry.TimeNTP)
	}
}

func (f *fleet) boottimeAt(d time.Duration) int64 { return (d + bootAge + f.o.Backlog).Milliseconds() }
