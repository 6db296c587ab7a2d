package places

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
)

// Bounds of an import.
const (
	MaxImport     = 16 << 20 // bytes of the file
	maxUnpacked   = 64 << 20 // bytes of what is in it
	maxRows       = 20_000   // in one sheet
	maxWrongCells = 200      // that are listed
)

// Cell is one wrong cell of an import.
type Cell struct {
	Sheet  string `json:"sheet"`
	Ref    string `json:"ref,omitempty"`    // as spreadsheets name it, D7; "" = the whole row, or a column that is not there
	Row    int    `json:"row"`              // from 1; in CSV the line; 0 = the whole sheet
	Column string `json:"column,omitempty"` // its head
	Value  string `json:"value"`
	Why    Why    `json:"why"`
	Want   string `json:"want"`
	Other  string `json:"other,omitempty"` // ID of the deployment in the way
}

// String returns it as a line.
func (c Cell) String() string {
	place := c.Sheet
	if c.Row > 0 {
		place += fmt.Sprintf(", row %d", c.Row)
	}
	if c.Column != "" {
		place += ", column " + c.Column
	}
	if c.Ref != "" {
		place += " (" + c.Ref + ")"
	}
	return fmt.Sprintf("%s: %q: %s", place, c.Value, c.Want)
}

// Changed is a record that an import adds or changes.
type Changed struct {
	Sheet  string   `json:"sheet"`
	Key    string   `json:"key"` // code or ID
	Row    int      `json:"row"`
	Added  bool     `json:"added"`
	Fields []string `json:"fields,omitempty"` // that change
}

// String returns it as a line.
func (c Changed) String() string {
	if c.Added {
		return fmt.Sprintf("%s %s: added", c.Sheet, c.Key)
	}
	return fmt.Sprintf("%s %s: changed %s", c.Sheet, c.Key, strings.Join(c.Fields, ", "))
}

// Summary says in a line what an import changed, for a log: counts, and as many
// names as fit.
func Summary(changed []Changed) string {
	counts := map[string]int{}
	var names []string
	for _, c := range changed {
		how := "changed"
		if c.Added {
			how = "added"
		}
		counts[how]++
		names = append(names, c.String())
	}
	out := fmt.Sprintf("%d added, %d changed: %s", counts["added"], counts["changed"], strings.Join(names, "; "))
	if r := []rune(out); len(r) > 2000 {
		out = string(r[:2000]) + "…"
	}
	return out
}

// ImportResult says what an import changed (dry: would change), or names each
// wrong cell; then nothing was changed.
type ImportResult struct {
	Dry     bool      `json:"dry"`
	Changed []Changed `json:"changed,omitempty"`
	Same    int       `json:"same"`            // rows that change nothing
	Wrong   []Cell    `json:"wrong,omitempty"` // the first of them
	More    int       `json:"more,omitempty"`  // wrong cells that are not listed
}

// OK reports whether no cell is wrong.
func (r *ImportResult) OK() bool { return len(r.Wrong) == 0 }

func (r *ImportResult) wrong(c Cell) {
	if len(r.Wrong) == maxWrongCells {
		r.More++
		return
	}
	if n := []rune(c.Value); len(n) > 80 {
		c.Value = string(n[:80]) + "…"
	}
	r.Wrong = append(r.Wrong, c)
}

// Import takes sites, sensors and deployments out of a workbook (XLSX), a zip of
// CSV files or one CSV file with the heads of Columns. Rows are added, or change
// the record of the same code or ID; nothing is removed. It first checks all
// cells: with a single wrong one nothing is changed. dry only checks. An error is
// of the file as a whole, or of the store.
func (s *Store) Import(ctx context.Context, file []byte, dry bool) (ImportResult, error) {
	grids, err := readFile(file)
	if err != nil {
		return ImportResult{}, fmt.Errorf("import places: %w", err)
	}
	if dry {
		result, c, err := s.plan(s.state.Load(), grids)
		if err == nil && result.OK() {
			_, _, err = s.compose(s.state.Load(), c) // is it too much at once?
		}
		if err != nil {
			return ImportResult{}, fmt.Errorf("import places: %w", err)
		}
		result.Dry = true
		return result, nil
	}
	var result ImportResult
	err = s.commit(ctx, func(old *state, to *change) (Problems, error) {
		planned, c, err := s.plan(old, grids)
		if result = planned; err == nil && result.OK() {
			*to = *c
		}
		return nil, err
	})
	if err != nil {
		return ImportResult{}, fmt.Errorf("import places: %w", err)
	}
	return result, nil
}

