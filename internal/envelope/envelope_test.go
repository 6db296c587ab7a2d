package envelope

import (
	"errors"
	"reflect"
	"testing"
)

func TestPacketsRoundTrip(t *testing.T) {
	in := []Packet{
		{Received: 1, Client: "3374/a", Session: 7, Topic: "spBv1.0/3374/NDATA/a", Payload: []byte{1, 2, 3}},
		{Received: -5, Client: "3374/a", Session: 7, Flags: FlagWill | FlagQoS0, Topic: "spBv1.0/3374/NDEATH/a", Payload: []byte{}},
		{Received: 1 << 62, Client: "3301/b", Session: 1 << 63, Topic: "t", Payload: make([]byte, 300)},
	}
	var body []byte
	for i := range in {
		before := len(body)
		body = AppendPacket(body, &in[i])
		if added := len(body) - before; added > in[i].Size() {
			t.Errorf("packet %d took %d bytes, Size promised at most %d", i, added, in[i].Size())
		}
	}
	var out []Packet
	for p, err := range Packets(body) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, *p)
	}
	if !reflect.DeepEqual(in, out) {
		t.Errorf("got %v, want %v", out, in)
	}
}

func TestTickAndRulesRoundTrip(t *testing.T) {
	tick := Tick{Time: 123, Uptime: 456, Synced: true, Session: 9}
	if got, err := DecodeTick(AppendTick(nil, tick)); err != nil || got != tick {
		t.Errorf("got %v, %v", got, err)
	}
	rules := Rules{Name: "alerts", Body: []byte(`{"a":1}`)}
	if got, err := DecodeRules(AppendRules(nil, rules)); err != nil || !reflect.DeepEqual(got, rules) {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzPackets(f *testing.F) {
	f.Add(AppendPacket(nil, &Packet{Client: "c", Topic: "t", Payload: []byte("x")}))
	f.Add([]byte{1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, err := range Packets(body) {
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("unexpected error %v", err)
			}
		}
	})
}
