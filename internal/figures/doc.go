// Package figures computes what Pantau publishes: pure functions, one source
// for page, API, PDF and alert.
//
// Each function names the regulation or convention it follows; each rests on
// test vectors. Nothing here reads a clock, a file or a setting of its own: what
// an agency may set comes in as an argument, with its date of validity kept by
// the caller.
package figures
