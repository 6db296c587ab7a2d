package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// What is printed and returned for mistakes of people and scripts.
func TestMistakesHaveTheirExitCode(t *testing.T) {
	data := filepath.Join(t.TempDir(), "nothing")
	letters := filepath.Join(t.TempDir(), "letters.toml") // an e-mail channel without a mail server
	if err := os.WriteFile(letters, []byte("[[email]]\nname = 'dinas'\nfrom = 'a@b.id'\nto = ['c@d.id']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]struct {
		code int
		says string
	}{
		"":                                {0, ""},
		"gateway":                         {0, ""},
		"nope":                            {2, `unknown command "nope"`},
		"gateway nope":                    {2, `unknown command "nope"; see pantau gateway --help`},
		"gateway add --district 3374":     {2, "--name"},
		"ledger --jsn":                    {2, "unknown flag"},
		"rules set":                       {2, "want one file"},
		"deadletter drop":                 {2, "want one id or more"},
		"rules set " + data:               {2, "no such file"},
		"serve --mqtt-plain 0.0.0.0:1883": {2, "mqtt.plain"},
		"check --config " + data:          {2, "read settings"},
		"check --config " + letters:       {2, "email[0]"},
		"serve --data " + data + " --config " + letters: {2, "email[0]"},
		"ledger --data " + data:                         {3, "ask the server: no server answers on " + data},
		"gateway list --json --data " + data:            {3, "is `pantau serve --data " + data + "` running"},
	} {
		cmd := root()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(strings.Fields(line))
		err := cmd.ExecuteContext(t.Context())
		said := ""
		if err != nil {
			said = err.Error()
		}
		if code := exitCode(err); code != want.code || !strings.Contains(said, want.says) {
			t.Errorf("pantau %s: exit code %d, %q; want %d, %q", line, code, said, want.code, want.says)
		}
		if err == nil && !strings.Contains(out.String(), "Usage:") {
			t.Errorf("pantau %s shows no help", line)
		}
	}
}

func TestEveryCommandDocumentsItsExitCodes(t *testing.T) {
	var visit func(line []string, c *cobra.Command)
	visit = func(line []string, c *cobra.Command) {
		cmd := root()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs(append(slices.Clone(line), "--help"))
		if err := cmd.ExecuteContext(t.Context()); err != nil || strings.Count(out.String(), "Exit codes:") != 1 {
			t.Errorf("%s --help: %v\n%s", c.CommandPath(), err, out.String())
		}
		for _, sub := range c.Commands() {
			visit(append(slices.Clone(line), sub.Name()), sub)
		}
	}
	visit(nil, root())
}

func TestCheckPrintsWhatItUnderstood(t *testing.T) {
	cmd := root()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs([]string{"check", "--data", t.TempDir(), "--journal-quota", "20GB", "--mqtt", "0.0.0.0:8883"})
	if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "quota = '20GB'") || !strings.Contains(out.String(), "warning: mqtt.listen") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestCheckAnswersInJSON(t *testing.T) {
	var out bytes.Buffer
	cmd := root()
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs([]string{"check", "--data", t.TempDir(), "--journal-quota", "20GB", "--mqtt", "0.0.0.0:8883", "--json"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var said struct {
		Settings struct{ Journal struct{ Quota string } }
		Warnings []string
	}
	if err := json.Unmarshal(out.Bytes(), &said); err != nil || said.Settings.Journal.Quota != "20GB" || len(said.Warnings) != 1 || !strings.Contains(said.Warnings[0], "mqtt.listen") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestVersionAndCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"--version":              "pantau version " + version,
		"completion bash":        "__start_pantau",
		"__complete deadletter ": "drop",
	} {
		cmd := root()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(strings.Split(line, " "))
		if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("pantau %s: %v, %.200q; want %q", line, err, out.String(), want)
		}
	}
}
