package settings

import (
	"strings"
	"testing"
)

type example struct {
	Data   string `toml:"data"`
	Influx struct {
		URL    string `toml:"url"`
		Prefix string `toml:"prefix"`
	} `toml:"influx"`
	Sensors []struct {
		Part string `toml:"part"`
	} `toml:"sensor"`
}

func TestMistakesAreNamedWithLineAndNearestKey(t *testing.T) {
	for text, want := range map[string]string{
		"data = 'x'\n[influx]\nulr = 'y'\n": `t.toml:3: unknown key "influx.ulr", did you mean "influx.url"?`,
		"dat = 'x'\nprefix = 'z'":           `t.toml:2: unknown key "prefix", did you mean "influx.prefix"?`,
		"[[sensor]]\nprt = 'sps30'\n":       `t.toml:2: unknown key "sensor.prt", did you mean "sensor.part"?`,
		"data = 'x'\n\ndata = 3\n":          `t.toml:3: `,
		"zzzzzzzz = 1\n":                    `t.toml:1: unknown key "zzzzzzzz"`,
	} {
		var v example
		if err := Decode("t.toml", []byte(text), &v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	var v example
	if err := Decode("t.toml", []byte("data = 'x'\n[influx]\nurl = 'y'\n[[sensor]]\npart = 'a'\n"), &v); err != nil || v.Sensors[0].Part != "a" {
		t.Errorf("%+v, %v", v, err)
	}
}
