package link

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
)

// Transport returns what sends HTTP with these settings: net/http's defaults, with connections by
// Dialer where an address begins with https. prefix is where the fields stand, for errors.
func (t TLS) Transport(prefix string) *http.Transport {
	d := t.Dialer(prefix)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialTLSContext = d.DialContext
	transport.TLSClientConfig = d.through()
	return transport
}

// through is for connections through a proxy, which net/http makes by itself. The files are read
// in the handshake. Go does not tell of a host that is an IP address whom its certificate must be
// for, so such a host needs server_name.
func (d *Dialer) through() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         d.tls.ServerName,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies
		VerifyConnection: func(state tls.ConnectionState) error {
			cfg, err := d.Config(state.ServerName)
			if err != nil || cfg.InsecureSkipVerify {
				return err
			}
			if cfg.ServerName == "" {
				return errors.New("through a proxy, an address needs " + d.prefix + ".server_name, by which its certificate is verified")
			}
			chain := x509.NewCertPool()
			for _, cert := range state.PeerCertificates[1:] {
				chain.AddCert(cert)
			}
			if _, err = state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: cfg.ServerName, Roots: cfg.RootCAs, Intermediates: chain}); err != nil {
				return d.explain(cfg.ServerName, err)
			}
			return nil
		},
		GetClientCertificate: func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cfg, err := d.Config("")
			if err != nil || cfg.GetClientCertificate == nil {
				return &tls.Certificate{}, err
			}
			return cfg.GetClientCertificate(request)
		},
	}
}
