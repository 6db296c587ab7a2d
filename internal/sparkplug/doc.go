// Package sparkplug turns bytes of Sparkplug B 3.0 (ISO/IEC 20237) into
// telemetry and back.
//
// It has three layers: topics (topic.go), payloads on protowire (payload.go),
// and Pantau's own profile (births.go, data.go): how our gateways name metrics,
// mark runs of records and list epochs, all of it inside ordinary Sparkplug
// metrics, so that any other host can read our gateways and we can read any
// other edge node.
//
// Normative ids stand in brackets at the line that obeys them and at the test
// that shows it; testdata/assertions.tsv lists all of them, with those that are
// not obeyed and why. Encoding appends
// to a caller's buffer; decoding reuses the caller's structs, points into the
// input and never panics, whatever the bytes.
package sparkplug
