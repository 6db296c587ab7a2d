package places

import "testing"

func TestDistricts(t *testing.T) {
	list := Districts()
	if len(list) != 35 {
		t.Fatalf("%d districts", len(list))
	}
	cells := map[[2]int]bool{}
	for _, d := range list {
		if found, ok := FindDistrict(d.Code); !ok || found != d {
			t.Errorf("%s is not found", d.Code)
		}
		if d.Lat < minLat || d.Lat > maxLat || d.Lon < minLon || d.Lon > maxLon {
			t.Errorf("%s %s lies at %v, %v", d.Code, d.Name, d.Lat, d.Lon)
		}
		cells[[2]int{d.Row, d.Col}] = true
	}
	if len(cells) != 35 {
		t.Errorf("two districts share a cell")
	}
	if d, _ := FindDistrict("3374"); d.Name != "Kota Semarang" {
		t.Errorf("3374 is %q", d.Name)
	}
	if _, ok := FindDistrict("3100"); ok {
		t.Error("3100 is found")
	}
}
