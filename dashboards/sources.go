package dashboards

import (
	"context"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Network knows the gateways and what they last said. Answers come from memory.
type Network interface {
	// Gateways returns all gateways, in any order.
	Gateways(ctx context.Context) ([]Gateway, error)
	// Values returns the newest reading of each quantity of one gateway, in any
	// order.
	Values(ctx context.Context, node telemetry.Node) ([]Value, error)
}

// Alerts is the alert engine as operators see it.
type Alerts interface {
	// Open returns the alerts that fire now, acknowledged ones included.
	Open(ctx context.Context) ([]Alert, error)
	// Acknowledge records that who looks after the alert. It wraps
	// fs.ErrNotExist if the alert is no longer open, and fs.ErrExist if somebody
	// acknowledged it before.
	Acknowledge(ctx context.Context, id, who, note string) error
}

// Ledger counts record numbers (not readings) by what became of them.
type Ledger interface {
	// Total returns the counts over all gateways.
	Total(ctx context.Context) (Totals, error)
	// Gateway returns the counts of one gateway; zero if it never sent.
	Gateway(ctx context.Context, node telemetry.Node) (Totals, error)
}

// History reads stored readings for charts.
type History interface {
	// Series returns the readings of one series with from <= time < to, oldest
	// first: values, rejected values and gaps. At most some thousand points: the
	// implementation thins them out, keeping each span's lowest and highest.
	Series(ctx context.Context, id SeriesID, from, to time.Time) (Series, error)
}

// State says whether a gateway's session stands.
type State string

// The states of a gateway. StateUnknown is the state after the server's start
// until the gateway's birth or a grace time.
const (
	StateUnknown State = "unknown"
	StateOnline  State = "online"
	StateOffline State = "offline"
	StateRevoked State = "revoked"
)

// Gateway is one edge node, ours or foreign.
type Gateway struct {
	Node      telemetry.Node
	Name      string // as registered, "" = none
	District  string // BPS code, "" = none
	Site      string // permanent code, "" = none
	State     State
	Since     time.Time // when the state began; zero = not known
	Heard     time.Time // receive time of its newest message; zero = never
	Clock     telemetry.TimeQuality
	Version   string    // of its program; "" = not told, as foreign nodes do; then TimeNone is not told either
	Simulated bool      // its data are artificial
	Expires   time.Time // end of its certificate; zero = it has none
	// Told is what the parts of its devices tell of themselves, by device.
	Told map[string]telemetry.Identity
}

// Value is the newest reading of one quantity of one device: a value with its
// flag, or a gap with its reason.
type Value struct {
	Device   string // "" for a node's own metrics
	Quantity string // catalogue name, or the foreign metric's name
	Kind     telemetry.Kind
	Unit     telemetry.Unit
	Value    telemetry.Value
	Time     time.Time // event time
	Flag     telemetry.Flag
	Gap      telemetry.GapReason
	Interval time.Duration // how often it should come; 0 = not known
	Stale    bool          // its gateway, or its device, has said that it is gone
}

// Severity is how grave an alert is.
type Severity string

// The severities, in rising order.
const (
	Information Severity = "info"
	Warning     Severity = "warning"
	Critical    Severity = "critical"
)

// Condition is what a rule watches for.
type Condition string

// The conditions. CondOther shows the rule's name instead of a sentence.
const (
	CondAbove  Condition = "above"
	CondBelow  Condition = "below"
	CondNoData Condition = "no_data"
	CondOther  Condition = "other"
)

// Alert is one open alert of one series.
type Alert struct {
	ID        string // stable; any text
	Rule      string // the rule's name
	Severity  Severity
	Condition Condition
	Node      telemetry.Node
	Device    string // "" = the gateway as a whole
	Quantity  string // "" with CondNoData on a gateway
	Unit      telemetry.Unit
	Limit     float64   // threshold of above and below
	Value     float64   // the value that fired it, with above and below
	Since     time.Time // event time of the first reading beyond the limit
	// AckBy, AckAt and AckNote are set once somebody acknowledged it.
	AckBy, AckNote string
	AckAt          time.Time
	Simulated      bool
}

// Totals are the ledger's counts of record numbers.
type Totals struct {
	Expected uint64 // all numbers known to have been taken: the sum of what follows
	Stored   uint64 // in the database, Rejected included
	Rejected uint64 // of Stored: kept beside a flag
	OnTheWay uint64 // taken, not yet stored, not given up
	Lost     uint64 // will never come; the gap report names the reason
	Dead     uint64 // came but cannot be decoded; in the dead letters
}

// Missing is what neither is in the database nor can be expected to come.
func (t Totals) Missing() uint64 { return t.Lost + t.Dead }

// SeriesID names one quantity of one device of one gateway.
type SeriesID struct {
	Node     telemetry.Node
	Device   string
	Quantity string
}

// Series is a span of readings.
type Series struct {
	Unit     telemetry.Unit
	Interval time.Duration // between points; 0 = guessed from them
	Points   []Point
}

// Point is one reading of a series, or a thinned-out span of them.
type Point struct {
	Time     time.Time
	Value    float64
	Rejected bool                // quality control rejected Value
	Flag     telemetry.Flag      // why, if Rejected
	Gap      telemetry.GapReason // nothing was read; Value means nothing
}
