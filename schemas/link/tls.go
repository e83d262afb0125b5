package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// TLS says how a connection is secured. It is on where Enabled is set, and where any other field
// is: nobody names an authority for a connection in plain text.
type TLS struct {
	Enabled bool `yaml:"enabled"`
	// CAFile has the certificates of the authorities that are trusted, PEM; empty: the system's.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are this program's own certificate, with those between it and the
	// authority behind it, and its key, PEM; empty: none.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName is what the server's certificate must be for; empty: the host that is dialled.
	ServerName         string `yaml:"server_name"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"` // for tests alone: anybody can be the server
}

// On tells whether connections are made by TLS.
func (t TLS) On() bool { return t != TLS{} }

// Validate reports everything that makes no sense, one error each, joined. prefix is where the
// fields stand, such as kafka.tls. Files are not read: Dialer.Check does.
func (t TLS) Validate(prefix string) error {
	var errs []error
	if t.CertFile != "" && t.KeyFile == "" {
		errs = append(errs, fmt.Errorf("%s.key_file: missing, but %s.cert_file is set", prefix, prefix))
	}
	if t.CertFile == "" && t.KeyFile != "" {
		errs = append(errs, fmt.Errorf("%s.cert_file: missing, but %s.key_file is set", prefix, prefix))
	}
	if t.InsecureSkipVerify && (t.CAFile != "" || t.ServerName != "") {
		errs = append(errs, fmt.Errorf("%s.insecure_skip_verify: %s.ca_file or server_name is set too, and would not be looked at: keep one of them", prefix, prefix))
	}
	if name := t.ServerName; name != "" && (strings.ContainsAny(name, "/@ ") || strings.Contains(name, ":") && net.ParseIP(name) == nil) {
		errs = append(errs, fmt.Errorf("%s.server_name: %q is no host name: write it without scheme and port", prefix, name))
	}
	return errors.Join(errs...)
}

// handshakeTimeout bounds a handshake, after the network has connected.
const handshakeTimeout = 10 * time.Second

// Dialer makes TLS connections. The files are read for each, so that new certificates and
// authorities are in force with the next connection; while they cannot be used, which may be as they
// are being replaced, what they held last is in force for some seconds. It is safe for concurrent use.
type Dialer struct {
	tls    TLS
	prefix string
	net    net.Dialer
	pools  swapped[*x509.CertPool]
	pairs  swapped[*tls.Certificate]

	mu   sync.Mutex
	ca   []byte         // the text of CAFile when it was read last
	pool *x509.CertPool // what stands in ca
}

// Dialer returns what makes connections. prefix is where the fields stand, such as kafka.tls,
// for errors.
func (t TLS) Dialer(prefix string) *Dialer {
	return &Dialer{tls: t, prefix: prefix, net: net.Dialer{Timeout: 10 * time.Second}}
}

// DialContext connects to host:port and shakes hands. It has the form that net/http's Transport
// (as DialTLSContext) and Kafka's client want. Errors of TLS are one sentence that names the
// address and the key to mend; those that come with the first answer are, too, such as a client
// certificate that the server refuses.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	cfg, err := d.Config(host)
	if err != nil {
		return nil, err
	}
	raw, err := d.net.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c := &conn{tls.Client(raw, cfg), d, addr}
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, d.explain(addr, err)
	}
	return c, nil
}

// conn is a connection whose errors speak of configuration.
type conn struct {
	*tls.Conn
	d    *Dialer
	addr string
}

// Read implements net.Conn. By TLS 1.3 the server looks at the client's certificate after the
// handshake, so its refusal arrives here.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && remoteAlert(err) != "" {
		err = c.d.explain(c.addr, err)
	}
	return n, err
}

// Config returns what a connection to host needs, by what the files say now. It is for one
// connection: it does not follow the files.
func (d *Dialer) Config(host string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: d.tls.InsecureSkipVerify} //nolint:gosec // the operator's choice, documented as one for tests
	if d.tls.ServerName != "" {
		cfg.ServerName = d.tls.ServerName
	}
	var err error
	if d.tls.CAFile != "" {
		if cfg.RootCAs, err = d.pools.now(d.authorities()); err != nil {
			return nil, err
		}
	}
	if d.tls.CertFile != "" {
		pair, err := d.pairs.now(d.pair())
		if err != nil {
			return nil, err
		}
		// Whatever authorities the server asks for: it says best itself what is wrong with this one.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return cfg, nil
}