// grid is a sheet as it was read.
type grid struct {
	sheet  string
	head   []string
	rows   []gridRow
	wrong  []Cell
	serial func(string) string // a spreadsheet's own form of a time, as we write it
	quoted bool                // text may carry an apostrophe against formulas
}

type gridRow struct {
	number int
	cells  []string
}

// plan finds what the sheets change of a state, and what is wrong with them.
func (s *Store) plan(old *state, grids []*grid) (ImportResult, *change, error) {
	var result ImportResult
	for _, g := range grids {
		for _, c := range g.wrong {
			result.wrong(c)
		}
	}
	p := planning{result: &result, rows: map[string]rowOf{}}
	var c Change
	for _, g := range grids {
		switch g.sheet {
		case SheetSites:
			c.Sites = append(c.Sites, take(&p, g, siteColumns, old.sites, "site ", (*Site).tidy, func(v *Site) string { return v.Code }, func(v *Site, _ *state, w wrong) {
				v.check(w)
			})...)
		case SheetSensors:
			c.Sensors = append(c.Sensors, take(&p, g, sensorColumns, old.sensors, "sensor ", (*Sensor).tidy, func(v *Sensor) string { return v.ID }, func(v *Sensor, _ *state, w wrong) {
				v.check(w)
			})...)
		case SheetDeployments:
			c.Deployments = append(c.Deployments, take(&p, g, deploymentColumns, old.deployments, "deployment ", (*Deployment).tidy, func(v *Deployment) string {
				if v.ID == "" {
					v.ID = v.newID()
				}
				return v.ID
			}, func(v *Deployment, next *state, w wrong) {
				v.check(w)
				next.verifyNames(v, w)
			})...)
		}
	}
	to := newChange()
	if err := s.fill(old, c, to); err != nil {
		return result, nil, err
	}
	next := old.with(to)
	problems := next.verify(old, to, s.o.Registry, s.Boundaries(LevelSubdistrict))
	for _, check := range p.halves {
		check(next, &problems)
	}
	for _, problem := range problems {
		p.place(problem)
	}
	tell(&p, SheetSites, "site ", siteColumns, old.sites, to.sites)
	tell(&p, SheetSensors, "sensor ", sensorColumns, old.sensors, to.sensors)
	tell(&p, SheetDeployments, "deployment ", deploymentColumns, old.deployments, to.deployments)
	if !result.OK() {
		result.Changed = nil
		slices.SortStableFunc(result.Wrong, func(a, b Cell) int { return cmp.Or(strings.Compare(a.Sheet, b.Sheet), a.Row-b.Row) })
	}
	return result, to, nil
}

// planning is the work on one import.
type planning struct {
	result *ImportResult
	rows   map[string]rowOf // by record
	// halves check what can be checked of records with a cell that is not even a
	// time or a number; all else would find faults that are none.
	halves []func(next *state, to *Problems)
}

// place says in which cell a problem stands.
func (p *planning) place(problem Problem) {
	at := p.rows[problem.Record]
	_, site := p.rows["site "+problem.Value]
	_, sensor := p.rows["sensor "+problem.Value]
	switch {
	case at.bad[problem.Field]: // told already
		return
	case problem.Why == Unknown && (problem.Field == "site" && site || problem.Field == "sensor" && sensor): // its own row is wrong
		return
	}
	cell := Cell{Sheet: at.sheet, Row: at.row, Column: problem.Field, Value: problem.Value, Why: problem.Why, Want: problem.Want, Other: problem.Other}
	if i := slices.Index(at.head, problem.Field); i >= 0 {
		cell.Ref = reference(i, at.row)
	}
	p.result.wrong(cell)
}

