package browsertest

// Variant is one way in which a page is looked at.
type Variant struct {
	Name   string // for the names of subtests and screenshots
	Prefix string // of addresses: "" = Indonesian, "/en" = English
	Look   Look
}

// Variants lists how each page is looked at: language × size × colours ×
// scripts. Normally it is pairwise (any two of these meet in any combination);
// with the build tag pages, as `make pages` sets it, all sixteen.
func Variants() []Variant {
	if forEyes {
		var all []Variant
		for n := range 16 {
			all = append(all, variant(n&1 != 0, n&2 != 0, n&4 != 0, n&8 != 0))
		}
		return all
	}
	return []Variant{
		variant(false, false, false, false),
		variant(false, true, true, true),
		variant(true, false, true, true),
		variant(true, true, false, true),
		variant(true, true, true, false),
	}
}

func variant(english, desktop, dark, noScript bool) Variant {
	v := Variant{Name: "id", Look: Phone}
	if english {
		v.Name, v.Prefix = "en", "/en"
	}
	if desktop {
		v.Look = Desktop
		v.Name += "-desktop"
	} else {
		v.Name += "-phone"
	}
	if dark {
		v.Look = v.Look.InDark()
		v.Name += "-dark"
	} else {
		v.Name += "-light"
	}
	if noScript {
		v.Look = v.Look.WithoutScript()
		v.Name += "-plain"
	}
	return v
}

// Zoomed is a window of 1280 × 1024 px at 400 % (WCAG 1.4.10).
var Zoomed = Look{Width: 320, Height: 256}
