package world

import (
	"math"
	"time"
)

// Place is where a site lies, and what is around it.
type Place struct {
	Lat, Lon float64 // degrees
	City     bool    // a kota: traffic all around
}

// At returns the place of a name at a position: a city has more traffic than a
// village, and haze reaches it as it reaches its neighbours.
func (w *World) At(name string, p Place) Site {
	s := w.Site(name)
	s.place = p
	return s
}

// character is 0 in a village and 1 in a city.
func (s Site) character() float64 {
	u := s.unit(noiseCharacter, 0)
	switch {
	case s.place == Place{}:
		return u
	case s.place.City:
		return 0.7 + 0.3*u
	}
	return 0.05 + 0.45*u
}

// LetHazeDrift lets smoke lie for days over one part of the province after the
// other, always over at least one. Only sites with a Place see it.
func (w *World) LetHazeDrift() { w.haze.Store(true) }

// An episode of haze begins every three days and outlasts the beginning of the
// next, so that at any time one has been thick for a day.
const (
	hazeEvery = 3 * day
	hazeFor   = 115 * time.Hour
	hazeRamp  = 12 * time.Hour
	kmPerDeg  = 111.2
)

// sources are where episodes begin: dry fields, landfills, an industrial coast.
var sources = [...]struct{ lat, lon float64 }{
	{-6.78, 111.45}, {-7.49, 108.88}, {-7.01, 110.38}, {-7.50, 110.24}, {-7.02, 109.15}, {-7.56, 110.83}, {-7.46, 109.19}, {-7.05, 111.38},
}

// haze is what smoke adds to the PM2.5 of a site, in µg/m³.
func (s Site) haze(t time.Time) (sum float64) {
	if !s.w.haze.Load() || s.place == (Place{}) {
		return 0
	}
	const n = int64(len(sources))
	begun := t.UnixMilli() / hazeEvery.Milliseconds()
	for k := begun - 1; k <= begun; k++ {
		u := func(what uint64) float64 { return Site{w: s.w, hash: s.w.seed}.unit(noiseHaze+what, uint64(k)) }
		age := time.Duration(t.UnixMilli()-k*hazeEvery.Milliseconds()) * time.Millisecond
		if age >= hazeFor {
			continue
		}
		from := sources[(3*k%n+n)%n] // never two that are neighbours, one after the other
		thick := math.Min(1, float64(min(age, hazeFor-age))/float64(hazeRamp))
		north, east := (s.place.Lat-from.lat)*kmPerDeg, (s.place.Lon-from.lon)*kmPerDeg*0.992 // cos 7°
		radius := 22 + 12*u(0)                                                                // km to where it is 1/e of the source's
		sum += (190 + 20*u(1)) * thick * math.Exp(-(north*north+east*east)/(radius*radius))
	}
	return sum
}
