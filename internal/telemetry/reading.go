package telemetry

import (
	"math"
	"strconv"
)

// Flag is a verdict on a value. Any flag but FlagNone rejects the value: it is
// kept as <quantity>_rejected and never enters an average, an index or an
// alert.
type Flag uint8

// The flags. Those that need the chip's history are set once, at the gateway,
// before the spool; the others by the server's dated rules.
const (
	FlagNone        Flag = iota
	FlagStuck            // gateway: the value has not moved for longer than it can stand still
	FlagWarmUp           // gateway: the part has not settled since its start
	FlagSensorFault      // gateway: the part itself reported a fault
	FlagRange            // server: outside what is physically possible
	FlagTimeFuture       // server: more than 5 min after its receive time
)

var flagNames = [...]string{"", "stuck", "warm_up", "sensor_fault", "range", "time_future"}

// String returns the flag's name on the wire and in the database, "" for none.
func (f Flag) String() string { return flagNames[f] }

// ParseFlag reads what String wrote.
func ParseFlag(s string) (Flag, bool) {
	for i, n := range flagNames {
		if n == s {
			return Flag(i), true
		}
	}
	return FlagNone, false
}

// GapReason says why nothing was read; empty means that a value was read.
type GapReason string

// The reasons of a gap.
const (
	GapNone       GapReason = ""
	GapNoAnswer   GapReason = "no_answer"  // NACK or silence
	GapChecksum   GapReason = "checksum"   // CRC or checksum did not fit
	GapBus        GapReason = "bus"        // the bus itself failed
	GapTimeout    GapReason = "timeout"    // began to answer, did not end
	GapNotReady   GapReason = "not_ready"  // the part had no new value
	GapNotNumber  GapReason = "not_number" // NaN, infinity or the part's mark for unknown
	GapProtocol   GapReason = "protocol"   // an answer that the datasheet does not know
	GapUnexpected GapReason = "unexpected" // none of the above; the log says more
)

// LossReason says why record numbers never reach the server.
type LossReason string

// The reasons of a loss.
const (
	LossQuota      LossReason = "quota"      // dropped by the spool's drop policy
	LossQuarantine LossReason = "quarantine" // the spool's bytes were damaged
	LossNoClock    LossReason = "no_clock"   // its boot never got a mapping to UTC
	LossUnreported LossReason = "unreported" // below the floor without any status
)

// ValueType is the type of a value.
type ValueType uint8

// The types of values. Every number travels and is stored as a float64.
const (
	Number ValueType = iota
	Bool             // Number holds 0 or 1
	Text             // Text holds it
)

// Value is one measured value.
type Value struct {
	Number float64
	Text   string
	Type   ValueType
}

// Num returns a number.
func Num(v float64) Value { return Value{Number: v} }

// Finite reports whether the value may be stored: NaN and infinities are gaps.
func (v Value) Finite() bool {
	return v.Type == Text || (!math.IsNaN(v.Number) && !math.IsInf(v.Number, 0))
}

// String writes the value with the fewest digits that read back the same.
func (v Value) String() string {
	switch v.Type {
	case Bool:
		return strconv.FormatBool(v.Number != 0)
	case Text:
		return v.Text
	}
	return strconv.FormatFloat(v.Number, 'g', -1, 64)
}

// Reading is one quantity of one record: a value with its flag, or a gap with
// its reason.
type Reading struct {
	Quantity string // catalogue name, or the foreign metric's name
	Value    Value
	Flag     Flag
	Gap      GapReason
	// Count, Min, Max describe the samples behind a mean; Count 0 or 1 means a
	// single sample, and Min and Max are then not set.
	Count    uint32
	Min, Max float64
}

// Record is what one spool number stands for: the quantities that one device
// gave at one time, or a loss.
type Record struct {
	Number   uint64 // from 1 within the epoch
	Device   string // as configured at the gateway
	Time     int64  // Unix milliseconds UTC: the end of the sampled span
	Readings []Reading
	Loss     *Loss // set on loss records, which carry neither device nor readings
}

// Loss reports that records From..To (inclusive) of Epoch will never come.
type Loss struct {
	Epoch    Epoch
	From, To uint64
	Reason   LossReason
}

// Run is what a message of our gateways says of the records it holds: one
// unbroken run of numbers First, First+1, … of one epoch, stamped by one clock.
type Run struct {
	Epoch   Epoch
	First   uint64
	Count   uint64
	Clock   ClockID
	Quality TimeQuality
	Floor   uint64 // the lowest number of the epoch not yet acknowledged when sent
	Backlog bool   // not live: sampled before this boot or more than 5 min ago
}

// EpochFloor names an epoch of which records still lie in a gateway's spool,
// and the lowest number that does.
type EpochFloor struct {
	Epoch  Epoch
	Lowest uint64
}
