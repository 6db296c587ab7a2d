package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// What is printed and returned for mistakes of people and scripts.
func TestMistakesHaveTheirExitCode(t *testing.T) {
	data := filepath.Join(t.TempDir(), "nothing")
	for line, want := range map[string]struct {
		code int
		says string
	}{
		"":                                   {0, ""},
		"gateway":                            {0, ""},
		"nope":                               {2, `unknown command "nope"`},
		"gateway nope":                       {2, `unknown command "nope"; see pantau gateway --help`},
		"gateway add --district 3374":        {2, "--name"},
		"ledger --jsn":                       {2, "unknown flag"},
		"rules set":                          {2, "want one file"},
		"rules set " + data:                  {2, "no such file"},
		"serve --mqtt-plain 0.0.0.0:1883":    {2, "mqtt.plain"},
		"check --config " + data:             {2, "read settings"},
		"ledger --data " + data:              {3, "ask the server: no server answers on " + data},
		"gateway list --json --data " + data: {3, "is `pantau serve --data " + data + "` running"},
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
