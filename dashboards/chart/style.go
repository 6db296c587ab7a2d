package chart

import _ "embed" // for the style sheet

// Style is the style sheet that every page with a chart or a category needs,
// beside that of package page.
//
//go:embed chart.css
var Style []byte
