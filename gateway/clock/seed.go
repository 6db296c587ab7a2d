package clock

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"
)

// Seed returns the newest time that is known to have passed: what certificates
// are judged by before the first synchronisation.
func Seed(known ...time.Time) time.Time {
	var newest time.Time
	for _, t := range known {
		if t.After(newest) {
			newest = t
		}
	}
	return newest
}

// SeedFrom reads the error of a TLS handshake that failed because the server's
// chain is outside its dates at the time seed, and returns a time at which the
// whole chain, pinned authorities included, has begun. The handshake may be
// repeated with it while the clock is not synchronised: with a pinned authority
// a wrong date then costs no security that an unknown date could give. It
// returns false for every other failure.
func SeedFrom(err error, seed time.Time, pinned []*x509.Certificate) (time.Time, bool) {
	var invalid x509.CertificateInvalidError
	var failed *tls.CertificateVerificationError
	if !errors.As(err, &invalid) || invalid.Reason != x509.Expired || !errors.As(err, &failed) {
		return time.Time{}, false
	}
	var begun time.Time
	for _, c := range failed.UnverifiedCertificates {
		begun = Seed(begun, c.NotBefore)
	}
	for _, c := range pinned {
		// One pinned authority signed the chain; one that has not begun when the
		// server's certificate already has can't be it.
		if len(failed.UnverifiedCertificates) > 0 && c.NotBefore.Before(failed.UnverifiedCertificates[0].NotAfter) {
			begun = Seed(begun, c.NotBefore)
		}
	}
	return begun, !begun.Equal(seed)
}
