// Package pantau has no code: this file keeps the rules of the tree.
//
// The rules are read from the files themselves on every run; a check through
// `go list` would go stale in Go's test cache.
package pantau

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/pantau-id/pantau"

// rooms never import each other: a room declares the small interface that it
// needs, and cmd or internal/server hands it the concrete thing.
var rooms = []string{"gateway", "broker", "ingest", "firmware-sim", "dashboards"}

// shared is what a room may import from internal/.
var shared = []string{
	"internal/telemetry", "internal/sparkplug", "internal/envelope", "internal/lifecycle",
	"internal/hostclock", "internal/figures", "internal/page", "internal/registry", "internal/settings", "internal/places", "internal/audit",
}

// fences name the only folders that may import a library, so that it can be
// replaced in one place. A test may import what it tests against.
var fences = map[string][]string{
	"github.com/mochi-mqtt/server":             {"broker"},
	"github.com/eclipse/paho.mqtt.golang":      {"gateway/uplink"},
	"github.com/nats-io":                       {"ingest/journal"},
	"github.com/influxdata/influxdb-client-go": {"ingest/influx"},
	"github.com/prometheus/client_golang":      {"broker", "ingest", "dashboards", "internal/server"},
	"github.com/VictoriaMetrics/metrics":       {"gateway"},
	"periph.io/x":                              {"gateway/sensors", "firmware-sim/chip"},
	"go.bug.st/serial":                         {"gateway/sensors"},
	"go.etcd.io/bbolt":                         {"ingest"},
	"github.com/alexedwards/scs":               {"dashboards"},
	"github.com/xuri/excelize":                 {"internal/places", "dashboards/report"},
	"github.com/coreos/go-oidc":                {"dashboards/account"},
	"golang.org/x/oauth2":                      {"dashboards/account"},
	"golang.org/x/crypto/acme":                 {"internal/server"},
	"github.com/wneessen/go-mail":              {"ingest/notify"},
	"google.golang.org/protobuf/encoding":      {"internal/sparkplug"},
	"github.com/spf13/cobra":                   {"cmd"},
	"github.com/andybalholm/brotli":            {"dashboards/public"},
	"golang.org/x/image":                       {"dashboards"},
	"github.com/johnfercher/maroto":            {"dashboards/report"},
	"github.com/phpdave11/gofpdf":              {"dashboards/report"},
	"github.com/go-analyze/charts":             {"dashboards"},
	"github.com/danielgtaylor/huma":            {"dashboards/api"},
	"github.com/parquet-go":                    {"dashboards/report"},
	"github.com/pelletier/go-toml":             {"internal/settings", "gateway", "cmd"},
}

// forbidden imports, with the reason.
var forbidden = map[string]string{
	"periph.io/x/host/v3": "maps /dev/mem at a Raspberry Pi 4's address on a Pi 5: import gpioioctl and sysfs",
}

// words that stand in these files only: what they do is judged there once.
var words = map[string][]string{
	"InsecureSkipVerify": {"gateway/enrol.go", "broker/listen.go"}, // verifies by the pinned authority; refuses it
	"authority.pem":      {"broker/enrol/enrol.go"},                // the key of the certificate authority
}

type file struct {
	path    string // slash separated, relative to the root
	dir     string
	test    bool
	ast     *ast.File
	imports []string
}

// parsed holds every Go file of the tree, read once a run.
var parsed = sync.OnceValues(func() (out []file, err error) {
	err = filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		p = filepath.ToSlash(p)
		if d.IsDir() {
			name := d.Name()
			if p != "." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" || name == "tools" || p == "deploy/image") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		tree, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		f := file{path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), ast: tree}
		for _, spec := range tree.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, name)
		}
		out = append(out, f)
		return nil
	})
	return out, err
})

func goFiles(t *testing.T) []file {
	t.Helper()
	out, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("only %d Go files found: the walk is broken", len(out))
	}
	return out
}

// below reports whether dir is place or lies in it.
func below(dir, place string) bool { return dir == place || strings.HasPrefix(dir, place+"/") }

func roomOf(dir string) string {
	for _, r := range rooms {
		if below(dir, r) {
			return r
		}
	}
	return ""
}

func TestImportDirection(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, imported := range f.imports {
			target, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				continue
			}
			if below(f.dir, "internal/telemetry") {
				t.Errorf("%s imports %s: telemetry imports nothing of ours", f.path, target)
			}
			if below(target, "cmd") {
				t.Errorf("%s imports %s: nothing imports a program", f.path, target)
			}
			room := roomOf(f.dir)
			if room == "" || f.test {
				continue // cmd, internal/server and tests may join rooms
			}
			if other := roomOf(target); other != "" && other != room {
				t.Errorf("%s: room %s imports room %s (%s): declare an interface and let internal/server hand it over", f.path, room, other, target)
			}
			if below(target, "internal") && !slices.ContainsFunc(shared, func(s string) bool { return below(target, s) }) {
				t.Errorf("%s: a room may not import %s", f.path, target)
			}
		}
	}
}

