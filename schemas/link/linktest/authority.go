// Package linktest makes certificates for tests.
package linktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Certificate is a certificate with its key. One that NewAuthority returns signs others.
type Certificate struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
	PEM  []byte // of Cert
}

// NewAuthority returns an authority that signs itself.
func NewAuthority(tb testing.TB, name string) Certificate {
	tb.Helper()
	return Certificate{}.Sign(tb, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

// For returns the template of a certificate of a host, which may be an address, or of a client.
func For(name string) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ip := net.ParseIP(name); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{name}
	}
	return c
}

// Sign returns a certificate that a has signed. It is valid for an hour, unless the template says
// otherwise.
func (a Certificate) Sign(tb testing.TB, template *x509.Certificate) Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-100 * time.Hour)
	}
	if a.Cert == nil {
		a = Certificate{Cert: template, Key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, &key.PublicKey, a.Key)
	require.NoError(tb, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(tb, err)
	return Certificate{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// KeyPEM returns the key.
func (a Certificate) KeyPEM(tb testing.TB) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.Key)
	require.NoError(tb, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Pair returns what a tls.Config takes.
func (a Certificate) Pair() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{a.Cert.Raw}, PrivateKey: a.Key, Leaf: a.Cert}
}

// Pool returns a pool of this certificate alone.
func (a Certificate) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}

// Files writes name.crt and name.key into a directory.
func (a Certificate) Files(tb testing.TB, dir, name string) (certFile, keyFile string) {
	tb.Helper()
	return Write(tb, filepath.Join(dir, name+".crt"), a.PEM), Write(tb, filepath.Join(dir, name+".key"), a.KeyPEM(tb))
}

// Write writes a file of the parts, and returns its path.
func Write(tb testing.TB, path string, parts ...[]byte) string {
	tb.Helper()
	var text []byte
	for _, p := range parts {
		text = append(text, p...)
	}
	require.NoError(tb, os.WriteFile(path, text, 0o600))
	return path
}
