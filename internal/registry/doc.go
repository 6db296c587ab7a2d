// Package registry knows what belongs to the installation: gateways and other
// nodes with their credentials, their one-time claims and the site where each
// hangs.
//
// It promises that every change is durable in the key-value store before it is
// true, that Authenticate answers from memory, that no secret is kept in the
// clear (claims as SHA-256 of 192 random bits, passwords as argon2id), and that
// a revoked node stays out at once.
package registry
