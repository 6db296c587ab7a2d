// Package sensors reads the parts that a gateway may carry: one sub-package a
// datasheet, one table that knows them all, and the buses that they hang on.
//
// It promises: a failed read is an error of a known kind and never a value; a
// driver starts its part again by itself after a loss of power or of the bus;
// no call blocks longer than its context, or than one transaction on the bus.
package sensors

import (
	"context"
	"errors"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Sensor is one part on a bus. Its methods are called from one goroutine.
type Sensor interface {
	// Quantities says what Sense yields, in a fixed order.
	Quantities() []telemetry.Quantity
	// Sense reads the newest values. Readings carry flags that the part itself
	// knows of (warm-up, fault); an error says that nothing was read and wraps one
	// of package fault's.
	Sense(ctx context.Context) ([]telemetry.Reading, error)
	// Close stops the part where it can be stopped. The bus stays open.
	Close() error
}

// Identified is a Sensor whose part tells who it is.
type Identified interface {
	// Identity is what the part told when it was last asked; zero: nothing. It asks
	// nothing itself: Sense does, where that costs no value.
	Identity() telemetry.Identity
}

// GapOf turns a Sense error into the reason that travels with the gap; no error
// is no gap.
func GapOf(err error) telemetry.GapReason {
	if err == nil {
		return telemetry.GapNone
	}
	for _, k := range reasons {
		if errors.Is(err, k.kind) {
			return k.reason
		}
	}
	return telemetry.GapUnexpected
}

var reasons = [...]struct {
	kind   error
	reason telemetry.GapReason
}{
	{fault.ErrChecksum, telemetry.GapChecksum},
	{fault.ErrProtocol, telemetry.GapProtocol},
	{fault.ErrNotReady, telemetry.GapNotReady},
	{fault.ErrTimeout, telemetry.GapTimeout},
	{fault.ErrNoAnswer, telemetry.GapNoAnswer},
	{fault.ErrBus, telemetry.GapBus},
	{context.DeadlineExceeded, telemetry.GapTimeout},
}
