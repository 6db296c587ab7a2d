// Package world is what the simulated sensors stand in: the air of a province
// with traffic, burning and rain, bins that fill and are emptied, and electric
// loads with the habits of households, markets and street lights.
//
// It promises to be a pure function of (seed, site, time): the same at every
// call, in any order, as fast as time is asked for, without allocating. Times of
// day are WIB (UTC+7). The values are plausible for Central Java; they are
// nobody's measurements.
package world

import (
	"math"
	"sync/atomic"
	"time"
)

// World is one seeded world. Safe for concurrent use.
type World struct {
	seed  uint64
	smoke atomic.Pointer[Smoke]
	haze  atomic.Bool
}

// Smoke is one episode of burning near every site: PM2.5 rises to Peak within
// its first eighth and falls within its last.
type Smoke struct {
	Start time.Time
	For   time.Duration
	Peak  float64 // µg/m³ of PM2.5
}

// New returns the world of a seed.
func New(seed uint64) *World { return &World{seed: seed} }

// SetSmoke puts an episode into the world, in place of an earlier one.
func (w *World) SetSmoke(s Smoke) { w.smoke.Store(&s) }

// at returns how thick the smoke is: 0 outside the episode, 1 at its peak.
func (s *Smoke) at(t time.Time) float64 {
	if s == nil || s.For <= 0 {
		return 0
	}
	x := 8 * float64(t.Sub(s.Start)) / float64(s.For)
	return min(max(min(x, 8-x), 0), 1)
}

// Site is a place in the world.
type Site struct {
	w     *World
	hash  uint64
	place Place // zero = somewhere
}

// Site returns the place of a name; every name is one.
func (w *World) Site(name string) Site {
	h := w.seed ^ 0x9e3779b97f4a7c15
	for i := range len(name) {
		h = mix(h ^ uint64(name[i]))
	}
	return Site{w: w, hash: h}
}

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit gives a number in [0,1) for a purpose and an index.
func (s Site) unit(purpose, index uint64) float64 {
	return float64(mix(s.hash^mix(purpose)^mix(index*0x2545f4914f6cdd1d))>>11) / (1 << 53)
}

// wave is smooth noise around 0, within ±1, that changes over about the period.
func (s Site) wave(purpose uint64, t time.Time, period time.Duration) float64 {
	x := float64(t.UnixMilli()) / float64(period.Milliseconds())
	i := math.Floor(x)
	f := x - i
	f = f * f * (3 - 2*f)
	a, b := s.unit(purpose, uint64(int64(i))), s.unit(purpose, uint64(int64(i)+1))
	return 2*(a+(b-a)*f) - 1
}

// Purposes of noise.
const (
	noiseCharacter = iota + 1
	noiseSlow
	noiseFast
	noiseRain
	noiseBurn
	noiseBin
	noiseLoad
	noiseVolt
	noiseHaze // and the numbers behind it
)

const day = 24 * time.Hour

// local splits a time into the day number and the hour of day in WIB.
func local(t time.Time) (days int64, hour float64) {
	ms := t.UnixMilli() + 7*3600*1000
	days = ms / day.Milliseconds()
	rest := ms - days*day.Milliseconds()
	if rest < 0 {
		days, rest = days-1, rest+day.Milliseconds()
	}
	return days, float64(rest) / 3600e3
}

// weekend reports whether a day number is a Saturday or a Sunday (day 0 was a
// Thursday).
func weekend(days int64) bool {
	w := (days%7 + 7) % 7
	return w == 2 || w == 3
}

// bump is a smooth hill of height 1 around an hour of day.
func bump(hour, at, width float64) float64 {
	d := math.Abs(hour - at)
	d = min(d, 24-d) / width
	return math.Exp(-d * d)
}

// Air is the air at a site: masses and gases in µg/m³, CO2 in ppm, temperature
// in °C, humidity in %, pressure in hPa.
type Air struct {
	PM1, PM25, PM4, PM10            float64
	SO2, CO, O3, NO2, HC            float64
	CO2                             float64
	Temperature, Humidity, Pressure float64
	Raining                         bool
}

