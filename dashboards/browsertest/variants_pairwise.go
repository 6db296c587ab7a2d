//go:build !pages

package browsertest

const forEyes = false
