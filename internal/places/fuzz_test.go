package places

import (
	"testing"
	"time"
)

// Whatever a file holds, it is taken or refused with a reason.
func FuzzMap(f *testing.F) {
	for _, seed := range []string{
		`{"type":"FeatureCollection","features":[{"properties":{"code":"3321","name":"x"},"geometry":{"type":"Polygon","coordinates":[[[110,-7],[110.5,-7],[110.5,-7.5],[110,-7.5],[110,-7]],[[110.1,-7.1],[110.2,-7.1],[110.2,-7.2],[110.1,-7.1]]]}}]}`,
		`{"type":"Topology","transform":{"scale":[0.1,0.1],"translate":[110,-7.5]},"arcs":[[[5,0],[0,5]],[[5,5],[-5,0],[0,-5],[5,0]],[[5,5],[5,0],[0,-5],[-5,0]]],"objects":{"kab":{"type":"GeometryCollection","geometries":[{"type":"Polygon","arcs":[[0,1]],"properties":{"bps":"33.21"}},{"type":"MultiPolygon","arcs":[[[2,-1]],[[]]],"properties":{"bps":"33.74"}}]}}}`,
		// A figure of eight: it is drawn, though its area is none.
		`{"type":"FeatureCollection","features":[{"properties":{"code":"3321"},"geometry":{"type":"Polygon","coordinates":[[[110,-7],[110.5,-7],[110.5,-7.5],[110,-6.5],[110,-7]]]}}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		maps, _, err := readMap(file, MapOptions{})
		if err != nil {
			return
		}
		for _, m := range maps {
			value, err := m.encode()
			if err != nil {
				t.Fatal(err)
			}
			back, err := decodeBoundaries(value)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range back.Areas {
				if len(a.Path) < 2 || a.Path[0] != 'M' || len(GeoJSON([]Area{a})) == 0 {
					t.Errorf("%s is drawn as %q", a.Code, a.Path)
				}
			}
		}
	})
}

func FuzzImport(f *testing.F) {
	f.Add([]byte("code;name;district;lat\nsmg-1;Simpang Lima;3374;-6,99\n"))
	f.Add([]byte("id,site,node,device,from,to,main\n,smg-1,3374/x,*,2026-11-01,2026-11-02 07:00,pm2_5 pm10\na,smg-1,3374/x,y,,,-\n"))
	f.Add([]byte("\ufeffid\tname\n\"s\t1\t'=x\n"))
	f.Add([]byte("PK\x03\x04"))
	f.Fuzz(func(t *testing.T, file []byte) {
		grids, err := readFile(file)
		if err != nil {
			return
		}
		s := &Store{o: Options{Registry: nobody{}}}
		s.o.Now = time.Now
		empty := &state{sites: map[string]Site{}, sensors: map[string]Sensor{}, deployments: map[string]Deployment{}}
		result, to, err := s.plan(empty, grids)
		if err != nil {
			t.Fatal(err)
		}
		if result.OK() && len(result.Changed) != len(to.sites)+len(to.sensors)+len(to.deployments) {
			t.Errorf("%d told, %d sites, %d sensors, %d deployments", len(result.Changed), len(to.sites), len(to.sensors), len(to.deployments))
		}
	})
}
