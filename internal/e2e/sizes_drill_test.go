//go:build drill

package e2e

import "time"

// The long experiments of `make drill`.
const (
	gatewayKills  = 200
	alertKills    = 100
	attackers     = 8
	attacks       = 10_000
	herd          = 10_000 // a process may open 20,000 files
	herdReturns   = 5
	herdBack      = time.Minute // E11
	attackedFleet = 5 * time.Minute
)
