//go:build !drill

package e2e

import "time"

// How much of an experiment is run; `make drill` runs more (build tag drill).
const (
	gatewayKills  = 20   // while it writes
	alertKills    = 5    // between a threshold crossed and its message answered
	attackers     = 4    // at a time
	attacks       = 400  // of each
	herd          = 1000 // gateways that come back at once
	herdReturns   = 2
	herdBack      = 3 * time.Minute // other experiments run beside it; the drill holds E11's minute
	attackedFleet = 15 * time.Second
)
