package firmwaresim

import (
	"time"

	"github.com/pantau-id/pantau/firmware-sim/chip"
	"github.com/pantau-id/pantau/firmware-sim/world"
)

// particles is what the world's air shows to a particle counter. The numbers
// follow from the mass as for ordinary urban aerosol: some eight particles per
// cm³ and µg/m³, nearly all below 1 µm.
func (b *bench) particles(t time.Time) chip.Particles {
	a := b.site.Air(t)
	n := 8 * a.PM25
	return chip.Particles{
		PM1: a.PM1, PM2_5: a.PM25, PM4: a.PM4, PM10: a.PM10,
		N0_5: 0.85 * n, N1: 0.98 * n, N2_5: n, N4: 1.002 * n, N10: 1.003 * n,
		Size: 0.5 + 0.15*a.PM10/(a.PM10+a.PM25),
	}
}

func (b *bench) climate(t time.Time) chip.Climate {
	a := b.site.Air(t)
	return chip.Climate{CO2: a.CO2, Temperature: a.Temperature, Humidity: a.Humidity, Pressure: a.Pressure}
}

// distance is the bin's, with the few millimetres by which an echo wanders.
func (b *bench) distance(t time.Time) float64 {
	echo := uint64(t.UnixMilli()/100) * 0x9e3779b97f4a7c15
	return b.site.Bin(t).Distance + float64(echo>>32%5) - 2
}

func (b *bench) mains(kind world.LoadKind) func(time.Time) chip.Mains {
	return func(t time.Time) chip.Mains {
		l := b.site.Load(t, kind)
		return chip.Mains{
			Voltage: l.Voltage, Current: l.Current, Power: l.Power, PowerFactor: l.PowerFactor,
			Frequency: l.Frequency, Energy: l.Energy,
		}
	}
}
