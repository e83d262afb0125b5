package link_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/schemas/link/linktest"
)

// Through a proxy, by which net/http shakes hands itself, a server is verified as it is without.
func TestTransportVerifiesThroughAProxy(t *testing.T) {
	dir := t.TempDir()
	ca := linktest.NewAuthority(t, "authority")
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	backend.TLS = &tls.Config{
		Certificates: []tls.Certificate{ca.Sign(t, linktest.For("registry.example")).Pair()}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
	}
	backend.StartTLS()
	defer backend.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		back, err := net.Dial("tcp", backend.Listener.Addr().String())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		front, rest, err := w.(http.Hijacker).Hijack()
		if err != nil {
			back.Close()
			return
		}
		go func() { _, _ = io.Copy(back, rest); back.Close() }() // ends with the client
		_, _ = io.Copy(front, back)
		front.Close()
	}))
	defer proxy.Close()
	through, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	mutual := link.TLS{CAFile: linktest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM)}
	mutual.CertFile, mutual.KeyFile = ca.Sign(t, linktest.For("client")).Files(t, dir, "client")
	foreign := link.TLS{CAFile: linktest.Write(t, filepath.Join(dir, "other.pem"), linktest.NewAuthority(t, "other").PEM)}
	named := mutual
	named.ServerName = "registry.example"
	for name, tc := range map[string]struct {
		tls  link.TLS
		host string
		want string
	}{
		"right":             {mutual, "registry.example", ""},
		"unknown authority": {link.TLS{}, "registry.example", "that this system does not know: set registry.tls.ca_file"},
		"other authority":   {foreign, "registry.example", "add the authority's certificate to registry.tls.ca_file"},
		"other host":        {mutual, "other.example", "is for registry.example and not for other.example"},
		"address":           {mutual, "10.0.0.1", "through a proxy, an address needs registry.tls.server_name"},
		"address, named":    {named, "10.0.0.1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			transport := tc.tls.Transport("registry.tls")
			transport.Proxy = http.ProxyURL(through)
			defer transport.CloseIdleConnections()
			resp, err := (&http.Client{Transport: transport}).Get("https://" + tc.host + ":443/")
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Equal(t, http.StatusOK, resp.StatusCode)
		})
	}
}