func TestSharedWordsStayBelowTheRooms(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || !slices.ContainsFunc(shared, func(s string) bool { return below(f.dir, s) }) {
			continue
		}
		for _, imported := range f.imports {
			if target, ours := strings.CutPrefix(imported, module+"/"); ours && roomOf(target) != "" {
				t.Errorf("%s imports the room %s", f.path, target)
			}
		}
	}
}

func TestFences(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, imported := range f.imports {
			if why, ok := forbidden[imported]; ok {
				t.Errorf("%s imports %s, which %s", f.path, imported, why)
			}
			if f.test {
				continue
			}
			for library, places := range fences {
				if below(imported, library) && !slices.ContainsFunc(places, func(p string) bool { return below(f.dir, p) }) {
					t.Errorf("%s imports %s: only %s may", f.path, imported, strings.Join(places, ", "))
				}
			}
		}
	}
}

func TestWordsKeepToTheirFiles(t *testing.T) {
	found := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			said := ""
			switch n := n.(type) {
			case *ast.Ident:
				said = n.Name
			case *ast.BasicLit:
				said = n.Value
			}
			for word, places := range words {
				if !strings.Contains(said, word) {
					continue
				}
				found[word+" "+f.path] = true
				if !slices.Contains(places, f.path) {
					t.Errorf("%s says %s: only %s may", f.path, word, strings.Join(places, ", "))
				}
			}
			return true
		})
	}
	for word, places := range words {
		for _, p := range places {
			if !found[word+" "+p] {
				t.Errorf("%s does not say %s any more: take it off the list", p, word)
			}
		}
	}
}

func TestEveryPackageHasOneDoc(t *testing.T) {
	docs := map[string][]string{}
	for _, f := range goFiles(t) {
		if f.test && f.dir != "." {
			if _, ok := docs[f.dir]; !ok && !strings.HasSuffix(f.ast.Name.Name, "_test") {
				docs[f.dir] = nil
			}
		} else if _, ok := docs[f.dir]; !ok {
			docs[f.dir] = nil
		}
		if f.ast.Doc != nil {
			docs[f.dir] = append(docs[f.dir], f.path)
			want := "Package " + f.ast.Name.Name + " "
			if f.ast.Name.Name == "main" {
				want = "Command "
			}
			if !strings.HasPrefix(f.ast.Doc.Text(), want) {
				t.Errorf("%s: package comment should start with %q", f.path, want)
			}
		}
	}
	for dir, places := range docs {
		if len(places) != 1 {
			t.Errorf("package %s has %d package comments, want one: %v", dir, len(places), places)
		}
	}
}

func TestNoDrawers(t *testing.T) {
	for _, f := range goFiles(t) {
		switch path.Base(f.dir) {
		case "pkg", "util", "utils", "common", "models", "config", "helpers", "misc":
			t.Errorf("%s: a folder's name says its purpose; %q does not", f.path, path.Base(f.dir))
		}
	}
}

func TestMainsStaySmall(t *testing.T) {
	for _, f := range goFiles(t) {
		if !below(f.dir, "cmd") || path.Base(f.path) != "main.go" {
			continue
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n")); n > 120 {
			t.Errorf("%s has %d lines, at most 120: flags, signals, exit code", f.path, n)
		}
	}
}

func TestNoInitRegistration(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: use a table in one file", f.path)
			}
		}
	}
}

func TestTestsWaitForEvents(t *testing.T) {
	for _, f := range goFiles(t) {
		if !f.test {
			continue
		}
		synctest := slices.Contains(f.imports, "testing/synctest")
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := call.X.(*ast.Ident)
			if !ok {
				return true
			}
			if x.Name == "time" && call.Sel.Name == "Sleep" && !synctest {
				t.Errorf("%s sleeps: wait for an event", f.path)
			}
			if x.Name == "t" && strings.HasPrefix(call.Sel.Name, "Skip") {
				t.Errorf("%s skips a test: fail with what is missing instead", f.path)
			}
			return true
		})
	}
}

// `make fuzz` says that it fuzzes every target.
func TestMakefileNamesEveryFuzzTarget(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range goFiles(t) {
		for _, decl := range f.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !f.test || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Fuzz") {
				continue
			}
			if target := f.dir + ":" + fn.Name.Name + ":"; !bytes.Contains(makefile, []byte(target)) {
				t.Errorf("%s: add %s and its executions a second to FUZZ_ALL in the Makefile", f.path, target)
			}
		}
	}
}
