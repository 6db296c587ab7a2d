package archive

import (
	"slices"
	"strings"

	"github.com/pantau-id/pantau/ingest/influx"
)

// merge joins a node's points of a file and of the database, each list in order,
// as the database itself would: points of one key are one, with the fields of
// both, and of a field in both the database's.
func merge(old, raw []influx.Exact) []influx.Exact {
	if len(old) == 0 {
		return raw
	}
	out := make([]influx.Exact, 0, len(old)+len(raw))
	for len(old) > 0 && len(raw) > 0 {
		switch c := old[0].Compare(&raw[0]); {
		case c < 0:
			out, old = append(out, old[0]), old[1:]
		case c > 0:
			out, raw = append(out, raw[0]), raw[1:]
		default:
			both := raw[0]
			both.Fields = mergeFields(old[0].Fields, both.Fields)
			out, old, raw = append(out, both), old[1:], raw[1:]
		}
	}
	return append(append(out, old...), raw...)
}

func mergeFields(old, raw []influx.Field) []influx.Field {
	out := slices.Clone(raw)
	for _, f := range old {
		if !slices.ContainsFunc(raw, func(r influx.Field) bool { return r.Name == f.Name }) {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b influx.Field) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// same reports whether two lists hold the same points.
func same(a, b []influx.Exact) bool {
	return slices.EqualFunc(a, b, func(x, y influx.Exact) bool {
		return x.Compare(&y) == 0 && slices.Equal(x.Fields, y.Fields)
	})
}
