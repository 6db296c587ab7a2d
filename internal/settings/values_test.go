package settings

import (
	"testing"
	"time"
)

func TestSizesAreReadAndWrittenBack(t *testing.T) {
	for text, want := range map[string]string{
		"10GB": "10GB", "512MiB": "512MiB", "1024MiB": "1GiB", " 64 MB ": "64MB", "1000": "1kB", "7": "7B", "0": "0B", "3KiB": "3KiB",
	} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b.String() != want {
			t.Errorf("%q: got %s, %v; want %s", text, b, err, want)
		}
		var again Bytes
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%s is not read back: %v", b, err)
		}
	}
	for _, text := range []string{"", "much", "-1MB", "1.5GB", "9999999999GiB"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %s", text, b)
		}
	}
}

func TestDurationsAreNeverNegative(t *testing.T) {
	var d Duration
	if err := d.UnmarshalText([]byte("1m30s")); err != nil || time.Duration(d) != 90*time.Second {
		t.Errorf("got %s, %v", d, err)
	}
	for _, text := range []string{"", "10", "-1s", "10 seconds"} {
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %s", text, d)
		}
	}
}
