package probe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// tlsFor is how a service is spoken to by TLS. On this machine a development
// certificate that nobody signed is as good as any; elsewhere it is verified.
func tlsFor(host string) *tls.Config {
	return &tls.Config{ServerName: host, InsecureSkipVerify: isLoopback(host)} //nolint:gosec // see above
}

// tlsProblem says what is wrong with a certificate or handshake; empty, if it
// was something else.
func tlsProblem(err error) string {
	var verify *tls.CertificateVerificationError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("its certificate is not for %s", name.Host)
	case errors.As(err, &verify):
		return "its certificate can't be verified: " + verify.Err.Error()
	case errors.As(err, &record):
		return "it does not speak TLS"
	case errors.As(err, &alert):
		return "it refused the TLS connection: " + alert.Error()
	}
	return ""
}
