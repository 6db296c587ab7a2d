// Package gateway is the program on the Raspberry Pi as a library: it samples
// sensors, keeps every value on disk and brings it to the server.
//
// It promises: each sensor has a loop of its own, so that one dead sensor never
// stops another, and a dead uplink never stops sampling; a span without a good
// sample is a gap with its reason, never a made-up value; a flagged sample never
// enters a mean with good ones; without configuration, claim, network or sensor
// it still starts, and its status page and log say what is missing and how to
// mend it.
//
// Sensors, spool, clock and uplink are packages below this one. What is here
// joins them: Options, the sampling loops, the gateway's own health, its
// identity and the status page's figures.
package gateway
