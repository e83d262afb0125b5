package link_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas/link"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	return authority{}.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

// sign returns a certificate with its key, signed by a, or by itself where a is none.
func (a authority) sign(t *testing.T, template *x509.Certificate) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-100 * time.Hour)
	}
	if a.cert == nil {
		a = authority{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a authority) keyPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (a authority) pair() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key, Leaf: a.cert}
}

func forHost(name string) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ip := net.ParseIP(name); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{name}
	}
	return c
}

// serve answers "hello" to each TLS connection. Without cfg it speaks plain text.
func serve(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() { // until the listener is closed
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			if cfg == nil {
				_, _ = raw.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
				_ = raw.Close()
				continue
			}
			c := tls.Server(raw, cfg)
			if c.Handshake() == nil {
				_, _ = c.Write([]byte("hello"))
			}
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func write(t *testing.T, path string, parts ...[]byte) string {
	t.Helper()
	var text []byte
	for _, p := range parts {
		text = append(text, p...)
	}
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// greet connects and returns what the server says.
func greet(t *testing.T, d *link.Dialer, addr string) (string, error) {
	t.Helper()
	c, err := d.DialContext(context.WithoutCancel(t.Context()), "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	return string(text), err
}

// A server's new authority is trusted, and this program's new certificate shown, as soon as they
// stand in the files.
func TestCertificatesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	old, fresh := newAuthority(t, "old"), newAuthority(t, "fresh")
	caFile := write(t, filepath.Join(dir, "ca.pem"), []byte("# the bundle\n"), newAuthority(t, "other").pem, old.pem)
	d := link.TLS{CAFile: caFile, CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}.Dialer("kafka.tls")
	for _, ca := range []authority{old, fresh} {
		mine := ca.sign(t, forHost("client"))
		write(t, filepath.Join(dir, "tls.crt"), mine.pem)
		write(t, filepath.Join(dir, "tls.key"), mine.keyPEM(t))
		pool := x509.NewCertPool()
		pool.AddCert(ca.cert)
		addr := serve(t, &tls.Config{Certificates: []tls.Certificate{ca.sign(t, forHost("127.0.0.1")).pair()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
		if ca.cert == fresh.cert {
			_, err := greet(t, d, addr)
			require.ErrorContains(t, err, addr+": its certificate is signed by an authority (\"CN=fresh\") that is not in "+caFile+": add the authority's certificate to kafka.tls.ca_file")
			write(t, caFile, old.pem, fresh.pem)
		}
		got, err := greet(t, d, addr)
		require.NoError(t, err)
		require.Equal(t, "hello", got)
	}
}

// Each way in which TLS fails is told in one sentence with the address and the key to mend.
func TestWhatTLSRefuses(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "authority")
	caFile := write(t, filepath.Join(dir, "ca.pem"), ca.pem)
	local := ca.sign(t, forHost("127.0.0.1")).pair()
	trusting := link.TLS{CAFile: caFile}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	foreign := newAuthority(t, "foreign").sign(t, forHost("client"))
	withForeign := link.TLS{
		CAFile: caFile, CertFile: write(t, filepath.Join(dir, "foreign.crt"), foreign.pem), KeyFile: write(t, filepath.Join(dir, "foreign.key"), foreign.keyPEM(t)),
	}
	late := forHost("127.0.0.1")
	late.NotAfter = time.Now().Add(-time.Hour)
	early := forHost("127.0.0.1")
	early.NotBefore = time.Now().Add(time.Hour / 2)
	wantsClient := func(version uint16) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{local}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MaxVersion: version}
	}
	for name, tc := range map[string]struct {
		client link.TLS
		server *tls.Config
		want   string
	}{
		"unknown authority":         {link.TLS{Enabled: true}, &tls.Config{Certificates: []tls.Certificate{local}}, "that this system does not know: set kafka.tls.ca_file to the authority's certificate"},
		"plain text":                {trusting, nil, "it does not speak TLS: use its TLS port, or leave kafka.tls out"},
		"another host":              {trusting, &tls.Config{Certificates: []tls.Certificate{ca.sign(t, forHost("kafka.example")).pair()}}, "its certificate is for kafka.example and not for 127.0.0.1: connect by one of its names, or set kafka.tls.server_name"},
		"another address":           {trusting, &tls.Config{Certificates: []tls.Certificate{ca.sign(t, forHost("10.1.2.3")).pair()}}, "its certificate is for 10.1.2.3 and not for 127.0.0.1"},
		"expired":                   {trusting, &tls.Config{Certificates: []tls.Certificate{ca.sign(t, late).pair()}}, `the certificate of "CN=127.0.0.1", which it shows, expired on `},
		"not yet valid":             {trusting, &tls.Config{Certificates: []tls.Certificate{ca.sign(t, early).pair()}}, "is a clock wrong?"},
		"client wanted, TLS 1.3":    {trusting, wantsClient(tls.VersionTLS13), "it wants a client certificate (it answers \"certificate required\"): set kafka.tls.cert_file and kafka.tls.key_file"},
		"client wanted, TLS 1.2":    {trusting, wantsClient(tls.VersionTLS12), "as servers do that want a client certificate (kafka.tls.cert_file, kafka.tls.key_file)"},
		"client refused, TLS 1.3":   {withForeign, wantsClient(tls.VersionTLS13), "it refuses the client certificate of kafka.tls.cert_file"},
		"client refused, TLS 1.2":   {withForeign, wantsClient(tls.VersionTLS12), "it refuses the client certificate of kafka.tls.cert_file"},
		"old version":               {trusting, &tls.Config{Certificates: []tls.Certificate{local}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "it speaks no TLS of version 1.2 or later"},
		"server_name":               {link.TLS{CAFile: caFile, ServerName: "other.example"}, &tls.Config{Certificates: []tls.Certificate{local}}, "and not for other.example"},
		"skipped":                   {link.TLS{InsecureSkipVerify: true}, &tls.Config{Certificates: []tls.Certificate{local}}, ""},
		"server_name that is right": {link.TLS{CAFile: caFile, ServerName: "kafka.example"}, &tls.Config{Certificates: []tls.Certificate{ca.sign(t, forHost("kafka.example")).pair()}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, tc.server)
			got, err := greet(t, tc.client.Dialer("kafka.tls"), addr)
			if tc.want == "" {
				require.NoError(t, err)
				require.Equal(t, "hello", got)
				return
			}
			require.ErrorContains(t, err, addr+": ")
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

// What is wrong with the files is told before anything is sent.
func TestFilesThatAreNoCertificates(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "authority")
	mine, other := ca.sign(t, forHost("client")), ca.sign(t, forHost("other"))
	late := forHost("client")
	late.NotAfter = time.Now().Add(-time.Hour)
	old := ca.sign(t, late)
	file := func(name string, parts ...[]byte) string { return write(t, filepath.Join(dir, name), parts...) }
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	legacy := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")})
	cert, key := file("tls.crt", mine.pem), file("tls.key", mine.keyPEM(t))
	for name, tc := range map[string]struct {
		tls  link.TLS
		want string
	}{
		"ca missing":         {link.TLS{CAFile: filepath.Join(dir, "nowhere")}, "kafka.tls.ca_file: open " + dir},
		"ca empty":           {link.TLS{CAFile: file("empty")}, "is empty"},
		"ca no PEM":          {link.TLS{CAFile: file("text", []byte("hello"))}, "no certificate in PEM"},
		"ca DER":             {link.TLS{CAFile: file("der", ca.cert.Raw)}, "is DER or PKCS #12"},
		"ca a keystore":      {link.TLS{CAFile: file("jks", []byte{0xfe, 0xed, 0xfe, 0xed, 0, 0})}, "a Java keystore"},
		"ca a key":           {link.TLS{CAFile: key}, "no certificate stands in " + key + ", but other PEM does"},
		"ca a directory":     {link.TLS{CAFile: dir}, "is a directory"},
		"ca broken":          {link.TLS{CAFile: file("broken", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))}, "none of its certificates can be read"},
		"key of another":     {link.TLS{CertFile: cert, KeyFile: file("other.key", other.keyPEM(t))}, "does not belong to the certificate in " + cert},
		"key encrypted":      {link.TLS{CertFile: cert, KeyFile: file("enc.key", encrypted)}, "is encrypted"},
		"key encrypted, old": {link.TLS{CertFile: cert, KeyFile: file("enc1.key", legacy)}, "is encrypted"},
		"key a certificate":  {link.TLS{CertFile: cert, KeyFile: cert}, "kafka.tls.key_file: no private key stands in " + cert},
		"swapped":            {link.TLS{CertFile: key, KeyFile: cert}, "kafka.tls.cert_file: no certificate stands in " + key},
		"expired":            {link.TLS{CertFile: file("old.crt", old.pem), KeyFile: file("old.key", old.keyPEM(t))}, "expired on "},
		"right":              {link.TLS{CAFile: file("ca.pem", ca.pem), CertFile: cert, KeyFile: key}, ""},
		"one file":           {link.TLS{CertFile: file("both.pem", mine.keyPEM(t), mine.pem, ca.pem), KeyFile: filepath.Join(dir, "both.pem")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.tls.Dialer("kafka.tls").Check()
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "-----BEGIN PRIVATE")
		})
	}
}

func TestTLSValidate(t *testing.T) {
	require.False(t, link.TLS{}.On())
	require.True(t, link.TLS{CAFile: "ca.pem"}.On())
	require.NoError(t, link.TLS{Enabled: true}.Validate("kafka.tls"))
	require.NoError(t, link.TLS{ServerName: "2001:db8::1"}.Validate("kafka.tls"))
	err := link.TLS{CertFile: "a", ServerName: "https://kafka:9093", InsecureSkipVerify: true}.Validate("kafka.tls")
	require.Len(t, strings.Split(err.Error(), "\n"), 3, err)
	require.ErrorContains(t, err, "kafka.tls.key_file: missing")
	require.ErrorContains(t, err, "kafka.tls.insecure_skip_verify: ")
	require.ErrorContains(t, err, "kafka.tls.server_name: ")
	require.ErrorContains(t, link.TLS{KeyFile: "a"}.Validate("registry.tls"), "registry.tls.cert_file: missing")
}
