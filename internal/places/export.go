package places

import (
	"archive/zip"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"

	"github.com/xuri/excelize/v2"
)

// Formats of an export, and of an import.
const (
	FormatXLSX = "xlsx" // one workbook with the sheets sites, sensors, deployments
	FormatZIP  = "zip"  // sites.csv, sensors.csv, deployments.csv
)

// mark tells spreadsheets that a CSV file is UTF-8.
const mark = "\ufeff"

// sheetData is a sheet as it is exported.
type sheetData struct {
	name  string
	head  []string
	forms []form
	rows  [][]string
}

func dataOf[T any](name string, columns []column[T], list []T) sheetData {
	out := sheetData{name: name, head: heads(columns)}
	for _, c := range columns {
		out.forms = append(out.forms, c.form)
	}
	for i := range list {
		out.rows = append(out.rows, cellsOf(columns, &list[i]))
	}
	return out
}

func cellsOf[T any](columns []column[T], v *T) []string {
	row := make([]string, len(columns))
	for i, c := range columns {
		row[i] = c.get(v)
	}
	return row
}

// Export writes everything that is written down of places, in one of the
// formats, as Import takes it.
func (s *Store) Export(w io.Writer, format string) error {
	st := s.state.Load()
	sheets := []sheetData{
		dataOf(SheetSites, siteColumns, sorted(st.sites)),
		dataOf(SheetSensors, sensorColumns, sorted(st.sensors)),
		dataOf(SheetDeployments, deploymentColumns, sorted(st.deployments)),
	}
	var err error
	switch format {
	case FormatXLSX:
		err = writeWorkbook(w, sheets)
	case FormatZIP:
		err = writeZIP(w, sheets)
	default:
		return fmt.Errorf("export places as %q: want %s or %s", format, FormatXLSX, FormatZIP)
	}
	if err != nil {
		return fmt.Errorf("export places: %w", err)
	}
	return nil
}

func writeZIP(w io.Writer, sheets []sheetData) error {
	z := zip.NewWriter(w)
	for _, sheet := range sheets {
		f, err := z.Create(sheet.name + ".csv")
		if err != nil {
			return err
		}
		if err := writeCSV(f, sheet); err != nil {
			return err
		}
	}
	return z.Close()
}

func writeCSV(w io.Writer, sheet sheetData) error {
	if _, err := io.WriteString(w, mark); err != nil {
		return err
	}
	out := csv.NewWriter(w)
	if err := out.Write(sheet.head); err != nil {
		return err
	}
	for _, row := range sheet.rows {
		cells := make([]string, len(row))
		for i, c := range row {
			if sheet.forms[i] == asText {
				c = quote(c)
			}
			cells[i] = c
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// writeWorkbook writes text as text cells, which are never formulas.
func writeWorkbook(w io.Writer, sheets []sheetData) (err error) {
	f := excelize.NewFile()
	defer func() {
		if closing := f.Close(); err == nil {
			err = closing
		}
	}()
	for i, sheet := range sheets {
		if i == 0 {
			err = f.SetSheetName(f.GetSheetName(0), sheet.name)
		} else {
			_, err = f.NewSheet(sheet.name)
		}
		if err != nil {
			return err
		}
		if err := writeSheet(f, sheet); err != nil {
			return fmt.Errorf("sheet %s: %w", sheet.name, err)
		}
	}
	return f.Write(w)
}

func writeSheet(f *excelize.File, sheet sheetData) error {
	out, err := f.NewStreamWriter(sheet.name)
	if err != nil {
		return err
	}
	if err := out.SetColWidth(1, len(sheet.head), 18); err != nil {
		return err
	}
	if err := out.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return err
	}
	head := make([]any, len(sheet.head))
	for i, h := range sheet.head {
		head[i] = h
	}
	if err := out.SetRow("A1", head); err != nil {
		return err
	}
	for i, row := range sheet.rows {
		cells := make([]any, len(row))
		for j, c := range row {
			switch n, err := strconv.ParseFloat(c, 64); {
			case c == "":
			case sheet.forms[j] == asNumber && err == nil:
				cells[j] = n
			default:
				cells[j] = c
			}
		}
		if err := out.SetRow(reference(0, i+2), cells); err != nil {
			return err
		}
	}
	return out.Flush()
}
