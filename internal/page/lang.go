package page

import (
	"fmt"
	"strings"
)

// Lang is a language of the pages.
type Lang string

// The languages. Indonesian pages live at /…, English ones at /en/….
const (
	Indonesian Lang = "id"
	English    Lang = "en"
)

// Langs lists the languages, the first one being the default.
func Langs() []Lang { return []Lang{Indonesian, English} }

// Path returns the address of a language-free path ("/dinas/jaringan") in this
// language.
func (l Lang) Path(path string) string {
	if l != English {
		return path
	}
	if path == "/" {
		return "/en/"
	}
	return "/en" + path
}

// Split is the inverse of Path: it finds the language of an address and the
// path without it.
func Split(path string) (Lang, string) {
	if path == "/en" {
		return English, "/"
	}
	if rest, ok := strings.CutPrefix(path, "/en/"); ok {
		return English, "/" + rest
	}
	return Indonesian, path
}

// Key names one text of the catalogue.
type Key string

// Text is one entry of the catalogue, in both languages. Both hold the same fmt
// verbs; numbers are formatted before they are put in.
type Text struct{ ID, EN string }

// T returns a text of the catalogue, with args put in. An unknown key comes
// back as it is, so that a page is never lost over a word.
func (l Lang) T(key Key, args ...any) string {
	text, ok := catalogue[key]
	if !ok {
		return Plain(string(key))
	}
	s := text.ID
	if l == English {
		s = text.EN
	}
	if len(args) == 0 {
		return s
	}
	return fmt.Sprintf(s, args...)
}

// Has reports whether the catalogue knows the key.
func Has(key Key) bool {
	_, ok := catalogue[key]
	return ok
}

// Name returns the catalogue's text for prefix+name, or the name itself as
// plain text if the catalogue does not know it, as with foreign quantities.
func (l Lang) Name(prefix, name string) string {
	if Has(Key(prefix + name)) {
		return l.T(Key(prefix + name))
	}
	return Plain(name)
}
