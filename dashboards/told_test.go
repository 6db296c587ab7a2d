package dashboards_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/internal/page"
)

// sources parses the Go files of a folder, without tests.
func sources(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", dir, names, err)
	}
	var out []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

// calls maps each function of the files to the names that it calls.
func calls(files []*ast.File) map[string][]string {
	out := map[string][]string{}
	for _, f := range files {
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok {
					switch callee := c.Fun.(type) {
					case *ast.SelectorExpr:
						out[fn.Name.Name] = append(out[fn.Name.Name], callee.Sel.Name)
					case *ast.Ident:
						out[fn.Name.Name] = append(out[fn.Name.Name], callee.Name)
					}
				}
				return true
			})
		}
	}
	return out
}

func reaches(graph map[string][]string, from, to string, deep int) bool {
	for _, next := range graph[from] {
		if next == to || deep > 0 && next != from && reaches(graph, next, to, deep-1) {
			return true
		}
	}
	return false
}

// Statement 25: every route that changes something leads to the audit log. Read
// from the source, so that it also holds for a change that no test makes.
func TestStatement25EveryFormIsToldOf(t *testing.T) {
	files := sources(t, ".")
	graph, forms := calls(files), 0
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			list, ok := n.(*ast.CompositeLit)
			if !ok || len(list.Elts) != 4 {
				return true
			}
			method, ok := list.Elts[0].(*ast.BasicLit)
			if !ok || !regexp.MustCompile(`^"(POST|PUT|DELETE)"$`).MatchString(method.Value) {
				return true
			}
			handle, ok := list.Elts[3].(*ast.SelectorExpr)
			if !ok {
				return true
			}
			forms++
			if !reaches(graph, handle.Sel.Name, "tell", 3) && !reaches(graph, handle.Sel.Name, "enter", 3) {
				t.Errorf("%s: %s never tells the audit log what it did", method.Value, handle.Sel.Name)
			}
			return true
		})
	}
	posts := 0
	for _, rt := range dashboards.Routes() {
		if rt.Method != "GET" {
			posts++
		}
	}
	if forms != posts {
		t.Errorf("%d forms were found in the source, the table has %d", forms, posts)
	}
}

var action = regexp.MustCompile(`^"[a-z]+\.[a-z]+"$|^"signout"$`)

// Every action that is written into the audit log has words on its page.
func TestEveryActionHasWords(t *testing.T) {
	found := 0
	check := func(lit *ast.BasicLit) {
		name, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		found++
		if !page.Has(page.Key("audit." + name)) {
			t.Errorf("the audit log's page has no words for %q", name)
		}
	}
	for _, dir := range []string{".", "../internal/server"} {
		for _, f := range sources(t, dir) {
			ast.Inspect(f, func(n ast.Node) bool {
				c, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				name := ""
				switch callee := c.Fun.(type) {
				case *ast.SelectorExpr:
					name = callee.Sel.Name
				case *ast.Ident:
					name = callee.Name
				}
				switch name {
				case "tell", "refuse", "refuseSignIn", "changePerson", "changeUser", "changeGrants":
					for _, arg := range c.Args {
						if lit, ok := arg.(*ast.BasicLit); ok && action.MatchString(lit.Value) {
							check(lit)
						}
					}
				}
				return true
			})
		}
	}
	if found < 20 {
		t.Errorf("only %d actions were found", found)
	}
}

var changes = regexp.MustCompile(`^"(POST|PUT|DELETE) /`)

// Statement 25 for the command line: every command that changes something asks
// first whether it can be told of.
func TestStatement25EveryCommandIsToldOf(t *testing.T) {
	files := sources(t, "../internal/server")
	graph, commands := calls(files), 0
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok || len(c.Args) != 2 {
				return true
			}
			pattern, ok := c.Args[0].(*ast.BasicLit)
			if !ok || !changes.MatchString(pattern.Value) || strings.HasSuffix(pattern.Value, `/verify"`) || strings.HasSuffix(pattern.Value, `/check"`) { // these only look
				return true
			}
			commands++
			guard, ok := c.Args[1].(*ast.CallExpr)
			if !ok || len(guard.Args) != 2 {
				t.Errorf("%s is not guarded by changing", pattern.Value)
				return true
			}
			if name, ok := guard.Fun.(*ast.Ident); !ok || name.Name != "changing" {
				t.Errorf("%s is not guarded by changing", pattern.Value)
				return true
			}
			told := false
			ast.Inspect(guard.Args[1], func(n ast.Node) bool {
				if handle, ok := n.(*ast.SelectorExpr); ok {
					told = told || reaches(graph, handle.Sel.Name, "tell", 3)
				}
				return true
			})
			if !told {
				t.Errorf("%s never tells the audit log what it did", pattern.Value)
			}
			return true
		})
	}
	if commands < 8 {
		t.Errorf("only %d commands were found", commands)
	}
}
