package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// headroom is what may be allocated between two garbage collections, at least: a
// server with few gateways holds little itself and would otherwise collect many
// times a second, in the way of PUBACKs and pages. One that holds more than this
// collects as every Go program.
const headroom = 256 << 20

// smallest is what the runtime takes a heap to hold at least.
const smallest = 4 << 20

// keepHeadroom sets how often garbage is collected, now and after each collection.
func keepHeadroom() {
	least := debug.SetGCPercent(100)
	if least < 0 {
		debug.SetGCPercent(least) // GOGC=off
		return
	}
	set := 100
	var tune func(int)
	tune = func(int) {
		held := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(held)
		if next := max(least, int(100*headroom/max(smallest, held[0].Value.Uint64()))); next != set {
			set = next
			debug.SetGCPercent(set)
		}
		runtime.AddCleanup(new([16]byte), tune, 0) // the next collection finds it
	}
	tune(0)
}
