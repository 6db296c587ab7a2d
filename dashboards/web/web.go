// Package web holds the browser code: TypeScript under src, bundled by
// `npm ci && npm run build` into dist, which is embedded here.
//
// It promises that the program builds and serves without the bundle: pages are
// complete HTML, the bundle only enriches them in place.
package web

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// File is one file of the bundle. Its name carries a fingerprint.
type File struct {
	Name               string
	Body, Gzip, Brotli []byte
}

// Bundle is the bundled browser code.
type Bundle struct {
	Files  []File
	Script string // the file that staff pages load as a module; "" = there is no bundle
	Public string // the same for the citizens' pages
	Worker string // the citizens' service worker
	Style  string // the style sheet that goes with it; "" = none
}

// Load reads the embedded bundle. Without one it returns an empty Bundle.
func Load() (Bundle, error) {
	var b Bundle
	manifest, err := fs.ReadFile(dist, "dist/manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return b, fmt.Errorf("read the browser code's manifest: %w", err)
	}
	var m struct {
		Script, Public, Worker, Style string
		Files                         []string
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		return b, fmt.Errorf("read the browser code's manifest: %w", err)
	}
	b.Script, b.Public, b.Worker, b.Style = m.Script, m.Public, m.Worker, m.Style
	for _, name := range m.Files {
		f := File{Name: name}
		for ending, into := range map[string]*[]byte{"": &f.Body, ".gz": &f.Gzip, ".br": &f.Brotli} {
			if *into, err = fs.ReadFile(dist, "dist/"+name+ending); err != nil {
				return Bundle{}, fmt.Errorf("read the browser code: %w", err)
			}
		}
		b.Files = append(b.Files, f)
	}
	return b, nil
}
