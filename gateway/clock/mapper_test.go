package clock

import (
	"testing"

	"github.com/pantau-id/pantau/internal/telemetry"
)

const utc0 = int64(1764000000000) // 2025-11-24

func at(boottime, utc int64, q telemetry.TimeQuality) Observation {
	return Observation{Boottime: boottime, UTC: utc, Quality: q}
}

func TestMapper(t *testing.T) {
	type want struct {
		o      Observation
		begins bool
	}
	const s = 1000
	none, server, rtc, ntp := telemetry.TimeNone, telemetry.TimeServer, telemetry.TimeRTC, telemetry.TimeNTP
	for name, script := range map[string][]want{
		"1970 is not believed, whoever says it": {
			{at(5*s, 5*s, none), false}, {at(6*s, 6*s, ntp), false}, {at(7*s, 7*s, rtc), false}, {at(8*s, 8*s, server), false},
		},
		"server first, then a clock chip, then NTP; never back": {
			{at(5*s, utc0, server), true}, {at(6*s, utc0+1*s, rtc), true}, {at(7*s, utc0+2*s, ntp), true},
			{at(8*s, utc0+90*s, rtc), false}, {at(9*s, utc0+90*s, server), false},
		},
		"the same offset begins nothing": {
			{at(5*s, utc0, ntp), true}, {at(6*s, utc0+1*s, ntp), false}, {at(90*s, utc0+85*s+1, ntp), false},
		},
		"a step of two milliseconds is one, once it is seen twice": {
			{at(5*s, utc0, ntp), true}, {at(65*s, utc0+60*s+2, ntp), false}, {at(66*s, utc0+61*s+2, ntp), true},
			{at(67*s, utc0+62*s+2, ntp), false},
		},
		"a year ahead and back": {
			{at(5*s, utc0, ntp), true}, {at(100*s, utc0+31536000*s, ntp), false}, {at(101*s, utc0+31536001*s, ntp), true},
			{at(200*s, utc0+195*s, ntp), false}, {at(201*s, utc0+196*s, ntp), true},
		},
		"a flapping clock changes nothing": {
			{at(5*s, utc0, ntp), true}, {at(60*s, utc0+57*s, ntp), false}, {at(61*s, utc0+54*s, ntp), false},
			{at(62*s, utc0+59*s, ntp), false}, {at(63*s, utc0+58*s, ntp), false},
		},
		"a step soon after a change waits": {
			{at(5*s, utc0, ntp), true}, {at(6*s, utc0+9*s, ntp), false}, {at(7*s, utc0+10*s, ntp), false}, {at(15*s, utc0+18*s, ntp), true},
		},
		"the server's time moves by what the network delays": {
			{at(5*s, utc0, server), true}, {at(600*s, utc0+595*s-900, server), false}, {at(900*s, utc0+897*s, server), true},
		},
		"no more NTP is no worse mapping": {
			{at(5*s, utc0, ntp), true}, {at(60*s, utc0+900*s, none), false},
		},
	} {
		m := NewMapper(MapperOptions{Epoch: 7, Boot: BootID{1}})
		var counter uint32
		for i, w := range script {
			got, begins := m.Observe(w.o)
			if begins != w.begins {
				t.Errorf("%s: step %d begins a mapping: %v", name, i, begins)
			}
			if !begins {
				continue
			}
			counter++
			want := Mapping{
				Boot: BootID{1}, From: w.o.Boottime, Offset: w.o.UTC - w.o.Boottime, Quality: w.o.Quality,
				ID: telemetry.ClockID{Epoch: 7, Counter: counter},
			}
			if got != want {
				t.Errorf("%s: step %d: %+v, want %+v", name, i, got, want)
			}
		}
	}
}

func TestEveryStartIsANewClockID(t *testing.T) {
	last := Mapping{Boot: BootID{1}, Ordinal: 3, Offset: utc0, Quality: telemetry.TimeServer, ID: telemetry.ClockID{Epoch: 6, Counter: 3}}
	m := NewMapper(MapperOptions{Epoch: 7, Boot: BootID{1}, Last: &last})
	got, ok := m.Start(9000)
	if !ok || got.ID != (telemetry.ClockID{Epoch: 7, Counter: 1}) || got.Offset != utc0 || got.Quality != telemetry.TimeServer || got.From != 9000 {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := NewMapper(MapperOptions{Epoch: 7}).Start(9000); ok {
		t.Error("a mapping out of nothing")
	}
}
