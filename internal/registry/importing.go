package registry

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// ImportColumns is the head of an import file.
var ImportColumns = []string{"group", "name", "password", "district", "site"}

// ImportResult counts what was imported (dry: what would be), or names each
// wrong cell.
type ImportResult struct {
	Imported int
	Errors   []string // "line 3, column 3 (password): …"; never the password
}

// Bounds of an import.
const (
	maxImportErrors = 100
	maxImportRows   = 100_000
)

// Importing says how an import is done.
type Importing struct {
	Dry       bool // only check
	Simulated bool // the nodes are played: refused where real ones are registered
}

// Import reads a CSV with the head group,name,password,district,site (comma or
// semicolon) and registers every line as a node with a password. It first checks
// all lines: with a single wrong cell nothing is imported. A
// node that is there with a password already gets the new password, district and
// site; a revoked one or one with a certificate is a wrong cell. Without a
// district the group is taken, if it is one; a site that is new is registered.
func (r *Registry) Import(ctx context.Context, in io.Reader, how Importing) (ImportResult, error) {
	if how.Simulated {
		if err := r.mayPlay(); err != nil {
			return ImportResult{}, fmt.Errorf("import simulated gateways: %w", err)
		}
	}
	rows, wrong, err := r.readImport(in)
	if err != nil {
		return ImportResult{}, fmt.Errorf("import gateways: %w", err)
	}
	if len(wrong) > 0 {
		return ImportResult{Errors: wrong}, nil
	}
	if how.Dry {
		return ImportResult{Imported: len(rows)}, nil
	}
	work, ctx := errgroup.WithContext(ctx)
	// An argon2 keeps a processor busy, a write waits for the disk.
	work.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, row := range rows {
		row.gateway.Simulated = how.Simulated
		work.Go(func() error { return r.importRow(ctx, row) })
	}
	if err := work.Wait(); err != nil {
		return ImportResult{}, fmt.Errorf("import gateways (what came before the error is registered; importing the file again is safe): %w", err)
	}
	r.o.Logger.Info("gateways imported", "count", len(rows))
	return ImportResult{Imported: len(rows)}, nil
}

type importRow struct {
	gateway  Gateway
	password string
}

func (r *Registry) importRow(ctx context.Context, row importRow) error {
	if err := r.needSite(ctx, &row.gateway); err != nil {
		return err
	}
	hash := ""
	if have, ok := r.Gateway(row.gateway.Node); ok && have.Password != "" {
		// The same password keeps its hash, and the node its connection.
		if same, err := verifyPassword(have.Password, []byte(row.password)); err == nil && same {
			hash = have.Password
		}
	}
	if hash == "" {
		var err error
		if hash, err = hashPassword([]byte(row.password)); err != nil {
			return err
		}
	}
	err := r.change(ctx, row.gateway.Node, func(g *Gateway) error {
		created, simulated := g.Created, g.Simulated
		if created.IsZero() {
			created = r.o.Now().UTC()
		}
		*g = row.gateway
		g.Credential, g.Password, g.Created, g.Simulated = Password, hash, created, g.Simulated || simulated
		return nil
	})
	return err
}

// readImport checks every cell.
func (r *Registry) readImport(in io.Reader) (good []importRow, wrong []string, err error) {
	text := bufio.NewReader(in)
	rows := csv.NewReader(text)
	if rows.Comma, err = separator(text); err != nil {
		return nil, nil, err
	}
	rows.FieldsPerRecord = -1
	head, err := rows.Read()
	if err != nil {
		return nil, nil, fmt.Errorf("read the file's first line: %w", err)
	}
	for i, c := range ImportColumns {
		if len(head) != len(ImportColumns) || strings.TrimSpace(head[i]) != c {
			return nil, nil, fmt.Errorf("the first line is %q: want %q", strings.Join(head, ","), strings.Join(ImportColumns, ","))
		}
	}
	more := 0
	bad := func(line, column int, err error) {
		switch {
		case len(wrong) >= maxImportErrors:
			more++
		case column < 0:
			wrong = append(wrong, fmt.Sprintf("line %d: %v", line, err))
		default:
			wrong = append(wrong, fmt.Sprintf("line %d, column %d (%s): %v", line, column+1, ImportColumns[column], err))
		}
	}
	first := map[string]int{}    // in lower case
	sites := map[string]string{} // district by site, of this file
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var syntax *csv.ParseError
		if errors.As(err, &syntax) {
			bad(syntax.Line, -1, syntax.Err)
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the file: %w", err)
		}
		if len(good) == maxImportRows {
			return nil, nil, fmt.Errorf("the file has more than %d lines: split it", maxImportRows)
		}
		line, _ := rows.FieldPos(0)
		if len(row) != len(ImportColumns) {
			bad(line, -1, fmt.Errorf("%d columns, want %d", len(row), len(ImportColumns)))
			continue
		}
		g, column, err := r.importCells(row, sites)
		if err != nil {
			bad(line, column, err)
		}
		if at, twice := first[strings.ToLower(g.Node.String())]; twice {
			bad(line, 1, fmt.Errorf("%s stands in line %d already, in whatever case", g.Node, at))
		} else {
			first[strings.ToLower(g.Node.String())] = line
		}
		if have, ok := r.Gateway(g.Node); ok && have.Revoked {
			bad(line, 1, fmt.Errorf("%s was revoked: only a new claim (pantau gateway add) lets it in again", g.Node))
		} else if have.Key != "" {
			bad(line, 1, fmt.Errorf("%s has a certificate: a password would replace it; revoke it first", g.Node))
		}
		if n := utf8.RuneCountInString(row[2]); n < MinPassword {
			bad(line, 2, fmt.Errorf("%d characters, at least %d are needed", n, MinPassword))
		}
		good = append(good, importRow{g, row[2]})
	}
	if more > 0 {
		wrong = append(wrong, fmt.Sprintf("and %d more", more))
	}
	return good, wrong, nil
}

// importCells checks all cells of a line but the password; column is the wrong
// one's index.
func (r *Registry) importCells(row []string, sites map[string]string) (g Gateway, column int, err error) {
	cell := func(i int) string { return strings.TrimSpace(row[i]) }
	g = Gateway{Node: telemetry.Node{Group: cell(0), ID: cell(1)}, Name: cell(1), District: cell(3), Site: cell(4)}
	for i := range 2 {
		if err := telemetry.CheckID(cell(i)); err != nil {
			return g, i, err
		}
	}
	if g.District != "" {
		if err := checkDistrict(g.District); err != nil {
			return g, 3, err
		}
	}
	if err := r.check(&g); err != nil {
		return g, 4, err
	}
	if g.Site == "" {
		return g, 0, nil
	}
	if d, ok := sites[g.Site]; ok && d != g.District {
		return g, 4, fmt.Errorf("site %q lies in district %s by an earlier line, not %s", g.Site, d, g.District)
	}
	sites[g.Site] = g.District
	return g, 0, nil
}

// separator skips a byte order mark and looks which separator the first line
// has: spreadsheets in Indonesia write semicolons.
func separator(text *bufio.Reader) (rune, error) {
	if mark, err := text.Peek(3); err == nil && string(mark) == "\ufeff" {
		if _, err := text.Discard(3); err != nil {
			return 0, err
		}
	}
	start, err := text.Peek(len("group;"))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read the file's first line: %w", err)
	}
	if strings.HasSuffix(string(start), ";") {
		return ';', nil
	}
	return ',', nil
}
