package main

import (
	"bytes"
	"fmt"
	"testing"
	"text/tabwriter"
)

// Statement 22, for terminals.
func TestNamesDoNotSteerTheTerminal(t *testing.T) {
	var out bytes.Buffer
	w := tabwriter.NewWriter(plain{&out}, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "GATEWAY\tSTATE\n%s\tonline\n", "3374/\x1b[2J\u202eikat-ž\u2028")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "GATEWAY            STATE\n3374/\ufffd[2J\ufffdikat-ž\ufffd  online\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
