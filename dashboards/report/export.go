package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Format is a kind of file that staff take a site's data away in.
type Format string

// The formats.
const (
	CSV     Format = "csv"
	XLSX    Format = "xlsx"
	Parquet Format = "parquet"
)

// ContentType is the format's for HTTP; "" = there is no such format.
func (f Format) ContentType() string {
	switch f {
	case CSV:
		return "text/csv; charset=utf-8"
	case XLSX:
		return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	case Parquet:
		return "application/vnd.apache.parquet"
	}
	return ""
}

// Extract says what an export holds.
type Extract struct {
	Site       places.Site
	Kinds      []telemetry.Kind // that its reader may see
	Resolution Resolution
	From, To   time.Time // hours and days: from < End <= to; readings: from <= time < to
}

// exportColumns are the columns of an export, in every format.
var exportColumns = []string{"site", "quantity", "unit", "start", "end", "value", "text", "minimum", "maximum", "valid", "expected", "complete", "flags", "sensor", "status", "class", "revision", "simulated"}

// part is how much of a span is read at once.
var part = map[Resolution]time.Duration{Readings: 6 * time.Hour, Hourly: 7 * 24 * time.Hour, Daily: 31 * 24 * time.Hour}

// each hands out an extract's observations in order, part after part, so that a
// year does not lie in memory.
func (a Archive) each(ctx context.Context, e Extract, fn func(Observation) error) error {
	step, ok := part[e.Resolution]
	if !ok {
		return fmt.Errorf("export: resolution %q: want raw, hour or day", e.Resolution)
	}
	allowed := map[telemetry.Kind]bool{}
	for _, k := range e.Kinds {
		allowed[k] = true
	}
	for from := e.From; from.Before(e.To); from = from.Add(step) {
		to := from.Add(step)
		if e.Resolution == Daily {
			to = DayOf(from).Add(step)
		}
		if to.After(e.To) {
			to = e.To
		}
		var rows []Observation
		var err error
		switch e.Resolution {
		case Readings:
			rows, err = a.ReadingsPage(ctx, e.Site, e.Kinds, nil, from, to, After{}, 1<<30)
		case Hourly:
			rows, err = a.Hours(ctx, e.Site, nil, from, to)
		case Daily:
			rows, err = a.Days(ctx, e.Site, nil, from, to)
		}
		if err != nil {
			return err
		}
		for _, o := range rows {
			if allowed[KindOf(o.Quantity)] {
				if err := fn(o); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (o Observation) cells() []any {
	return []any{o.Site.Code, o.Quantity, string(o.Unit), o.Start, o.End, cell(o.Value), o.Text, cell(o.Min), cell(o.Max), o.Valid, o.Expected, o.Complete,
		o.Flags(), o.Sensor, string(o.Status), string(o.Class), o.Revision, o.Simulated}
}

// Export writes an extract. It streams: an error may come after bytes have gone
// out.
func (a Archive) Export(ctx context.Context, w io.Writer, f Format, e Extract) error {
	table := Table{Columns: exportColumns, Rows: func(yield func([]any, error) bool) {
		stopped := errors.New("the reader stopped")
		err := a.each(ctx, e, func(o Observation) error {
			if !yield(o.cells(), nil) {
				return stopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, stopped) {
			yield(nil, err)
		}
	}}
	switch f {
	case CSV:
		return table.CSV(w)
	case XLSX:
		for i, name := range table.Columns {
			if name == "start" || name == "end" {
				table.Columns = slices.Clone(table.Columns)
				table.Columns[i] = name + " (WIB)"
			}
		}
		return table.XLSX(w)
	case Parquet:
		return a.exportParquet(ctx, w, e)
	}
	return fmt.Errorf("export: format %q: want csv, xlsx or parquet", f)
}

// Row is an observation in a Parquet file. Times are milliseconds UTC.
type Row struct {
	Site      string   `parquet:"site,dict"`
	Quantity  string   `parquet:"quantity,dict"`
	Unit      string   `parquet:"unit,dict"`
	Start     int64    `parquet:"start,timestamp(millisecond)"`
	End       int64    `parquet:"end,timestamp(millisecond)"`
	Value     *float64 `parquet:"value,optional"`
	Text      string   `parquet:"text,dict"`
	Minimum   *float64 `parquet:"minimum,optional"`
	Maximum   *float64 `parquet:"maximum,optional"`
	Valid     int32    `parquet:"valid"`
	Expected  int32    `parquet:"expected"`
	Complete  bool     `parquet:"complete"`
	Flags     string   `parquet:"flags,dict"`
	Sensor    string   `parquet:"sensor,dict"`
	Status    string   `parquet:"status,dict"`
	Class     string   `parquet:"class,dict"`
	Revision  int32    `parquet:"revision"`
	Simulated bool     `parquet:"simulated"`
}

func (a Archive) exportParquet(ctx context.Context, w io.Writer, e Extract) error {
	out := parquet.NewGenericWriter[Row](w, parquet.Compression(&parquet.Zstd))
	batch := make([]Row, 0, 1024)
	flush := func() error {
		if _, err := out.Write(batch); err != nil {
			return fmt.Errorf("write a Parquet file: %w", err)
		}
		batch = batch[:0]
		return nil
	}
	err := a.each(ctx, e, func(o Observation) error {
		batch = append(batch, Row{
			Site: o.Site.Code, Quantity: page.Clean(o.Quantity), Unit: string(o.Unit), Start: o.Start.UnixMilli(), End: o.End.UnixMilli(), Value: o.Value,
			Text: page.Clean(o.Text), Minimum: o.Min, Maximum: o.Max, Valid: int32(o.Valid), Expected: int32(o.Expected), Complete: o.Complete, Flags: page.Clean(o.Flags()),
			Sensor: page.Clean(o.Sensor), Status: string(o.Status), Class: string(o.Class), Revision: int32(o.Revision), Simulated: o.Simulated,
		})
		if len(batch) == cap(batch) {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		if err = out.Close(); err != nil {
			err = fmt.Errorf("write a Parquet file: %w", err)
		}
	}
	return err
}