// rowOf says where a record stands.
type rowOf struct {
	sheet string
	row   int
	head  []string
	bad   map[string]bool // columns that could not be read
}

// take reads the records of a sheet that differ from what is stored.
func take[T any](p *planning, g *grid, columns []column[T], stored map[string]T, record string, tidy func(*T), key func(*T) string, check func(*T, *state, wrong)) []T {
	at := make([]int, len(columns)) // of the sheet's column; -1 = not there
	for i, c := range columns {
		at[i] = slices.Index(g.head, c.name)
	}
	// fill puts a row's cells into a record; columns that are not there stay.
	fill := func(v *T, row gridRow) (wrong []Cell) {
		for i, c := range columns {
			if at[i] < 0 {
				continue
			}
			cell := strings.TrimSpace(row.cells[at[i]])
			switch {
			case c.form == asText && g.quoted:
				cell = unquote(cell)
			case c.form == asTime && g.serial != nil:
				cell = g.serial(cell)
			}
			if why, want := c.set(v, cell); why != "" {
				wrong = append(wrong, Cell{Sheet: g.sheet, Ref: reference(at[i], row.number), Row: row.number, Column: c.name, Value: cell, Why: why, Want: want})
			}
		}
		tidy(v)
		return wrong
	}
	var out []T
	for _, row := range g.rows {
		var v T
		bad := fill(&v, row)
		id := columns[0].get(&v)
		if id == "" && len(bad) == 0 {
			id = key(&v)
		}
		have, known := stored[id]
		if known {
			v = have
			bad = fill(&v, row)
			columns[0].set(&v, id)
		}
		at := rowOf{sheet: g.sheet, row: row.number, head: g.head, bad: map[string]bool{}}
		for _, c := range bad {
			at.bad[c.Column] = true
			p.result.wrong(c)
		}
		name := record + id
		first, twice := p.rows[name]
		switch {
		case id == "": // of a row that names nothing, or of a new deployment that can't be read
			name = fmt.Sprintf("%s in row %d", record, row.number)
		case twice:
			p.result.wrong(Cell{Sheet: g.sheet, Row: row.number, Column: columns[0].name, Value: id, Why: Twice, Want: fmt.Sprintf("stands in row %d already", first.row)})
			continue
		}
		p.rows[name] = at
		switch {
		case id == "" || len(bad) > 0:
			half := v
			if id == "" {
				if g.sheet != SheetDeployments { // there it follows from the rest
					p.place(Problem{Record: name, Field: columns[0].name, Why: Missing, Want: "is needed"})
				}
				at.bad[columns[0].name] = true
			}
			p.halves = append(p.halves, func(next *state, to *Problems) { check(&half, next, wrong{name, to}) })
		case known && slices.Equal(cellsOf(columns, &have), cellsOf(columns, &v)):
			p.result.Same++
		default:
			out = append(out, v)
		}
	}
	return out
}

// tell lists what a sheet's records change.
func tell[T any](p *planning, sheet, record string, columns []column[T], old, to map[string]T) {
	keys := slices.SortedFunc(maps.Keys(to), func(a, b string) int { return p.rows[record+a].row - p.rows[record+b].row })
	for _, k := range keys {
		have, known := old[k]
		v := to[k]
		c := Changed{Sheet: sheet, Key: k, Row: p.rows[record+k].row, Added: !known}
		if known {
			before, after := cellsOf(columns, &have), cellsOf(columns, &v)
			for i, name := range heads(columns) {
				if before[i] != after[i] {
					c.Fields = append(c.Fields, name)
				}
			}
		}
		p.result.Changed = append(p.result.Changed, c)
	}
}

