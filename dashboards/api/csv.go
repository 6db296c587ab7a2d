package api

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/internal/figures"
)

// record is a row of a list: it knows its columns in a CSV.
type record interface {
	columns() []string
	cells() []any
}

// tabular is an answer that can be written as a table.
type tabular interface{ table() report.Table }

func tableOf[T record](rows []T) report.Table {
	var zero T
	return report.Table{Columns: zero.columns(), Rows: func(yield func([]any, error) bool) {
		for _, r := range rows {
			if !yield(r.cells(), nil) {
				return
			}
		}
	}}
}

func (l List[T]) table() report.Table { return tableOf(l.Data) }

// one is a table of a single row.
func one[T record](row T) report.Table { return tableOf([]T{row}) }

func writeCSV(w io.Writer, v any) error {
	switch v := v.(type) {
	case tabular:
		return v.table().CSV(w)
	case *Problem: // problems are JSON, whatever was asked for
		return json.NewEncoder(w).Encode(v)
	}
	return fmt.Errorf("%T has no form as a table", v)
}

// val is the cell of what may be missing.
func val[T any](p *T) any {
	if p == nil {
		return nil
	}
	return any(*p)
}

func (District) columns() []string { return []string{"code", "name", "latitude", "longitude", "sites"} }
func (d District) cells() []any    { return []any{d.Code, d.Name, d.Latitude, d.Longitude, d.Sites} }

func (Site) columns() []string {
	return []string{"code", "name", "district", "subdistrict", "latitude", "longitude", "class", "certificate", "operator", "closed", "quantities", "simulated"}
}

func (s Site) cells() []any {
	var quantities []string
	for _, q := range s.Quantities {
		quantities = append(quantities, q.Name)
	}
	certificate := ""
	if s.Certificate != nil {
		certificate = s.Certificate.Number
	}
	return []any{s.Code, s.Name, s.District, s.Subdistrict, val(s.Latitude), val(s.Longitude), s.Class, certificate, s.Operator, val(s.Closed), strings.Join(quantities, " "), s.Simulated}
}

func (s Site) table() report.Table { return one(s) }

func (Sensor) columns() []string {
	return []string{"id", "name", "maker", "model", "calibrated", "sites"}
}

func (s Sensor) cells() []any {
	var at []string
	for _, d := range s.Deployments {
		if !slices.Contains(at, d.Site) {
			at = append(at, d.Site)
		}
	}
	return []any{s.ID, s.Name, s.Maker, s.Model, val(s.Calibrated), strings.Join(at, " ")}
}

func (Reading) columns() []string {
	return []string{"site", "quantity", "unit", "time", "value", "flag", "gap", "sensor", "class", "status", "simulated"}
}

func (r Reading) cells() []any {
	return []any{r.Site, r.Quantity, r.Unit, r.Time, val(r.Value), r.Flag, r.Gap, r.Sensor, r.Class, r.Status, r.Simulated}
}

func (Observation) columns() []string {
	return []string{"site", "quantity", "unit", "start", "end", "value", "minimum", "maximum", "valid", "expected", "complete", "flags", "sensor", "status", "class", "revision", "simulated"}
}

func (o Observation) cells() []any {
	flags := report.Observation{Complete: o.Complete, Excluded: figures.Exclusion(o.Excluded), Rejected: o.Rejected, Gaps: o.Gaps}.Flags()
	return []any{o.Site, o.Quantity, o.Unit, o.Start, o.End, val(o.Value), val(o.Minimum), val(o.Maximum), o.Valid, o.Expected, o.Complete, flags, o.Sensor, o.Status, o.Class, o.Revision, o.Simulated}
}

func (Index) columns() []string {
	return []string{"id", "kind", "site", "district", "start", "end", "valid", "value", "above_500", "category", "dominant", "judged",
		"pm10", "pm2_5", "so2", "co", "o3", "no2", "hc", "estimate", "status", "class", "revision", "reason", "rules", "computed", "published", "simulated", "hash"}
}

func (i Index) cells() []any {
	out := []any{i.ID, i.Kind, i.Site, i.District, i.Start, i.End, i.Valid, val(i.Value), i.Above500, val(i.Category), val(i.Dominant), i.Judged}
	for _, p := range i.columns()[12:19] {
		var value any
		for _, part := range i.Parts {
			if part.Parameter == p {
				value = val(part.Value)
			}
		}
		out = append(out, value)
	}
	return append(out, i.Estimate, i.Status, i.Class, i.Revision, i.Reason, i.Rules, i.Computed, val(i.Published), i.Simulated, i.Hash)
}

func (Exceedance) columns() []string {
	return []string{"site", "quantity", "period", "limit", "from", "to", "peak", "standard", "simulated", "record"}
}

func (e Exceedance) cells() []any {
	return []any{e.Site, e.Quantity, e.Period, e.Limit, e.From, e.To, e.Peak, e.Standard, e.Simulated, e.Record}
}

func (Bulletin) columns() []string {
	return []string{"id", "at", "revision", "number", "published", "agency", "signer", "reason", "stations", "simulated", "hash", "page", "pdf"}
}

func (b Bulletin) cells() []any {
	return []any{b.ID, b.At, b.Revision, b.Number, b.Published, b.Agency, b.Signer, b.Reason, len(b.Figures), b.Simulated, b.Hash, b.Page, b.PDF}
}

// table of one bulletin are its figures.
func (b Bulletin) table() report.Table { return tableOf(b.Figures) }

func (TraceHour) columns() []string {
	return []string{"quantity", "unit", "end", "version", "mean", "minimum", "maximum", "valid", "expected", "flags"}
}

func (h TraceHour) cells() []any {
	excluded := figures.Exclusion(h.Excluded)
	flags := report.Observation{Complete: excluded.Measured(), Excluded: excluded, Rejected: h.Rejected, Gaps: h.Gaps}.Flags()
	return []any{h.Quantity, h.Unit, h.End, h.Version, val(h.Mean), val(h.Minimum), val(h.Maximum), h.Valid, h.Expected, flags}
}

// table of a trace are its hours.
func (t Trace) table() report.Table { return tableOf(t.Hours) }

// modified writes a time as HTTP does; "" for none.
func modified(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
}
