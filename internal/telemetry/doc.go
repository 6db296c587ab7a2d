// Package telemetry holds the words that every room of Pantau shares: who
// measured (Node, device, Identity), what (Quantity, Unit), when and how surely (ClockID,
// TimeQuality), and how good it is (Flag, GapReason, LossReason).
//
// It promises to be plain data: no I/O, no clock, no goroutine, and no import
// of anything else in this module.
package telemetry
