package report

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// Table is rows under named columns. A cell is nil (nothing known), a string, a
// float64, an int, a bool or a time.Time. An error among the rows ends the file.
type Table struct {
	Columns []string
	Rows    iter.Seq2[[]any, error]
}

// Stamp writes a time as every machine-readable file and answer does: RFC 3339 in
// WIB, 2026-11-23T14:00:00+07:00.
func Stamp(t time.Time) string { return t.In(page.WIB).Format(time.RFC3339Nano) }

// CSV writes the table by RFC 4180: UTF-8, comma, CRLF, one line of column names.
// Numbers have a decimal point and no exponent, times are Stamp's.
func (t Table) CSV(w io.Writer) error {
	buffered := bufio.NewWriterSize(w, 64<<10)
	out := csv.NewWriter(buffered)
	out.UseCRLF = true
	line := make([]string, len(t.Columns))
	if err := out.Write(t.Columns); err != nil {
		return fmt.Errorf("write a CSV: %w", err)
	}
	for row, err := range t.Rows {
		if err != nil {
			return err
		}
		for i, cell := range row {
			switch v := cell.(type) {
			case nil:
				line[i] = ""
			case string:
				line[i] = Cell(v)
			case float64:
				line[i] = strconv.FormatFloat(v, 'f', -1, 64)
			case int:
				line[i] = strconv.Itoa(v)
			case bool:
				line[i] = strconv.FormatBool(v)
			case time.Time:
				line[i] = Stamp(v)
			default:
				return fmt.Errorf("write a CSV: column %s holds a %T", t.Columns[i], cell)
			}
		}
		if err := out.Write(line[:len(row)]); err != nil {
			return fmt.Errorf("write a CSV: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write a CSV: %w", err)
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write a CSV: %w", err)
	}
	return nil
}

// mostSheetRows is what a sheet takes.
const mostSheetRows = 1_048_576

// ErrTooLong says that a table has more rows than a sheet.
var ErrTooLong = errors.New("the span has more rows than a spreadsheet takes: choose a shorter one, or CSV")

// XLSX writes the table as a workbook of one sheet. A text is a text cell, which no
// program takes for a formula; times are WIB's, as the columns' names have to say,
// since a sheet knows no zone.
func (t Table) XLSX(w io.Writer) (err error) {
	book := excelize.NewFile()
	defer func() { err = errors.Join(err, book.Close()) }()
	const sheet = "Pantau"
	failed := func(err error) error { return fmt.Errorf("write a workbook: %w", err) }
	if err := book.SetSheetName(book.GetSheetName(0), sheet); err != nil {
		return failed(err)
	}
	format := "yyyy-mm-dd hh:mm:ss"
	moment, err := book.NewStyle(&excelize.Style{CustomNumFmt: &format})
	if err != nil {
		return failed(err)
	}
	bold, err := book.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}})
	if err != nil {
		return failed(err)
	}
	out, err := book.NewStreamWriter(sheet)
	if err != nil {
		return failed(err)
	}
	if err := out.SetColWidth(1, len(t.Columns), 18); err != nil {
		return failed(err)
	}
	row := 1
	add := func(cells []any) error {
		if row > mostSheetRows {
			return ErrTooLong
		}
		at, err := excelize.CoordinatesToCellName(1, row)
		if err == nil {
			err = out.SetRow(at, cells)
		}
		if err != nil {
			return failed(err)
		}
		row++
		return nil
	}
	var head []any
	for _, name := range t.Columns {
		head = append(head, excelize.Cell{StyleID: bold, Value: name})
	}
	if err := add(head); err != nil {
		return err
	}
	for cells, err := range t.Rows {
		if err != nil {
			return err
		}
		for i, c := range cells {
			switch v := c.(type) {
			case time.Time:
				cells[i] = excelize.Cell{StyleID: moment, Value: v.In(page.WIB)}
			case string:
				cells[i] = page.Clean(v)
			}
		}
		if err := add(cells); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return failed(err)
	}
	buffered := bufio.NewWriter(w)
	if err := book.Write(buffered); err != nil {
		return failed(err)
	}
	return buffered.Flush()
}

// Cell makes text harmless in a CSV: an apostrophe stands before what a spreadsheet
// would take for a formula, and marks that hide or turn the writing direction go, as
// on pages.
func Cell(s string) string {
	if s = page.Clean(s); places.Formula(s) {
		return "'" + s
	}
	return s
}
