package main

import (
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	for args, want := range map[string]int{
		"--help":                         0,
		"--version":                      0,
		"dance":                          2,
		"chips":                          2,
		"chips --dir x --speed fast":     2,
		"chips --dir x --start today":    2,
		"chips --dir x --pzem-load moon": 2,
		"chips --dir x extra":            2,
		"fault":                          2,
		"fault --json x clear all":       2,
		"fault " + t.TempDir() + " list": 3,
	} {
		cmd := root()
		var out strings.Builder
		cmd.SetOut(&out)
		cmd.SetArgs(strings.Fields(args))
		if err := cmd.ExecuteContext(t.Context()); exitCode(err) != want {
			t.Errorf("%s: exit code %d (%v), want %d", args, exitCode(err), err, want)
		}
	}
}

func TestEveryCommandDocumentsItsExitCodes(t *testing.T) {
	cmd := root()
	for _, sub := range append(cmd.Commands(), cmd) {
		if !strings.Contains(sub.Long, "Exit codes:") {
			t.Errorf("%s --help names no exit codes", sub.CommandPath())
		}
	}
}
