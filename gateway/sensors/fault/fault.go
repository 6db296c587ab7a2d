// Package fault names the ways in which reading a part can fail, so that
// drivers and those who call them share the words without importing each other.
package fault

import "errors"

// The kinds of failure. Drivers wrap exactly one of them.
var (
	ErrNoAnswer = errors.New("no answer")                  // NACK, or silence
	ErrChecksum = errors.New("checksum does not fit")      // CRC or sum
	ErrBus      = errors.New("bus failed")                 // the bus itself, not the part
	ErrTimeout  = errors.New("answer broke off")           // began to answer, did not end
	ErrNotReady = errors.New("no new value yet")           // nothing wrong: ask again
	ErrProtocol = errors.New("answer is not of this part") // what the datasheet does not know
)
