package link_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/schemas/link/linktest"
)

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
	old, fresh := linktest.NewAuthority(t, "old"), linktest.NewAuthority(t, "fresh")
	caFile := linktest.Write(t, filepath.Join(dir, "ca.pem"), []byte("# the bundle\n"), linktest.NewAuthority(t, "other").PEM, old.PEM)
	d := link.TLS{CAFile: caFile, CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}.Dialer("kafka.tls")
	for _, ca := range []linktest.Certificate{old, fresh} {
		mine := ca.Sign(t, linktest.For("client"))
		linktest.Write(t, filepath.Join(dir, "tls.crt"), mine.PEM)
		linktest.Write(t, filepath.Join(dir, "tls.key"), mine.KeyPEM(t))
		addr := serve(t, &tls.Config{Certificates: []tls.Certificate{ca.Sign(t, linktest.For("127.0.0.1")).Pair()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()})
		if ca.Cert == fresh.Cert {
			_, err := greet(t, d, addr)
			require.ErrorContains(t, err, addr+": its certificate is signed by an authority (\"CN=fresh\") that is not in "+caFile+": add the authority's certificate to kafka.tls.ca_file")
			linktest.Write(t, caFile, old.PEM, fresh.PEM)
		}
		got, err := greet(t, d, addr)
		require.NoError(t, err)
		require.Equal(t, "hello", got)
	}
}