// Air returns the air at a time.
func (s Site) Air(t time.Time) Air {
	days, hour := local(t)
	character := s.character()
	traffic := 0.25 + bump(hour, 7, 1.6) + 0.9*bump(hour, 17.5, 2.2) + 0.3*bump(hour, 12, 3)
	if weekend(days) {
		traffic *= 0.65
	}
	traffic *= 0.4 + 0.9*character
	burn := 0.0 // waste and field burning on some evenings
	if s.unit(noiseBurn, uint64(days)) < 0.35 {
		burn = bump(hour, 18+2*s.unit(noiseBurn, uint64(days)+1<<32), 1.5)
	}
	rain := s.rain(days, hour)
	wash := 1 - 0.55*rain
	sun := math.Max(0, math.Sin((hour-6)/12*math.Pi))
	stale := 1 - 0.35*sun // the mixing layer is shallow at night
	a := Air{Raining: rain > 0.3}
	a.PM25 = (9 + 20*traffic + 38*burn) * stale * wash
	a.PM25 *= 1 + 0.18*s.wave(noiseSlow, t, 3*time.Hour) + 0.05*s.wave(noiseFast, t, time.Minute)
	a.PM25 = math.Max(1, everyday(a.PM25))
	if haze := s.haze(t); haze > 0.5 {
		a.PM25 += haze * (0.7 + 0.3*stale) * wash * (1 + 0.1*s.wave(noiseSlow, t, 2*time.Hour))
		burn = math.Max(burn, math.Min(1, haze/150))
	}
	if e := s.w.smoke.Load(); e != nil {
		if thick := e.at(t); thick > 0 {
			peak := e.Peak * (1 + 0.03*s.wave(noiseFast, t, 20*time.Second))
			a.PM25 += thick * math.Max(0, peak-a.PM25)
			burn = math.Max(burn, thick)
		}
	}
	a.PM1, a.PM4 = 0.72*a.PM25, 1.18*a.PM25
	a.PM10 = 1.35*a.PM25 + 9*traffic*wash
	a.NO2 = (6 + 38*traffic) * stale * wash
	a.SO2 = (4 + 10*traffic + 6*burn) * wash
	a.CO = 250 + 900*traffic*stale + 1500*burn
	a.O3 = 18 + 85*sun*(0.7+0.3*s.wave(noiseSlow, t, 7*time.Hour))
	a.HC = 12 + 22*traffic*stale
	a.CO2 = 418 + 55*traffic*stale + 40*(1-sun) + 4*s.wave(noiseFast, t, 2*time.Minute)
	a.Temperature = 24 + 8*sun*(1-0.4*rain) - 5*(1-character)*0.5 + 0.4*s.wave(noiseSlow, t, time.Hour)
	a.Humidity = math.Min(99, 88-28*sun+10*rain+2*s.wave(noiseFast, t, 10*time.Minute))
	// The tropics' pressure tide has its tops at 10 and 22 hours.
	a.Pressure = 1009 - 60*(1-character)*0.5 + 1.2*math.Cos((hour-10)/12*2*math.Pi) + 0.2*s.wave(noiseSlow, t, 6*time.Hour)
	return a
}

// everyday keeps what happens without an episode below 55 µg/m³ of PM2.5, so that
// only an episode crosses the alerts' usual threshold.
func everyday(pm25 float64) float64 {
	const knee, room = 35, 17
	if pm25 <= knee {
		return pm25
	}
	return knee + room*(1-math.Exp(-(pm25-knee)/room))
}

// rain is how hard it rains, 0 to 1: some afternoons and evenings, often in the
// wet season (November to April), seldom in the dry one. It starts within
// minutes; the air stays clean for an hour after it.
func (s Site) rain(days int64, hour float64) float64 {
	block := int64(hour / 6)
	if block < 2 {
		return 0
	}
	n := uint64(days*4 + block)
	const yearDays, wettest = 365.2425, 31 // the last day of January
	season := 0.2 + 0.17*math.Cos(2*math.Pi*(float64(days)-wettest)/yearDays)
	if s.unit(noiseRain, n) >= season {
		return 0
	}
	start := float64(block*6) + 2.5*s.unit(noiseRain, n+1<<40)
	end := start + 0.75 + 1.5*s.unit(noiseRain, n+1<<41)
	return min(max(min((hour-start)*6, end+1-hour), 0), 1)
}

// habits are shares of a day's amount that fall into each hour.
type habits [24]float64

// total is the sum of the shares.
func (h *habits) total() (sum float64) {
	for _, v := range h {
		sum += v
	}
	return sum
}

// at is the share at an hour; it runs straight from the middle of one hour to
// the middle of the next, so that nothing jumps.
func (h *habits) at(hour float64) float64 {
	x := hour + 23.5
	i := int(x)
	f := x - float64(i)
	return h[i%24]*(1-f) + h[(i+1)%24]*f
}

// rate is at, relative to an even day.
func (h *habits) rate(hour float64) float64 { return h.at(hour) * 24 / h.total() }

// upTo integrates the shares from midnight to an hour of day: 0 at 0, 1 at 24.
func (h *habits) upTo(hour float64) float64 {
	sum, from := 0.0, 0.0
	for to := 0.5; from < hour; to++ { // the trapezoids between the hours' middles
		to := math.Min(to, hour)
		sum += (h.at(from) + h.at(to)) / 2 * (to - from)
		from = to
	}
	return sum / h.total()
}

// rhythm is how an amount spreads over the hours and over the week: how a day
// compares with a working day, from Thursday (day number 0).
type rhythm struct {
	habits habits
	week   [7]float64
}

// since is the amount, in working days, from the meters' epoch to an hour of a
// day. It grows without steps and never falls.
func (r *rhythm) since(days int64, hour float64) float64 {
	n := days - meterEpoch
	weeks, rest := n/7, n%7
	if rest < 0 {
		weeks, rest = weeks-1, rest+7
	}
	full, sum := 0.0, 0.0
	for i, v := range r.week {
		full += v
		if int64(i) < rest {
			sum += r.week[(meterEpoch+i)%7]
		}
	}
	return float64(weeks)*full + sum + r.today(days)*r.habits.upTo(hour)
}

