// Package e2e runs the real binaries against a real InfluxDB and looks at what
// a user would see: nothing lost, nothing doubled, nothing altered, whatever is
// killed, cut or filled. It holds tests and benchmarks only.
//
// The long experiments stand behind the build tag drill (`make drill`), those
// that need root behind the tag root.
package e2e
