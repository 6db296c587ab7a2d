// Package pages holds the HTML templates of the server's pages and the style
// sheet that only they need. It promises to hold no code: the views that the
// templates get are made in package dashboards.
package pages

import (
	"embed"
	_ "embed" // for the style sheet
)

// Files are the templates, as page.NewSet wants them.
//
//go:embed *.html
var Files embed.FS

// Style is the style sheet of the staff's pages.
//
//go:embed staff.css
var Style []byte
