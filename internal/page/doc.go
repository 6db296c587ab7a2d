// Package page is what every HTML page of Pantau shares, whether the server or
// the gateway serves it: the layout, the style sheet, the language catalogue,
// numbers and times as each language writes them, fingerprinted files and the
// response headers that keep a browser safe.
//
// It promises to stay small (html/template and the standard library only), to
// write complete HTML that needs no JavaScript, and to escape whatever did not
// come from its own catalogue: what devices send is text, never markup.
package page
