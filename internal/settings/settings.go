// Package settings reads TOML strictly: an unknown key is an error with its
// line and the nearest key that exists, so that a typing mistake never becomes
// a silent default. The server and the gateway read their one file with it, and
// write sizes and durations there in the same way (Bytes, Duration).
package settings

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Load reads the file at path into v, a pointer to a struct with toml tags.
func Load(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	return Decode(path, text, v)
}

// Decode reads text into v; name stands before each line number in errors. All
// mistakes that can be seen at once are reported at once.
func Decode(name string, text []byte, v any) error {
	dec := toml.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	var unknown *toml.StrictMissingError
	var bad *toml.DecodeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		known := keys(reflect.TypeOf(v), nil)
		var errs []error
		for _, e := range unknown.Errors {
			row, _ := e.Position()
			key := strings.Join(e.Key(), ".")
			hint := ""
			if near := nearest(key, known); near != "" {
				hint = fmt.Sprintf(", did you mean %q?", near)
			}
			errs = append(errs, fmt.Errorf("%s:%d: unknown key %q%s", name, row, key, hint))
		}
		return errors.Join(errs...)
	case errors.As(err, &bad):
		row, _ := bad.Position()
		return fmt.Errorf("%s:%d: %s", name, row, strings.TrimPrefix(bad.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %w", name, err)
}

// keys lists the dotted keys that t takes.
func keys(t reflect.Type, prefix []string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || len(prefix) > 4 {
		return nil
	}
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if f.Anonymous && name == "" {
			out = append(out, keys(f.Type, prefix)...)
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		path := append(slices.Clone(prefix), name)
		out = append(out, strings.Join(path, "."))
		out = append(out, keys(f.Type, path)...)
	}
	return out
}

// nearest returns the known key with the smallest edit distance, if it is near
// enough to be a mistake of typing or of place.
func nearest(key string, known []string) string {
	best, at := "", max(2, len(key)/3)+1
	for _, k := range known {
		if d := distance(key, k); d < at {
			best, at = k, d
		}
	}
	if best != "" {
		return best
	}
	leaf := key[strings.LastIndex(key, ".")+1:]
	for _, k := range known {
		if k[strings.LastIndex(k, ".")+1:] == leaf {
			return k
		}
	}
	return ""
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
