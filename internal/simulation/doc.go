// Package simulation runs the cores of Pantau — clock mapping, spool, uplink
// session, births, feed, store, ledger, dirty hours, latest values, alerts — as
// they are, through a whole installation in virtual time: several gateways with
// their cards, the network, the broker, the journal, the readers and InfluxDB.
//
// It promises that one seed is one history: what is drawn (power cuts, kills in
// the middle of a step, clocks that step, cards written back, lost PUBACKs,
// sessions that outlive their successor, a database that answers late) depends
// on nothing but the seed. When the faults cease, everything is drained, and a
// checker that knows what each sensor said compares it with the database, the
// ledger, the latest values, the alerts and the hours.
//
// It is all in tests. A failing seed prints its number; run it alone, with its
// trace, by
//
//	PANTAU_SEED=n go test -run TestSeeds ./internal/simulation
//
// PANTAU_SEEDS=n runs more seeds than the usual number.
//
// Not simulated, but shown with real processes elsewhere: steps of the server's
// clock, damaged checkpoint files, a full disk of the server, the dead letters'
// quota and retry, foreign nodes, acknowledgements by people, retention, day
// rows, the real InfluxDB and NATS.
package simulation
