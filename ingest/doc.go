// Package ingest keeps, judges and stores what the journal holds.
//
// It promises that every acknowledged reading is in the database exactly once,
// or that the ledger names it with its reason; that a verdict depends on nothing
// but the reading and its place in the journal, so that a replay and every
// reader come to the same; and that back-pressure is "the checkpoint stands",
// never "dropped".
//
// The deciding parts are state machines without clock, goroutine or I/O: Births
// (what a message means), Feed (entries → judged messages), Ledger, Store
// (messages → a batch of points), Latest, Alarms, Frontier, Hours. Their inputs are
// events that carry their own times, their outputs are batches, effects and a
// checkpoint.Delta. Thin shells around them (reader.go, storing.go, ingest.go,
// worker.go) read the journal, write InfluxDB and commit checkpoints.
package ingest
