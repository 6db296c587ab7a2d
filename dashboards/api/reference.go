package api

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pantau-id/pantau/internal/page"
)

//go:embed pages/*.html
var pages embed.FS

// Explain writes the reference: what stands inside the page at /api, made from the
// document. It is HTML that needs neither script nor style of its own.
func (a *API) Explain(lang page.Lang) (template.HTML, error) {
	files, err := fs.Sub(pages, "pages")
	if err != nil {
		return "", err
	}
	set, err := page.NewSet(files, nil)
	if err != nil {
		return "", err
	}
	body, err := a.explain(lang)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := set.Part(&b, lang, "api", "main", page.View{Frame: page.Frame{Lang: lang}, Body: body}); err != nil {
		return "", err
	}
	return template.HTML(b.String()), nil //nolint:gosec // our own template escaped it
}

// explanation is what the reference page shows.
type explanation struct {
	JSON, YAML string
	Licence    huma.License
	Operations []operation
}

type operation struct {
	ID, Path, Title, Lead string
	Parameters            []parameter
	Fields                []field
	Request, Answer       string // a real one
}

type parameter struct {
	Name, Type, Doc string
	Required        bool
	Values          []string
	Default         string
}

type field struct{ Name, Type, Doc string }

func (a *API) explain(lang page.Lang) (explanation, error) {
	document := a.huma.OpenAPI()
	out := explanation{JSON: documentPath + ".json", YAML: documentPath + ".yaml", Licence: *document.Info.License}
	for _, path := range a.order {
		op := document.Paths[path].Get
		o := operation{ID: op.OperationID, Path: path, Title: lang.T(page.Key("api.op." + op.OperationID)), Lead: lang.T(page.Key("api.op." + op.OperationID + ".lead"))}
		for _, p := range op.Parameters {
			one := parameter{Name: p.Name, Type: typeOf(p.Schema), Required: p.Required, Doc: lang.T(page.Key("api.param." + p.Name))}
			for _, v := range p.Schema.Enum {
				one.Values = append(one.Values, fmt.Sprint(v))
			}
			if p.Schema.Default != nil {
				one.Default = fmt.Sprint(p.Schema.Default)
			}
			o.Parameters = append(o.Parameters, one)
		}
		schema := resolve(document, op.Responses["200"].Content[typeJSON].Schema)
		if data, ok := schema.Properties["data"]; ok {
			schema = resolve(document, data.Items)
		}
		for _, name := range fieldOrder(schema) {
			o.Fields = append(o.Fields, field{name, typeOf(schema.Properties[name]), schema.Properties[name].Description})
		}
		if e, ok, err := exampleOf(op.OperationID); err != nil {
			return out, err
		} else if ok {
			var b bytes.Buffer
			if err := json.Indent(&b, e.Answer, "", "  "); err != nil {
				return out, fmt.Errorf("read the example of %s: %w", op.OperationID, err)
			}
			o.Request, o.Answer = e.Request, b.String()
		}
		out.Operations = append(out.Operations, o)
	}
	return out, nil
}

// fieldOrder lists required fields in the order of the type, then the others.
func fieldOrder(s *huma.Schema) []string {
	out := slices.Clone(s.Required)
	var rest []string
	for name := range s.Properties {
		if !slices.Contains(out, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	return append(out, rest...)
}

func resolve(document *huma.OpenAPI, s *huma.Schema) *huma.Schema {
	if s.Ref != "" {
		return document.Components.Schemas.SchemaFromRef(s.Ref)
	}
	return s
}

// typeOf names a type for people.
func typeOf(s *huma.Schema) string {
	switch {
	case s.Ref != "":
		return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	case s.Type == huma.TypeArray && s.Items != nil:
		return typeOf(s.Items) + "[]"
	case s.Format == "date-time":
		return "time"
	}
	return s.Type
}