// readFile finds out what a file is and reads its sheets.
func readFile(file []byte) ([]*grid, error) {
	switch {
	case len(file) > MaxImport:
		return nil, fmt.Errorf("the file has more than %d MiB: split it", MaxImport>>20)
	case len(bytes.TrimSpace(file)) == 0:
		return nil, errors.New("the file is empty")
	case !bytes.HasPrefix(file, []byte("PK\x03\x04")):
		g, err := readCSV(file, "")
		if err != nil {
			return nil, err
		}
		return []*grid{g}, nil
	}
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, fmt.Errorf("the file is damaged: %w", err)
	}
	var unpacked uint64
	for _, f := range z.File {
		if unpacked += f.UncompressedSize64; unpacked > maxUnpacked {
			return nil, fmt.Errorf("the file unpacks to more than %d MiB", maxUnpacked>>20)
		}
	}
	if slices.ContainsFunc(z.File, func(f *zip.File) bool { return f.Name == "[Content_Types].xml" }) {
		return readWorkbook(file)
	}
	var grids []*grid
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		if path.Ext(f.Name) != ".csv" {
			return nil, fmt.Errorf("%q in the zip: want only files that end with .csv", f.Name)
		}
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("%q in the zip: %w", f.Name, err)
		}
		text, err := io.ReadAll(io.LimitReader(r, maxUnpacked))
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, fmt.Errorf("%q in the zip: %w", f.Name, err)
		}
		g, err := readCSV(text, strings.TrimSuffix(path.Base(f.Name), ".csv"))
		if err != nil {
			return nil, fmt.Errorf("%q in the zip: %w", f.Name, err)
		}
		grids = append(grids, g)
	}
	if len(grids) == 0 {
		return nil, errors.New("the zip holds no CSV file")
	}
	return grids, nil
}

// separator looks which separator the first line has: spreadsheets in Indonesia
// write semicolons.
func separator(text []byte) rune {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	for _, r := range ";\t" {
		if bytes.ContainsRune(line, r) {
			return r
		}
	}
	return ','
}

func readCSV(text []byte, name string) (*grid, error) {
	text = bytes.TrimPrefix(text, []byte(mark))
	if !utf8.Valid(text) {
		return nil, errors.New("the text is not UTF-8: save it as CSV UTF-8, or as a workbook (XLSX)")
	}
	rows := csv.NewReader(bufio.NewReader(bytes.NewReader(text)))
	rows.Comma, rows.FieldsPerRecord = separator(text), -1
	g := &grid{quoted: true}
	for {
		cells, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var syntax *csv.ParseError
		if errors.As(err, &syntax) {
			g.wrong = append(g.wrong, Cell{Row: syntax.Line, Why: Format, Want: "can't be read as CSV: " + syntax.Err.Error()})
			break // what follows would be read in pieces
		}
		if err != nil {
			return nil, err
		}
		line, _ := rows.FieldPos(0)
		if err := g.add(line, cells, name); err != nil {
			return nil, err
		}
	}
	for i := range g.wrong {
		g.wrong[i].Sheet = g.sheet
	}
	return g, nil
}

// add takes the next row of a sheet; the first is its head.
func (g *grid) add(number int, cells []string, name string) error {
	for len(cells) > 0 && strings.TrimSpace(cells[len(cells)-1]) == "" {
		cells = cells[:len(cells)-1]
	}
	if len(cells) == 0 {
		return nil
	}
	if g.head == nil {
		return g.begin(number, cells, name)
	}
	if len(g.rows) == maxRows {
		return fmt.Errorf("sheet %s has more than %d rows: split it", g.sheet, maxRows)
	}
	if len(cells) > len(g.head) {
		g.wrong = append(g.wrong, Cell{
			Sheet: g.sheet, Ref: reference(len(g.head), number), Row: number, Value: cells[len(g.head)], Why: Unknown,
			Want: fmt.Sprintf("stands right of the last of %d columns", len(g.head)),
		})
		return nil
	}
	g.rows = append(g.rows, gridRow{number, append(cells, make([]string, len(g.head)-len(cells))...)})
	return nil
}