// Each way in which TLS fails is told in one sentence with the address and the key to mend.
func TestWhatTLSRefuses(t *testing.T) {
	dir := t.TempDir()
	ca := linktest.NewAuthority(t, "authority")
	caFile := linktest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM)
	local := ca.Sign(t, linktest.For("127.0.0.1")).Pair()
	trusting := link.TLS{CAFile: caFile}
	foreign := linktest.NewAuthority(t, "foreign").Sign(t, linktest.For("client"))
	withForeign := link.TLS{
		CAFile: caFile, CertFile: linktest.Write(t, filepath.Join(dir, "foreign.crt"), foreign.PEM), KeyFile: linktest.Write(t, filepath.Join(dir, "foreign.key"), foreign.KeyPEM(t)),
	}
	late := linktest.For("127.0.0.1")
	late.NotAfter = time.Now().Add(-time.Hour)
	early := linktest.For("127.0.0.1")
	early.NotBefore = time.Now().Add(time.Hour / 2)
	wantsClient := func(version uint16) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{local}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), MaxVersion: version}
	}
	for name, tc := range map[string]struct {
		client link.TLS
		server *tls.Config
		want   string
	}{
		"unknown authority":         {link.TLS{Enabled: true}, &tls.Config{Certificates: []tls.Certificate{local}}, "that this system does not know: set kafka.tls.ca_file to the authority's certificate"},
		"plain text":                {trusting, nil, "it does not speak TLS: use its TLS port, or leave kafka.tls out"},
		"another host":              {trusting, &tls.Config{Certificates: []tls.Certificate{ca.Sign(t, linktest.For("kafka.example")).Pair()}}, "its certificate is for kafka.example and not for 127.0.0.1: connect by one of its names, or set kafka.tls.server_name"},
		"another address":           {trusting, &tls.Config{Certificates: []tls.Certificate{ca.Sign(t, linktest.For("10.1.2.3")).Pair()}}, "its certificate is for 10.1.2.3 and not for 127.0.0.1"},
		"expired":                   {trusting, &tls.Config{Certificates: []tls.Certificate{ca.Sign(t, late).Pair()}}, `the certificate of "CN=127.0.0.1", which it shows, expired on `},
		"not yet valid":             {trusting, &tls.Config{Certificates: []tls.Certificate{ca.Sign(t, early).Pair()}}, "is a clock wrong?"},
		"client wanted, TLS 1.3":    {trusting, wantsClient(tls.VersionTLS13), "it wants a client certificate (it answers \"certificate required\"): set kafka.tls.cert_file and kafka.tls.key_file"},
		"client wanted, TLS 1.2":    {trusting, wantsClient(tls.VersionTLS12), "as servers do that want a client certificate (kafka.tls.cert_file, kafka.tls.key_file)"},
		"client refused, TLS 1.3":   {withForeign, wantsClient(tls.VersionTLS13), "it refuses the client certificate of kafka.tls.cert_file"},
		"client refused, TLS 1.2":   {withForeign, wantsClient(tls.VersionTLS12), "it refuses the client certificate of kafka.tls.cert_file"},
		"old version":               {trusting, &tls.Config{Certificates: []tls.Certificate{local}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "it speaks no TLS of version 1.2 or later"},
		"server_name":               {link.TLS{CAFile: caFile, ServerName: "other.example"}, &tls.Config{Certificates: []tls.Certificate{local}}, "and not for other.example"},
		"skipped":                   {link.TLS{InsecureSkipVerify: true}, &tls.Config{Certificates: []tls.Certificate{local}}, ""},
		"server_name that is right": {link.TLS{CAFile: caFile, ServerName: "kafka.example"}, &tls.Config{Certificates: []tls.Certificate{ca.Sign(t, linktest.For("kafka.example")).Pair()}}, ""},
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
	ca := linktest.NewAuthority(t, "authority")
	mine, other := ca.Sign(t, linktest.For("client")), ca.Sign(t, linktest.For("other"))
	late := linktest.For("client")
	late.NotAfter = time.Now().Add(-time.Hour)
	old := ca.Sign(t, late)
	file := func(name string, parts ...[]byte) string {
		return linktest.Write(t, filepath.Join(dir, name), parts...)
	}
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	legacy := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")})
	cert, key := file("tls.crt", mine.PEM), file("tls.key", mine.KeyPEM(t))
	for name, tc := range map[string]struct {
		tls  link.TLS
		want string
	}{
		"ca missing":         {link.TLS{CAFile: filepath.Join(dir, "nowhere")}, "kafka.tls.ca_file: stat " + dir},
		"ca empty":           {link.TLS{CAFile: file("empty")}, "is empty"},
		"ca no PEM":          {link.TLS{CAFile: file("text", []byte("hello"))}, "no certificate in PEM"},
		"ca DER":             {link.TLS{CAFile: file("der", ca.Cert.Raw)}, "is DER or PKCS #12"},
		"ca a keystore":      {link.TLS{CAFile: file("jks", []byte{0xfe, 0xed, 0xfe, 0xed, 0, 0})}, "a Java keystore"},
		"ca a key":           {link.TLS{CAFile: key}, "no certificate stands in " + key + ", but other PEM does"},
		"ca a directory":     {link.TLS{CAFile: dir}, "is a directory"},
		"ca broken":          {link.TLS{CAFile: file("broken", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))}, "none of its certificates can be read"},
		"key of another":     {link.TLS{CertFile: cert, KeyFile: file("other.key", other.KeyPEM(t))}, "does not belong to the certificate in " + cert},
		"key encrypted":      {link.TLS{CertFile: cert, KeyFile: file("enc.key", encrypted)}, "is encrypted"},
		"key encrypted, old": {link.TLS{CertFile: cert, KeyFile: file("enc1.key", legacy)}, "is encrypted"},
		"key a certificate":  {link.TLS{CertFile: cert, KeyFile: cert}, "kafka.tls.key_file: no private key stands in " + cert},
		"swapped":            {link.TLS{CertFile: key, KeyFile: cert}, "kafka.tls.cert_file: no certificate stands in " + key},
		"expired":            {link.TLS{CertFile: file("old.crt", old.PEM), KeyFile: file("old.key", old.KeyPEM(t))}, "expired on "},
		"right":              {link.TLS{CAFile: file("ca.pem", ca.PEM), CertFile: cert, KeyFile: key}, ""},
		"one file":           {link.TLS{CertFile: file("both.pem", mine.KeyPEM(t), mine.PEM, ca.PEM), KeyFile: filepath.Join(dir, "both.pem")}, ""},
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
