package registry

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// ImportColumns is the head of an import file.
var ImportColumns = []string{"group", "name", "password", "district", "site"}

// ImportResult counts what was imported, or names each wrong cell.
type ImportResult struct {
	Imported int
	Errors   []string // "line 3, password: …"
}

// maxImportErrors bounds the list of wrong cells.
const maxImportErrors = 100

// Import reads a CSV with the head group,name,password,district,site and
// registers every line as a node with a password. It first checks all lines:
// with a single wrong cell nothing is imported. dry only checks. A node that is
// there already gets the new password, district and site.
func (r *Registry) Import(ctx context.Context, in io.Reader, dry bool) (ImportResult, error) {
	rows := csv.NewReader(in)
	rows.FieldsPerRecord = -1
	rows.TrimLeadingSpace = true
	head, err := rows.Read()
	if err != nil {
		return ImportResult{}, fmt.Errorf("read the file's first line: %w", err)
	}
	if len(head) != len(ImportColumns) {
		return ImportResult{}, fmt.Errorf("the first line has %d columns: want %v", len(head), ImportColumns)
	}
	for i, c := range ImportColumns {
		if head[i] != c {
			return ImportResult{}, fmt.Errorf("line 1, column %d is %q: want the head %v", i+1, head[i], ImportColumns)
		}
	}
	var result ImportResult
	var gateways []Gateway
	var passwords []string
	bad := func(line int, column string, err error) {
		if len(result.Errors) < maxImportErrors {
			result.Errors = append(result.Errors, fmt.Sprintf("line %d, %s: %v", line, column, err))
		}
	}
	seen := map[telemetry.Node]int{}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		line, _ := rows.FieldPos(0)
		if err != nil {
			bad(line, "line", err)
			continue
		}
		if len(row) != len(ImportColumns) {
			bad(line, "line", fmt.Errorf("%d columns, want %d", len(row), len(ImportColumns)))
			continue
		}
		g := Gateway{Node: telemetry.Node{Group: row[0], ID: row[1]}, Name: row[1], Credential: Password, District: row[3], Site: row[4], Created: r.o.Now().UTC()}
		for i, id := range row[:2] {
			if err := telemetry.CheckID(id); err != nil {
				bad(line, ImportColumns[i], err)
			}
		}
		if first, twice := seen[g.Node]; twice {
			bad(line, "name", fmt.Errorf("%s stands in line %d already", g.Node, first))
		}
		seen[g.Node] = line
		if len(row[2]) < MinPassword {
			bad(line, "password", fmt.Errorf("%d characters, at least %d are needed", len(row[2]), MinPassword))
		}
		if row[3] != "" {
			if _, ok := FindDistrict(row[3]); !ok {
				bad(line, "district", fmt.Errorf("%q is no BPS code of Jawa Tengah", row[3]))
			}
		}
		if row[4] != "" {
			if err := telemetry.CheckID(row[4]); err != nil {
				bad(line, "site", err)
			}
		}
		gateways, passwords = append(gateways, g), append(passwords, row[2])
	}
	if len(result.Errors) > 0 || dry {
		return result, nil
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i := range gateways {
		work.Go(func() error {
			hash, err := hashPassword([]byte(passwords[i]))
			if err != nil {
				return err
			}
			gateways[i].Password = hash
			_, err = r.change(ctx, gateways[i].Node, func(g *Gateway) error {
				created := g.Created
				*g = gateways[i]
				if !created.IsZero() {
					g.Created = created
				}
				return nil
			})
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return result, fmt.Errorf("import gateways (those before the error are registered; importing the file again is safe): %w", err)
	}
	result.Imported = len(gateways)
	return result, nil
}
