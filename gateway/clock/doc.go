// Package clock tells the UTC of what was sampled on a machine that may not
// know it: a Raspberry Pi boots in 1970, or at its last shutdown.
//
// Every sample carries its boot and CLOCK_BOOTTIME, which never steps. A
// Mapping turns that into UTC. Mapper, the core, decides when a new mapping
// begins; it has no clock, goroutine or I/O. Clock is the shell that asks the
// kernel. The package promises: every start and every change is a new clock id;
// a mapping never gets worse; the server's time is used only while nothing
// better is known; a mapping once given out never changes.
package clock
