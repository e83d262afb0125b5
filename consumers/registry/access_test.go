package registry_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers/registry"
	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/schemas/link/linktest"
)

// securedRegistry answers questions for a schema that bear the authorization.
func securedRegistry(t *testing.T, tlsConfig *tls.Config, authorization *string) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if got := r.Header.Get("Authorization"); got != *authorization {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error_code":401,"message":"not %s"}`, got)
			return
		}
		fmt.Fprint(w, `{"schema":"\"int\""}`)
	}))
	srv.TLS = tlsConfig
	if tlsConfig == nil {
		srv.Start()
	} else {
		srv.StartTLS()
	}
	t.Cleanup(srv.Close)
	return srv.URL
}

func askFor(t *testing.T, cfg registry.Config, id int) error {
	t.Helper()
	c, err := registry.New(cfg)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Schema(t.Context(), id)
	return err
}

// A password that has changed on both sides is sent from the next question on.
func TestRegistryPasswordIsReadForEachQuestion(t *testing.T) {
	authorization := "Basic bWU6Zmlyc3Q=" // me:first
	cfg := registry.DefaultConfig()
	cfg.URL, cfg.Username = securedRegistry(t, nil, &authorization), "me"
	cfg.PasswordFile = linktest.Write(t, filepath.Join(t.TempDir(), "password"), []byte("first\n"))
	c, err := registry.New(cfg)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Schema(t.Context(), 1)
	require.NoError(t, err)
	authorization = "Basic bWU6c2Vjb25k" // me:second
	_, err = c.Schema(t.Context(), 2)
	require.ErrorContains(t, err, `the Schema Registry answers 401: look at registry.username ("me") and registry.password or password_file`)
	require.NotContains(t, err.Error(), "bWU6Zmlyc3Q")
	linktest.Write(t, cfg.PasswordFile, []byte("second\r\n"))
	_, err = c.Schema(t.Context(), 2)
	require.NoError(t, err)
}

func TestRegistryByTLS(t *testing.T) {
	dir := t.TempDir()
	ca := linktest.NewAuthority(t, "authority")
	secure := link.TLS{CAFile: linktest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM)}
	mutual := secure
	mutual.CertFile, mutual.KeyFile = ca.Sign(t, linktest.For("client")).Files(t, dir, "client")
	none := ""
	url := securedRegistry(t, &tls.Config{
		Certificates: []tls.Certificate{ca.Sign(t, linktest.For("127.0.0.1")).Pair()}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
	}, &none)
	for want, settings := range map[string]link.TLS{
		"":                            mutual,
		"set registry.tls.ca_file to": {},
		"it wants a client certificate (it answers \"certificate required\"): set registry.tls.cert_file and registry.tls.key_file": secure,
	} {
		cfg := registry.DefaultConfig()
		cfg.URL, cfg.TLS, cfg.Attempts = url, settings, 1
		cfg.Timeout = time.Minute
		err := askFor(t, cfg, 1)
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
	}
	cfg := registry.DefaultConfig()
	cfg.URL, cfg.TLS = "http://x:1", secure
	require.ErrorContains(t, cfg.Validate(), `registry.url: "http://x:1" begins with http://, but registry.tls is set: write https://`)
}

func TestRegistryByToken(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"token-canary","expires_in":3600}`)
	}))
	defer endpoint.Close()
	authorization := "Bearer token-canary"
	cfg := registry.DefaultConfig()
	cfg.URL, cfg.Attempts = securedRegistry(t, nil, &authorization), 1
	cfg.OAuth = link.OAuth{TokenURL: endpoint.URL, ClientID: "me", ClientSecret: "x"}
	require.NoError(t, askFor(t, cfg, 1))
	authorization = "Bearer another"
	err := askFor(t, cfg, 1)
	require.ErrorContains(t, err, "the Schema Registry answers 401: look at registry.oauth")
	require.NotContains(t, err.Error(), "canary")
	cfg.Username = "me"
	require.ErrorContains(t, cfg.Validate(), "registry.oauth: registry.username is set too: keep one of them")
}
