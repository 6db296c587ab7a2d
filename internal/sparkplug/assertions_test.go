package sparkplug

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// assertion is one row of testdata/assertions.tsv: a normative id of the
// standard, whom it binds there, and how Pantau stands to it.
type assertion struct {
	id, binds, standing, why string
}

const (
	obeyed    = "obeyed"    // cited at code and at a test
	deviation = "deviation" // it binds us, and we do otherwise, because …
	notOurs   = "not ours"  // it binds nobody here, because …
)

func readAssertions(t *testing.T) map[string]assertion {
	t.Helper()
	text, err := os.ReadFile("testdata/assertions.tsv")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]assertion{}
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if i == 0 {
			continue // the columns' names
		}
		cells := strings.Split(line, "\t")
		if len(cells) < 3 || len(cells) > 4 {
			t.Fatalf("line %d: %d cells, want 3 or 4", i+1, len(cells))
		}
		a := assertion{id: cells[0], binds: cells[1], standing: cells[2]}
		if len(cells) == 4 {
			a.why = cells[3]
		}
		_, twice := out[a.id]
		switch {
		case twice:
			t.Errorf("line %d: %s stands twice", i+1, a.id)
		case !slices.Contains([]string{"edge", "host", "payload", "broker"}, a.binds):
			t.Errorf("line %d: %s binds %q: want edge, host, payload or broker", i+1, a.id, a.binds)
		case !slices.Contains([]string{obeyed, deviation, notOurs}, a.standing):
			t.Errorf("line %d: %s is %q: want %s, %s or %s", i+1, a.id, a.standing, obeyed, deviation, notOurs)
		case (a.standing == obeyed) != (a.why == ""):
			t.Errorf("line %d: %s is %s and its reason is %q: what is not obeyed needs one, and nothing else", i+1, a.id, a.standing, a.why)
		}
		out[a.id] = a
	}
	return out
}

// citations finds the ids in the comments of all Go files: id -> files.
func citations(t *testing.T) (code, tests map[string][]string) {
	t.Helper()
	code, tests = map[string][]string{}, map[string][]string{}
	cited := regexp.MustCompile(`\[tck-id-([A-Za-z0-9-]+)\]`)
	files := 0
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		files++
		tree, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		into := code
		if strings.HasSuffix(name, "_test.go") {
			into = tests
		}
		for _, group := range tree.Comments {
			for _, c := range group.List {
				found := cited.FindAllStringSubmatch(c.Text, -1)
				if strings.Count(c.Text, "tck-id-") != len(found) {
					t.Errorf("%s: %q: write ids whole and in brackets", path, c.Text)
				}
				for _, m := range found {
					into[m[1]] = append(into[m[1]], path)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("only %d Go files found: the walk is broken", files)
	}
	return code, tests
}

// TestAssertions holds code and tests to the table: what is obeyed is cited
// where it is done and where it is shown, and nothing else is cited at all. Run
// it with -v for the tally.
func TestAssertions(t *testing.T) {
	all := readAssertions(t)
	code, tests := citations(t)
	tally := map[string]int{}
	byBinding := map[string]int{}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		a := all[id]
		tally[a.standing]++
		if a.standing != obeyed {
			for _, path := range slices.Concat(code[id], tests[id]) {
				t.Errorf("%s cites %s, which is %s: %s", path, id, a.standing, a.why)
			}
			continue
		}
		byBinding[a.binds]++
		if len(code[id]) == 0 {
			t.Errorf("%s is cited at no line of code", id)
		}
		if len(tests[id]) == 0 {
			t.Errorf("%s is cited at no test", id)
		}
	}
	for _, cited := range []map[string][]string{code, tests} {
		for id, paths := range cited {
			if _, ok := all[id]; !ok {
				t.Errorf("%s cites %s, which the standard does not have", paths[0], id)
			}
		}
	}
	if len(all) != 299 {
		t.Errorf("%d ids, Sparkplug B 3.0 has 299", len(all))
	}
	t.Logf("%d ids: %d obeyed (edge node %d, host %d, payload %d, MQTT server %d), %d deviations, %d not ours", len(all),
		tally[obeyed], byBinding["edge"], byBinding["host"], byBinding["payload"], byBinding["broker"], tally[deviation], tally[notOurs])
}
