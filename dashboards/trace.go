package dashboards

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/pantau-id/pantau/dashboards/evidence"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func traceURL(l page.Lang, id string) string { return l.Path("/dinas/bukti/" + url.PathEscape(id)) }

// ofFigure asks for the role for the air of the site of the path's {figure}.
func ofFigure(d *Dashboards, r *http.Request) (string, telemetry.Kind, error) {
	id, _ := strings.CutSuffix(r.PathValue("figure"), ".json")
	_, code, _, _, err := figures.ParseFigureID(id)
	if strings.HasPrefix(id, figures.AssessmentPrefix) {
		code, _, _, err = figures.ParseAssessmentID(id)
	}
	site, ok := d.o.Places.Site(code)
	if err != nil || !ok {
		return "", "", fmt.Errorf("figure %q: %w", id, fs.ErrNotExist)
	}
	return site.District, telemetry.KindAir, nil
}

type traceBody struct {
	Site, SiteURL string
	Kind          string
	Figure        figureView
	Sheet         template.HTML
	JSON          string
	Public        string // where citizens see the same; "" = they do not
}

// trace shows how a figure came about: the same sheet as the citizens' page, and of
// sites, too, that are not theirs to see.
func (d *Dashboards) trace(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	id, asJSON := strings.CutSuffix(r.PathValue("figure"), ".json")
	if strings.HasPrefix(id, figures.AssessmentPrefix) {
		return d.assessmentTrace(w, r, id, asJSON)
	}
	t, err := d.o.Figures.Trace(r.Context(), id)
	if errors.Is(err, fs.ErrNotExist) {
		return problem{status: http.StatusNotFound}
	}
	if err != nil {
		return err
	}
	if asJSON {
		body, err := json.MarshalIndent(t, "", " ")
		if err != nil {
			return fmt.Errorf("write trace %s: %w", id, err)
		}
		return write(w, r, http.StatusOK, "application/json", append(body, '\n'))
	}
	site, _ := d.o.Places.Site(t.Figure.Site) // the route's scope found it
	revisions, err := d.o.Figures.Revisions(r.Context(), t.Figure.Kind, t.Figure.Site, t.Figure.End)
	if err != nil {
		return err
	}
	var others []page.Link
	for _, f := range revisions {
		others = append(others, page.Link{URL: traceURL(lang, f.ID), Text: "R" + strconv.Itoa(f.Revision), Current: f.ID == id})
	}
	b := traceBody{Site: site.Name, SiteURL: siteURL(lang, site.Code), Kind: lang.Name("kind.", string(t.Figure.Kind)), Figure: viewFigure(lang, t.Figure, t.Rules), JSON: traceURL(lang, id) + ".json"}
	if site.Public && !t.Figure.Published.IsZero() {
		b.Public = lang.Path("/bukti/" + url.PathEscape(id))
	}
	if b.Sheet, err = evidence.Sheet(lang, t, site.Name, others); err != nil {
		return err
	}
	f := d.frame(r, lang.T("index.trace"))
	f.Simulated = t.Figure.Simulated
	return d.send(w, r, http.StatusOK, "trace", page.View{Frame: f, Body: b})
}

type assessmentBody struct {
	Site, SiteURL string
	Year          string
	figures.Assessment
	Sheet  template.HTML
	JSON   string
	Public string // where citizens see the same; "" = they do not
}

// assessmentTrace shows from what a station's year was compared with a limit.
func (d *Dashboards) assessmentTrace(w http.ResponseWriter, r *http.Request, id string, asJSON bool) error {
	lang, _ := page.Split(r.URL.Path)
	t, err := d.o.Figures.AssessmentTrace(r.Context(), id)
	if errors.Is(err, fs.ErrNotExist) {
		return problem{status: http.StatusNotFound}
	}
	if err != nil {
		return err
	}
	if asJSON {
		body, err := json.Marshal(t)
		if err != nil {
			return fmt.Errorf("write trace %s: %w", id, err)
		}
		return write(w, r, http.StatusOK, "application/json", append(body, '\n'))
	}
	site, _ := d.o.Places.Site(t.Site) // the route's scope found it
	b := assessmentBody{Site: site.Name, SiteURL: siteURL(lang, site.Code), Year: strconv.Itoa(t.Year), Assessment: t.Assessment, JSON: traceURL(lang, id) + ".json"}
	if site.Public {
		b.Public = lang.Path("/bukti/" + url.PathEscape(id))
	}
	if b.Sheet, err = evidence.AssessmentSheet(lang, t, site.Name); err != nil {
		return err
	}
	f := d.frame(r, lang.T("index.trace"))
	f.Simulated = t.Simulated
	return d.send(w, r, http.StatusOK, "assessment", page.View{Frame: f, Body: b})
}
