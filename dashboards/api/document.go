package api

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pantau-id/pantau/internal/page"
)

// documentPath is the address of the OpenAPI document without its ending.
const documentPath = Prefix + "/openapi"

// Version of the interface: its second number grows when something is added;
// something that breaks callers gets another prefix.
const Version = "1.0"

//go:embed examples
var examples embed.FS

// example is a real answer, written by a test.
type example struct {
	Request string          `json:"request"`
	Answer  json.RawMessage `json:"answer"`
}

func exampleOf(operation string) (e example, ok bool, err error) {
	body, err := examples.ReadFile("examples/" + operation + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return e, false, nil
	}
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil {
		return e, false, fmt.Errorf("read the example of %s: %w", operation, err)
	}
	return e, true, nil
}

func (a *API) config() huma.Config {
	useProblems()
	document := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Pantau", Version: Version, Description: page.English.T("api.lead") + " " + page.English.T("api.rules"),
			License: &huma.License{Name: a.o.Licence.Name, URL: a.o.Licence.URL},
		},
		Components: &huma.Components{Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)},
	}
	return huma.Config{
		OpenAPI: document,
		// Its reference page loads scripts from elsewhere, and its document is made
		// while it is asked for: both are ours.
		DocsPath: "", OpenAPIPath: "", SchemasPath: "",
		Formats: map[string]huma.Format{
			typeJSON:    {Marshal: writeJSON, Unmarshal: json.Unmarshal},
			typeCSV:     {Marshal: writeCSV},
			problemType: {Marshal: writeJSON},
		},
		DefaultFormat: typeJSON, NoFormatFallback: true, RejectUnknownQueryParameters: true,
		Transformers: []huma.Transformer{named},
	}
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(true) // whoever pastes an answer into a page finds no markup
	return e.Encode(v)
}

// finish completes the document with what the types do not say.
func (a *API) finish() error {
	document := a.huma.OpenAPI()
	problemSchema := document.Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, schema := range document.Components.Schemas.Map() {
		for _, property := range schema.Properties {
			if property.Nullable && property.Enum != nil { // huma does not say that null is one of them
				property.Enum = append(property.Enum, nil)
			}
		}
	}
	for _, item := range document.Paths {
		op := item.Get
		ok := op.Responses["200"]
		ok.Description = "The answer"
		ok.Headers["ETag"] = &huma.Param{Schema: &huma.Schema{Type: huma.TypeString}, Description: "Send it back as If-None-Match: an answer that did not change is a 304 without content"}
		ok.Content[typeCSV] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: "RFC 4180, UTF-8, one line of column names. Text that a spreadsheet would take for a formula begins with an apostrophe"}}
		if e, have, err := exampleOf(op.OperationID); err != nil {
			return err
		} else if have {
			var value any
			if err := json.Unmarshal(e.Answer, &value); err != nil {
				return fmt.Errorf("read the example of %s: %w", op.OperationID, err)
			}
			ok.Content[typeJSON].Examples = map[string]*huma.Example{"real": {Summary: "GET " + e.Request, Value: value}}
		}
		for _, p := range op.Parameters {
			p.Description = page.English.T(page.Key("api.param." + p.Name))
		}
		delete(op.Responses, "default")
		op.Responses["304"] = &huma.Response{Description: "Not changed since the ETag that was sent"}
		for status, what := range map[int]string{
			http.StatusBadRequest: "A parameter is wrong; detail says what to do", http.StatusNotFound: "Nothing public is there",
			http.StatusNotAcceptable: "Neither JSON nor CSV was asked for", http.StatusTooManyRequests: "Asked too often; Retry-After says when to come again",
			http.StatusInternalServerError: "The server's fault; the operator finds it by id", http.StatusServiceUnavailable: "Too many are asking",
		} {
			response := &huma.Response{Description: what, Content: map[string]*huma.MediaType{problemType: {Schema: problemSchema}}}
			if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
				response.Headers = map[string]*huma.Param{"Retry-After": {Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "Seconds"}}
			}
			op.Responses[strconv.Itoa(status)] = response
		}
	}
	asJSON, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	asYAML, err := document.YAML()
	if err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	a.document = map[string]file{
		documentPath + ".json": {"application/openapi+json;version=3.1", asJSON},
		documentPath + ".yaml": {"application/openapi+yaml;version=3.1", asYAML},
	}
	return nil
}

// file is content that never changes while the program runs.
type file struct {
	contentType string
	body        []byte
}

func (a *API) serveDocument(mux *http.ServeMux) {
	for path, f := range a.document {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", f.contentType)
			_, _ = w.Write(f.body) // the buffer takes everything
		})
	}
}
