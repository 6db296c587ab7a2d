// Package spool keeps what the gateway sampled until the server has it: an
// append-only journal on the SD card.
//
// It stores readings, not packets. A record is numbered within its epoch (one
// run of the process) and carries boot and CLOCK_BOOTTIME; which mapping turns
// that into UTC is fixed once. The package promises:
//
//   - Append writes at once, so that the end of the process loses nothing; one
//     fsync serves many records, so that the card lives; only fsynced records
//     are sent, under a mapping that is fsynced too.
//   - A record leaves by Ack, or a loss record says where it went: quota,
//     quarantine, no_clock. What even loss records can't tell (their own
//     damage), the epochs' floors do.
//   - A damaged stretch costs the records it hit. It is moved to the folder
//     quarantine; what stands around it stays. Damage never keeps Open from
//     opening.
//   - The files stay below the quota, and leave the file system its floor.
//
// Core is all of it without a disk: a state machine without clock, goroutine or
// I/O, which returns operations. Spool is the shell that carries them out. Files
// of a spool: one a segment (frame.go has the format), lock, no_clock.tsv
// (records for hand work), quarantine/.
package spool
