// Package uplink brings the spool to the server: one MQTT 3.1.1 session at a
// time, Sparkplug B inside.
//
// Session, the core, decides what is published when: births before data, the
// live lane before the backlog, never more than a window unacknowledged. It has
// no clock, goroutine or I/O. Uplink is the shell around paho.mqtt.golang, which
// only this package imports: one client a connection, no automatic reconnect
// (with it, paho's token reports success for a message that nobody
// acknowledged), no store, no order for incoming messages.
//
// The package promises: a record leaves the spool after its own PUBACK and by
// nothing else; a birth and the data that need it go out in order; an alias
// never means two things within an epoch; a link that brings no PUBACK is cut;
// a server that is full is left alone for a minute.
package uplink
