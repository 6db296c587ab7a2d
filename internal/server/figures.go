package server

import (
	"fmt"
	"net/http"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
)

// SetFigureRules are the settings that figures depend on, from Since on (zero: from
// now on). A date in the past computes every figure since then anew; those that
// change become revisions.
type SetFigureRules struct {
	Since  time.Time     `json:"since,omitzero"`
	Rules  figures.Rules `json:"rules"`
	Reason string        `json:"reason"`
}

// adminFigures answers `pantau figures`.
func (s *Server) adminFigures(mux *http.ServeMux) {
	mux.Handle("GET /figures/rules", answer(func(r *http.Request) ([]figures.DatedRules, error) { return s.publication.Rules(r.Context()) }))
	mux.Handle("PUT /figures/rules", changing(s, s.setFigureRules))
}

func (s *Server) setFigureRules(r *http.Request) (Done, error) {
	set, err := decode[SetFigureRules](r)
	if err != nil {
		return Done{}, err
	}
	by, _ := r.Context().Value(callerKey{}).(string)
	since := set.Since
	soon := time.Now().Add(100 * time.Millisecond) // the book takes no date that has passed
	if since.Before(soon) {
		since = soon
	}
	if err := s.publication.SetRules(r.Context(), figures.DatedRules{Since: since, Rules: set.Rules, Reason: set.Reason, By: by}); err != nil {
		return Done{}, err
	}
	done := Done{"the rules hold from " + since.In(figures.WIB).Format("2006-01-02 15:04") + " WIB on"}
	if !set.Since.IsZero() && set.Since.Before(soon) {
		t := time.NewTimer(time.Until(since) + 10*time.Millisecond)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
			return Done{}, r.Context().Err()
		}
		if err := s.publication.RecomputeSince(r.Context(), set.Since, by, set.Reason); err != nil {
			return Done{}, err
		}
		done.Message = "every figure since " + set.Since.In(figures.WIB).Format("2006-01-02 15:04") + " WIB is computed anew by these rules"
	}
	return done, s.tell(r, "figures.rules", "", fmt.Sprintf("%s; %s", set.Reason, done.Message))
}
