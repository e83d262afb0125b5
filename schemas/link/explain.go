package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// TLSError is a connection that TLS has ended, in one sentence that names the address and the key
// to mend. errors.Is and As see the error behind it.
type TLSError struct {
	Addr string // host:port
	What string // what is wrong and which key mends it
	err  error
}

func (e *TLSError) Error() string { return e.Addr + ": " + e.What }

func (e *TLSError) Unwrap() error { return e.err }

// explain returns err as a TLSError. Errors of the network alone are left as they are.
func (d *Dialer) explain(addr string, err error) error {
	what := d.what(err)
	if what == "" {
		return fmt.Errorf("%s: TLS handshake: %w", addr, err)
	}
	return &TLSError{addr, what, err}
}

func (d *Dialer) what(err error) string {
	if alert := remoteAlert(err); alert != "" {
		return d.refused(alert)
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		issuer := ""
		if e.Cert != nil {
			issuer = fmt.Sprintf(" (%q)", e.Cert.Issuer.String())
		}
		if d.tls.CAFile != "" {
			return fmt.Sprintf("its certificate is signed by an authority%s that is not in %s: add the authority's certificate to %s.ca_file", issuer, d.tls.CAFile, d.prefix)
		}
		return fmt.Sprintf("its certificate is signed by an authority%s that this system does not know: set %s.ca_file to the authority's certificate", issuer, d.prefix)
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("its certificate is for %s and not for %s: connect by one of its names, or set %s.server_name", namesOf(e.Certificate), e.Host, d.prefix)
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if late := expired(e.Cert, time.Now()); late != nil && e.Reason == x509.Expired {
			return fmt.Sprintf("the certificate of %q, which it shows, %v", e.Cert.Subject.String(), late)
		}
		return fmt.Sprintf("its certificate is not valid: %v", e)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Sprintf("it does not speak TLS: use its TLS port, or leave %s out where it has none", d.prefix)
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Sprintf("it ends the connection when TLS begins, as servers do that do not speak it: use its TLS port, or leave %s out where it has none", d.prefix)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer to the beginning of TLS within %s: use its TLS port, or leave %s out where it has none", handshakeTimeout, d.prefix)
	}
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Sprintf("its certificate is not accepted: %v", verify.Err)
	}
	return ""
}

// namesOf lists what a certificate is for.
func namesOf(cert *x509.Certificate) string {
	if cert == nil {
		return "another host"
	}
	names := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	const most = 5
	switch n := len(names); {
	case n == 0:
		return "no host name (it has no subject alternative names)"
	case n > most:
		return fmt.Sprintf("%s and %d others", strings.Join(names[:most], ", "), n-most)
	}
	return strings.Join(names, ", ")
}

// remoteAlert returns the alert with which the server has ended the connection, such as "tls: bad
// certificate"; "" for any other error.
func remoteAlert(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" && op.Err != nil {
		return op.Err.Error()
	}
	return ""
}

// refused says what an alert of the server means.
func (d *Dialer) refused(alert string) string {
	words := strings.TrimPrefix(alert, "tls: ")
	certificate := strings.Contains(words, "certificate") || words == "access denied"
	switch {
	case certificate && d.tls.CertFile == "":
		return fmt.Sprintf("it wants a client certificate (it answers %q): set %s.cert_file and %s.key_file", words, d.prefix, d.prefix)
	case certificate:
		return fmt.Sprintf("it refuses the client certificate of %s.cert_file (it answers %q)", d.prefix, words)
	case words == "handshake failure" && d.tls.CertFile == "":
		return fmt.Sprintf("it ends the handshake (it answers %q), as servers do that want a client certificate (%s.cert_file, %s.key_file) or share no cipher with this client", words, d.prefix, d.prefix)
	case words == "protocol version not supported":
		return "it speaks no TLS of version 1.2 or later"
	case words == "unrecognized name":
		return fmt.Sprintf("it knows no host of the name it is called by: set %s.server_name", d.prefix)
	default:
		return fmt.Sprintf("it ends the TLS connection (it answers %q)", words)
	}
}