// begin reads the head.
func (g *grid) begin(number int, cells []string, name string) error {
	for _, c := range cells {
		g.head = append(g.head, strings.ToLower(strings.TrimSpace(c)))
	}
	if g.sheet = strings.ToLower(strings.TrimSpace(name)); Columns(g.sheet) == nil {
		g.sheet = sheetOf(g.head)
	}
	known := Columns(g.sheet)
	if known == nil {
		return fmt.Errorf("%s row %d is %q: want the heads of a sheet, which are for sites %s; for sensors %s; for deployments %s",
			name, number, strings.Join(cells, ","), strings.Join(Columns(SheetSites), ","), strings.Join(Columns(SheetSensors), ","), strings.Join(Columns(SheetDeployments), ","))
	}
	for i, h := range g.head {
		switch {
		case !slices.Contains(known, h):
			g.wrong = append(g.wrong, Cell{Sheet: g.sheet, Ref: reference(i, number), Row: number, Column: h, Value: h, Why: Unknown, Want: "is no column of " + g.sheet + ": want some of " + strings.Join(known, ", ")})
		case slices.Index(g.head, h) < i:
			g.wrong = append(g.wrong, Cell{Sheet: g.sheet, Ref: reference(i, number), Row: number, Column: h, Value: h, Why: Twice, Want: "stands twice"})
		}
	}
	need := []string{known[0]}
	if g.sheet == SheetDeployments && !slices.Contains(g.head, "id") {
		need = []string{"site", "node", "device"}
	}
	for _, n := range need {
		if !slices.Contains(g.head, n) {
			g.wrong = append(g.wrong, Cell{Sheet: g.sheet, Row: number, Column: n, Why: Missing, Want: "this column is needed"})
		}
	}
	return nil
}

// readWorkbook reads an XLSX file. A sheet is known by its name or by its heads;
// empty ones do not matter.
func readWorkbook(file []byte) (grids []*grid, err error) {
	defer func() { // the file is anybody's, and the library is not ours
		if r := recover(); r != nil {
			grids, err = nil, fmt.Errorf("the workbook is damaged: %v", r)
		}
	}()
	f, err := excelize.OpenReader(bytes.NewReader(file), excelize.Options{UnzipSizeLimit: maxUnpacked, UnzipXMLSizeLimit: maxUnpacked, RawCellValue: true})
	if err != nil {
		return nil, fmt.Errorf("the workbook can't be read: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	props, err := f.GetWorkbookProps()
	if err != nil {
		return nil, fmt.Errorf("the workbook can't be read: %w", err)
	}
	since1904 := props.Date1904 != nil && *props.Date1904
	for _, name := range f.GetSheetList() {
		g := &grid{serial: func(s string) string { return fromSerial(s, since1904) }}
		rows, err := f.Rows(name)
		if err != nil {
			return nil, fmt.Errorf("sheet %q can't be read: %w", name, err)
		}
		number := 0
		for rows.Next() {
			number++
			cells, err := rows.Columns()
			if err == nil {
				err = g.add(number, cells, name)
			}
			if err != nil {
				return nil, errors.Join(fmt.Errorf("sheet %q: %w", name, err), rows.Close())
			}
		}
		if err := errors.Join(rows.Error(), rows.Close()); err != nil {
			return nil, fmt.Errorf("sheet %q can't be read: %w", name, err)
		}
		if g.head != nil {
			grids = append(grids, g)
		}
	}
	if len(grids) == 0 {
		return nil, errors.New("the workbook is empty")
	}
	return grids, nil
}

// fromSerial turns a spreadsheet's number of days into a time as we write it.
func fromSerial(s string, since1904 bool) string {
	days, err := strconv.ParseFloat(s, 64)
	if err != nil || !(days >= 1 && days < 1e6) {
		return s
	}
	t, err := excelize.ExcelDateToTime(days, since1904)
	if err != nil {
		return s
	}
	// Its clock is whoever's typed it: of the province.
	return t.Add(500e6).Format("2006-01-02 15:04:05")
}