// Check reads the files, and tells what is wrong with them. What Validate refuses it leaves alone.
func (d *Dialer) Check() error {
	if d.tls.CertFile != "" && d.tls.KeyFile == "" {
		return nil
	}
	_, err := d.Config("localhost")
	return err
}

// authorities returns what stands in CAFile. Its text is parsed when it has changed.
func (d *Dialer) authorities() (*x509.CertPool, error) {
	key := d.prefix + ".ca_file"
	text, err := readFile(key, d.tls.CAFile, maxPEMBytes)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pool != nil && bytes.Equal(text, d.ca) {
		return d.pool, nil
	}
	blocks := pemTypes(text)
	if blocks["CERTIFICATE"] == 0 {
		return nil, fmt.Errorf("%s: %s", key, noPEM(d.tls.CAFile, "certificate", text))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) { // it skips those that cannot be read
		return nil, fmt.Errorf("%s: %s: none of its certificates can be read", key, d.tls.CAFile)
	}
	d.pool, d.ca = pool, text
	return pool, nil
}

// pair returns the certificate and key of this program.
func (d *Dialer) pair() (*tls.Certificate, error) {
	certKey, keyKey := d.prefix+".cert_file", d.prefix+".key_file"
	cert, err := readFile(certKey, d.tls.CertFile, maxPEMBytes)
	if err != nil {
		return nil, err
	}
	key, err := readFile(keyKey, d.tls.KeyFile, maxPEMBytes)
	if err != nil {
		return nil, err
	}
	if pemTypes(cert)["CERTIFICATE"] == 0 {
		return nil, fmt.Errorf("%s: %s", certKey, noPEM(d.tls.CertFile, "certificate", cert))
	}
	if err := checkKey(d.tls.KeyFile, key); err != nil {
		return nil, fmt.Errorf("%s: %w", keyKey, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	switch {
	case err != nil && strings.Contains(err.Error(), "does not match"):
		return nil, fmt.Errorf("%s: the key in %s does not belong to the certificate in %s", keyKey, d.tls.KeyFile, d.tls.CertFile)
	case err != nil:
		return nil, fmt.Errorf("%s: %s with the key in %s: %w", certKey, d.tls.CertFile, d.tls.KeyFile, err)
	}
	if err := expired(pair.Leaf, time.Now()); err != nil {
		return nil, fmt.Errorf("%s: the certificate in %s %w", certKey, d.tls.CertFile, err)
	}
	return &pair, nil
}

// expired tells in words whether a certificate is out of its time.
func expired(cert *x509.Certificate, now time.Time) error {
	switch {
	case cert == nil:
		return nil
	case now.After(cert.NotAfter):
		return fmt.Errorf("expired on %s; renew it", cert.NotAfter.UTC().Format(time.DateTime+" MST"))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("is valid from %s only, and it is %s here; is a clock wrong?", cert.NotBefore.UTC().Format(time.DateTime+" MST"), now.UTC().Format(time.DateTime+" MST"))
	}
	return nil
}

// pemTypes counts the blocks of a PEM text by their type.
func pemTypes(text []byte) map[string]int {
	types := map[string]int{}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return types
		}
		types[block.Type]++
	}
}

// noPEM says what a file is instead of PEM with a certificate or a key.
func noPEM(path, what string, text []byte) string {
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return path + " is empty"
	case len(pemTypes(text)) > 0:
		return fmt.Sprintf("no %s stands in %s, but other PEM does", what, path)
	case bytes.HasPrefix(text, []byte{0xfe, 0xed, 0xfe, 0xed}):
		return path + " is a Java keystore; export what it holds as PEM by keytool and openssl"
	case text[0] == 0x30:
		return path + " is DER or PKCS #12, not PEM; convert it by openssl"
	default:
		return fmt.Sprintf("no %s in PEM (-----BEGIN …) stands in %s", what, path)
	}
}

// checkKey refuses a text that holds no key that can be used as it is.
func checkKey(path string, text []byte) error {
	rest := text
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return errors.New(noPEM(path, "private key", text))
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return fmt.Errorf("the key in %s is encrypted, and there is no way to give its password: decrypt it by openssl pkey, into a file that only this user may read", path)
		case block.Type == "PRIVATE KEY" || strings.HasSuffix(block.Type, " PRIVATE KEY"):
			return nil
		}
	}
}
