package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// percent is how much may be allocated until the next collection, of what is held.
func percent() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestASmallServerCollectsSeldomAndALargeOneAsEver(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	collect := func(what string, until func(uint64) bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !until(percent()); runtime.GC() {
			if time.Now().After(end) {
				t.Fatalf("%s: still %d %%", what, percent())
			}
		}
	}
	keepHeadroom()
	collect("little is held", func(p uint64) bool { return p > 500 })
	held := make([]byte, 2*headroom)
	collect("much is held", func(p uint64) bool { return p == 100 })
	runtime.KeepAlive(held)
	collect("little is held again", func(p uint64) bool { return p > 500 })
}
