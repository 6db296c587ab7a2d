// Package server wires the rooms of one server process: journal, ingest,
// broker and pages, with the admin socket beside them. New checks, Start opens
// sinks before sources, Stop closes sources before sinks.
package server
