package figures

import (
	"fmt"
	"math"
	"slices"
)

// Parameter is a pollutant of Indonesia's air index.
type Parameter string

// The seven parameters of Permen LHK P.14/2020, in the order pages show them.
// The names are the catalogue's quantities in µg/m³.
const (
	PM10 Parameter = "pm10"
	PM25 Parameter = "pm2_5"
	SO2  Parameter = "so2"
	CO   Parameter = "co"
	O3   Parameter = "o3"
	NO2  Parameter = "no2"
	HC   Parameter = "hc"
)

// Parameters lists all seven.
func Parameters() []Parameter { return []Parameter{PM10, PM25, SO2, CO, O3, NO2, HC} }

// Category is a class of the index.
type Category uint8

// The categories of P.14/2020; CategoryNone stands for "cannot be judged".
const (
	CategoryNone     Category = iota
	Baik                      // 1-50
	Sedang                    // 51-100
	TidakSehat                // 101-200
	SangatTidakSehat          // 201-300
	Berbahaya                 // 301 and above
)

var categoryNames = [...]string{"", "baik", "sedang", "tidak_sehat", "sangat_tidak_sehat", "berbahaya"}

// MarshalText names the category: baik … berbahaya, "" for none.
func (c Category) MarshalText() ([]byte, error) { return nameOf(categoryNames[:], int(c), "category") }

// UnmarshalText reads what MarshalText wrote.
func (c *Category) UnmarshalText(text []byte) error {
	i, err := placeOf(categoryNames[:], string(text), "category")
	*c = Category(i)
	return err
}

func nameOf(names []string, i int, what string) ([]byte, error) {
	if i >= len(names) {
		return nil, fmt.Errorf("%s %d has no name", what, i)
	}
	return []byte(names[i]), nil
}

func placeOf(names []string, name, what string) (int, error) {
	i := slices.Index(names, name)
	if i < 0 {
		return 0, fmt.Errorf("%s %q: want one of %v", what, name, names)
	}
	return i, nil
}

// Nodes says how the lower node of a band's index follows the band below.
type Nodes uint8

// The two readings of P.14/2020. Stepped is the default: it gives back the
// ministry's own published pairs, Continuous does not.
const (
	Stepped    Nodes = iota // 1, 51, 101, 201, 301
	Continuous              // 0, 50, 100, 200, 300
)

var nodeNames = [...]string{"stepped", "continuous"}

// MarshalText writes stepped or continuous.
func (n Nodes) MarshalText() ([]byte, error) { return nameOf(nodeNames[:], int(n), "nodes") }

// UnmarshalText reads what MarshalText wrote.
func (n *Nodes) UnmarshalText(text []byte) error {
	i, err := placeOf(nodeNames[:], string(text), "nodes")
	*n = Nodes(i)
	return err
}

// upperIndex are the bands' upper nodes; the last is where the table ends.
var upperIndex = [5]float64{50, 100, 200, 300, 500}

// Breakpoints are the bands' upper concentrations, µg/m³ at 25 °C and 1 atm,
// as 24-hour means.
type Breakpoints map[Parameter][5]float64

// BreakpointsP14 returns the table of Permen LHK
// P.14/MENLHK/SETJEN/KUM.1/7/2020.
func BreakpointsP14() Breakpoints {
	return Breakpoints{
		PM10: {50, 150, 350, 420, 500},
		PM25: {15.5, 55.4, 150.4, 250.4, 500},
		SO2:  {52, 180, 400, 800, 1200},
		CO:   {4000, 8000, 15000, 30000, 45000},
		O3:   {120, 235, 400, 800, 1000},
		NO2:  {80, 200, 1130, 2260, 3000},
		HC:   {45, 100, 215, 432, 648},
	}
}

// Index is a sub-index or a station's index.
type Index struct {
	Value    int      `json:"value"`           // rounded half up; 500 when Above
	Exact    float64  `json:"exact"`           // before rounding
	Above    bool     `json:"above,omitempty"` // beyond the table: shown as "di atas 500" with the concentration
	Category Category `json:"category"`        // from the rounded value
}

// String writes the value, or "di atas 500".
func (i Index) String() string {
	switch {
	case i.Category == CategoryNone:
		return "tidak dapat dinilai"
	case i.Above:
		return "di atas 500"
	}
	return fmt.Sprint(i.Value)
}

// SubIndex computes one parameter's index from its 24-hour mean in µg/m³:
// I = (Ia−Ib)/(Xa−Xb)·(Xx−Xb)+Ib (P.14/2020). Concentrations below zero, which
// analysers give near their detection limit, floor the index at 0. ok is false
// for an unknown parameter and for a concentration that is no finite number.
func SubIndex(p Parameter, concentration float64, table Breakpoints, nodes Nodes) (Index, bool) {
	upper, known := table[p]
	if !known || math.IsNaN(concentration) || math.IsInf(concentration, 0) {
		return Index{}, false
	}
	xb, ib := 0.0, 0.0
	for band, xa := range upper {
		ia := upperIndex[band]
		if nodes == Stepped {
			ib++
		}
		if concentration <= xa {
			exact := max(0, (ia-ib)/(xa-xb)*(concentration-xb)+ib)
			value := int(math.Floor(exact + 0.5))
			return Index{Value: value, Exact: exact, Category: CategoryOf(value)}, true
		}
		xb, ib = xa, ia
	}
	return Index{Value: 500, Exact: 500, Above: true, Category: Berbahaya}, true
}

// CategoryOf gives the category of a rounded index.
func CategoryOf(index int) Category {
	switch {
	case index <= 50:
		return Baik
	case index <= 100:
		return Sedang
	case index <= 200:
		return TidakSehat
	case index <= 300:
		return SangatTidakSehat
	}
	return Berbahaya
}

// Station is a station's index: the highest sub-index, which names the dominant
// parameter.
type Station struct {
	Index
	Dominant Parameter `json:"dominant"`
	Judged   int       `json:"judged"` // of the seven parameters
}

// StationIndex joins sub-indices. ok is false without any. Of equal ones the
// first in the order of Parameters dominates; beyond the table, the one
// furthest beyond it relative to its last breakpoint.
func StationIndex(means map[Parameter]float64, table Breakpoints, nodes Nodes) (s Station, ok bool) {
	excess := 0.0
	for _, p := range Parameters() {
		c, have := means[p]
		if !have {
			continue
		}
		i, good := SubIndex(p, c, table, nodes)
		if !good {
			continue
		}
		s.Judged++
		beyond := c / table[p][4]
		if !ok || i.Exact > s.Exact || (i.Above && beyond > excess) {
			s.Index, s.Dominant, excess, ok = i, p, beyond, true
		}
	}
	return s, ok
}