// today compares a day with a working day.
func (r *rhythm) today(days int64) float64 { return r.week[(days%7+7)%7] }

// neighbourhoods are where bins stand: homes, a market, offices and schools.
var neighbourhoods = [...]rhythm{
	{habits{1, 0, 0, 0, 1, 4, 8, 9, 6, 5, 5, 6, 6, 4, 4, 5, 7, 9, 9, 7, 5, 3, 2, 1}, [7]float64{1, 1, 1.2, 1.3, 1, 1, 1}},
	{habits{0, 0, 1, 3, 6, 9, 11, 11, 10, 9, 8, 7, 5, 3, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0}, [7]float64{1, 0.9, 1.1, 1.3, 1, 1, 1}},
	{habits{0, 0, 0, 0, 0, 1, 3, 6, 8, 8, 8, 9, 12, 9, 7, 7, 5, 3, 1, 1, 0, 0, 0, 0}, [7]float64{1, 0.9, 0.5, 0.2, 1, 1, 1}},
}

// Bin is a waste bin.
type Bin struct {
	Fill     float64 // % of its height
	Distance float64 // mm from a sensor in its lid to the surface
}

// The geometry of every simulated bin, mm from the sensor.
const (
	BinEmpty = 1200.0
	BinFull  = 200.0
)

// Bin returns the bin at a time. It fills by the rhythm of its neighbourhood and
// is emptied in the morning of every first to third day; sometimes the truck
// does not come and it stays full.
func (s Site) Bin(t time.Time) Bin {
	days, hour := local(t)
	every := 1 + int64(3*s.unit(noiseBin, 0)) // days between rounds
	at := 5 + 3*s.unit(noiseBin, 1)           // hour of the round
	perDay := 25 + 40*s.unit(noiseBin, 2)     // % of height a day
	last := days
	if hour < at {
		last--
	}
	for (last%every+every)%every != 0 || s.unit(noiseBin, uint64(last)+1<<40) < 0.05 {
		last--
	}
	r := &neighbourhoods[int(s.unit(noiseBin, 3)*float64(len(neighbourhoods)))]
	amount := r.since(days, hour) - r.since(last, at)
	fill := math.Min(100, math.Max(0, amount*perDay/float64(every)*1.1))
	return Bin{Fill: fill, Distance: math.Round(BinEmpty - fill/100*(BinEmpty-BinFull))}
}

// LoadKind is whose electricity is metered.
type LoadKind uint8

// The kinds of load.
const (
	Household LoadKind = iota
	Market
	StreetLight
)

var loads = [...]struct {
	rhythm
	watts float64 // mean of a working day
}{
	Household: {rhythm{habits{4, 3, 3, 3, 5, 8, 7, 5, 4, 4, 4, 5, 5, 5, 5, 5, 6, 9, 12, 12, 11, 9, 7, 5},
		[7]float64{1, 1, 1.1, 1.2, 1, 1, 1}}, 420},
	Market: {rhythm{habits{2, 2, 3, 8, 14, 16, 15, 14, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 3, 3, 2, 2, 2, 2},
		[7]float64{1, 0.85, 1.15, 1.3, 1, 1, 1}}, 2600},
	StreetLight: {rhythm{habits{10, 10, 10, 10, 10, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 10, 10, 10, 10, 10, 10},
		[7]float64{1, 1, 1, 1, 1, 1, 1}}, 900},
}

// Load is an electric load at a meter.
type Load struct {
	Voltage, Current, Power float64 // V, A, W
	Frequency, PowerFactor  float64 // Hz, 1
	Energy                  float64 // kWh since the meter was new; never falls
}

// meterEpoch is the day number on which every simulated meter was new:
// 2024-01-01.
const meterEpoch = 19723

// Load returns the load at a time. The counter is the habits' integral, so it
// grows without steps; the power carries noise on top.
func (s Site) Load(t time.Time, k LoadKind) Load {
	days, hour := local(t)
	h := &loads[k]
	mean := loads[k].watts * (0.6 + 0.8*s.unit(noiseLoad, uint64(k)))
	rate := h.habits.rate(hour)
	l := Load{Power: mean * h.today(days) * rate * (1 + 0.08*s.wave(noiseLoad, t, 90*time.Second))}
	l.Power = math.Max(0, l.Power)
	l.Voltage = 222 - 3*rate + 2*s.wave(noiseVolt, t, 5*time.Minute)
	l.Frequency = 50 + 0.05*s.wave(noiseVolt, t, time.Minute)
	l.PowerFactor = [...]float64{0.92, 0.88, 0.97}[k]
	l.Current = l.Power / (l.Voltage * l.PowerFactor)
	l.Energy = mean * 24 / 1000 * h.since(days, hour)
	return l
}
