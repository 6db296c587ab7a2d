package api

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// Problem is an error by RFC 9457.
type Problem struct {
	Type   string   `json:"type" format:"uri-reference" doc:"about:blank: the status says it all"`
	Title  string   `json:"title" doc:"The status in words"`
	Status int      `json:"status"`
	Detail string   `json:"detail" doc:"What was wrong and what to do"`
	ID     string   `json:"id" doc:"Of this request; the operator finds the cause in the log under it"`
	Errors []string `json:"errors,omitempty" doc:"Each parameter that was wrong"`
}

var _ huma.StatusError = (*Problem)(nil)

func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is a problem's own, whatever was asked for.
func (*Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

func problem(status int, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

func badRequest(detail string) error { return problem(http.StatusBadRequest, detail) }

func notFound(detail string) error { return problem(http.StatusNotFound, detail) }

// found turns fs.ErrNotExist into a 404.
func found(err error, detail string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return notFound(detail)
	}
	return err
}

// request is what a request carries to whoever reports its failure.
type request struct {
	id  string
	log *slog.Logger
}

type requestKey struct{}

func requestOf(ctx context.Context) request {
	r, _ := ctx.Value(requestKey{}).(request)
	if r.log == nil {
		r.log = slog.Default()
	}
	return r
}

// useProblems makes the library answer its own errors as this package does: it
// has only a variable for that. A parameter that is wrong is a 400; the cause of
// a 500 goes to the log and to nobody else.
var useProblems = sync.OnceFunc(func() {
	huma.NewErrorWithContext = func(ctx huma.Context, status int, detail string, errs ...error) huma.StatusError {
		if status == http.StatusUnprocessableEntity {
			status, detail = http.StatusBadRequest, "One or more parameters are wrong; errors says which and why. The reference is at /api."
		}
		p := problem(status, detail)
		if status >= 500 {
			r := requestOf(ctx.Context())
			u := ctx.URL()
			r.log.Error("api request failed", "id", r.id, "path", u.Path, "err", errors.Join(errs...))
			p.Detail = "The server could not answer. Try again later, and tell the operator this id if it stays so."
			return p
		}
		for _, err := range errs {
			if err != nil {
				p.Errors = append(p.Errors, err.Error())
			}
		}
		return p
	}
	huma.NewError = func(status int, detail string, _ ...error) huma.StatusError { return problem(status, detail) }
})

// named gives a problem the id of its request.
func named(ctx huma.Context, _ string, v any) (any, error) {
	if p, ok := v.(*Problem); ok {
		p.ID = requestOf(ctx.Context()).id
	}
	return v, nil
}

// writeProblem answers outside of the library.
func writeProblem(w http.ResponseWriter, id string, p *Problem) {
	p.ID = id
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the buffer takes everything
}
