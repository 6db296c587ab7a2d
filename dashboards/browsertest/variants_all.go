//go:build pages

package browsertest

// forEyes says that all variants are looked at, by people, too.
const forEyes = true
