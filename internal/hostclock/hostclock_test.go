package hostclock

import "testing"

func TestBoottimeOnlyGrows(t *testing.T) {
	a := Boottime()
	if b := Boottime(); a <= 0 || b < a {
		t.Errorf("%v then %v", a, b)
	}
}

func TestBootIDIsStable(t *testing.T) {
	a, err := BootID()
	if err != nil || len(a) != 36 {
		t.Fatalf("%q, %v", a, err)
	}
	if b, _ := BootID(); a != b {
		t.Errorf("%q then %q", a, b)
	}
}
