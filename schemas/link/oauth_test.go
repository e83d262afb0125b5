package link_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/schemas/link/linktest"
)

// What an endpoint answers instead of a token is told in one sentence, without its page, its query,
// or a secret.
func TestWhatTokenEndpointsSay(t *testing.T) {
	for name, tc := range map[string]struct {
		status      int
		kind, body  string
		want, token string
	}{
		"token":              {200, "application/json", `{"access_token":"t1","token_type":"Bearer","expires_in":3600}`, "", "t1"},
		"no expiry":          {200, "application/json", `{"access_token":"t1"}`, "", "t1"},
		"expiry as text":     {200, "application/json", `{"access_token":"t1","expires_in":"60"}`, "", "t1"},
		"expired":            {200, "application/json", `{"access_token":"t1","expires_in":-5}`, "gives a token that has expired already", ""},
		"no token":           {200, "application/json", `{"id_token":"canary"}`, "answers with something that is no token", ""},
		"not ASCII":          {200, "application/json", `{"access_token":"a\u0001b"}`, "gives a token that is not printable ASCII", ""},
		"HTML":               {200, "text/html", "<html>canary</html>", "answers with something that is no token", ""},
		"wrong secret":       {401, "application/json", `{"error":"invalid_client","error_description":"bad canary-secret\nx"}`, `answers 401 (invalid_client: bad … x): is a.oauth.client_id "me" wrong, or a.oauth.client_secret?`, ""},
		"error with 200":     {200, "application/json", `{"error":"unauthorized_client"}`, "answers 200 (unauthorized_client): is a.oauth.client_id", ""},
		"scope":              {400, "application/json", `{"error":"invalid_scope"}`, "answers 400 (invalid_scope): mend a.oauth.scopes", ""},
		"forbidden, HTML":    {403, "text/html", "<html>canary</html>", "answers 403: is a.oauth.client_id", ""},
		"not found":          {404, "text/plain", "canary", "answers 404: is it the address of a token endpoint", ""},
		"away":               {500, "text/html", "<html>canary</html>", "answers 500", ""},
		"redirect":           {302, "text/html", "", "answers 302, a redirect, which is not followed with a secret", ""},
		"redirect, the same": {307, "text/html", "", "answers 307, a redirect", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var elsewhere atomic.Bool
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					elsewhere.Store(true)
				}
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Content-Type", tc.kind)
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			}))
			defer srv.Close()
			o := link.OAuth{TokenURL: srv.URL + "/token?key=canary-key", ClientID: "me", ClientSecret: "canary-secret"}
			require.NoError(t, o.Validate("a.oauth"))
			got, err := o.Tokens("a.oauth").Token(t.Context())
			require.Equal(t, tc.token, got)
			require.False(t, elsewhere.Load())
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "a.oauth.token_url: "+srv.URL+"/… "+tc.want)
			require.NotContains(t, err.Error(), "canary")
			require.NotContains(t, err.Error(), "\n")
		})
	}
	_, err := link.OAuth{TokenURL: "http://127.0.0.1:1/canary", ClientID: "me", ClientSecret: "canary-secret"}.Tokens("a.oauth").Token(t.Context())
	require.ErrorContains(t, err, "a.oauth.token_url: http://127.0.0.1:1/…: dial tcp 127.0.0.1:1: connect: connection refused")
	require.NotContains(t, err.Error(), "canary")
}

// answers answers requests without a network.
type answers func(r *http.Request) (*http.Response, error)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// A token serves all until four fifths of its life have passed; one that cannot be renewed serves
// until its end; a failure is not asked for again at once; the secret is read for each token.
func TestTokensAreRenewedBeforeTheyExpire(t *testing.T) {
	file := linktest.Write(t, filepath.Join(t.TempDir(), "secret"), []byte("s1\n"))
	synctest.Test(t, func(t *testing.T) {
		asked, status := 0, http.StatusOK
		tokens := link.OAuth{TokenURL: "http://x/token", ClientID: "me", ClientSecretFile: file}.Tokens("a.oauth")
		tokens.SetTransport(answers(func(r *http.Request) (*http.Response, error) {
			asked++
			_, secret, _ := r.BasicAuth()
			w := httptest.NewRecorder()
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"access_token":"%s-%d","expires_in":100}`, secret, asked)
			return w.Result(), nil
		}))
		give := func() string {
			t.Helper()
			token, err := tokens.Token(t.Context())
			if err != nil {
				require.Empty(t, token)
				return "error"
			}
			return token
		}
		require.Equal(t, "s1-1", give())
		time.Sleep(79 * time.Second)
		require.Equal(t, "s1-1", give())
		linktest.Write(t, file, []byte("s2"))
		time.Sleep(2 * time.Second)
		require.Equal(t, "s2-2", give())
		status = http.StatusServiceUnavailable
		time.Sleep(90 * time.Second)
		for range 3 {
			require.Equal(t, "s2-2", give())
		}
		require.Equal(t, 3, asked)
		time.Sleep(11 * time.Second)
		require.Equal(t, "error", give())
		require.Equal(t, "error", give())
		require.Equal(t, 4, asked)
		status = http.StatusOK
		time.Sleep(3 * time.Second)
		require.Equal(t, "s2-5", give())
	})
}

// A token that is refused is replaced before its time, but not one that is new; while the endpoint does
// not answer, a token that is in force serves all but the one who asks.
func TestTokensThatAreRefusedAndSlowEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, slow := 0, time.Duration(0)
		tokens := link.OAuth{TokenURL: "http://x/token", ClientID: "me", ClientSecret: "s"}.Tokens("a.oauth")
		tokens.SetTransport(answers(func(*http.Request) (*http.Response, error) {
			time.Sleep(slow)
			asked++
			w := httptest.NewRecorder()
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"t%d","expires_in":3600}`, asked)
			return w.Result(), nil
		}))
		tokens.Refused() // of none
		give := func() string {
			token, err := tokens.Token(t.Context())
			require.NoError(t, err)
			return token
		}
		for range 3 {
			require.Equal(t, "t1", give())
			tokens.Refused()
		}
		time.Sleep(10 * time.Second)
		tokens.Refused()
		tokens.Refused()
		require.Equal(t, "t2", give())
		require.Equal(t, "t2", give())
		time.Sleep(50 * time.Minute)
		slow = 8 * time.Second
		renewed := make(chan string)
		go func() { renewed <- give() }() // ends when the endpoint has answered
		synctest.Wait()
		began := time.Now()
		require.Equal(t, "t2", give())
		require.Zero(t, time.Since(began))
		require.Equal(t, "t3", <-renewed)
		require.Equal(t, "t3", give())
	})
}

func TestSASLValidate(t *testing.T) {
	for text, tc := range map[string]link.SASL{
		"": {},
		"kafka.sasl.mechanism: missing, but other keys of kafka.sasl are set":                                                   {Username: "me"},
		`kafka.sasl.mechanism: "scram-sha-256" is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER`:                  {Mechanism: "scram-sha-256"},
		"kafka.sasl.username: missing\n.*kafka.sasl.password: missing":                                                          {Mechanism: link.Plain},
		"kafka.sasl.password_file: kafka.sasl.password is set too":                                                              {Mechanism: link.Plain, Username: "me", Password: "x", PasswordFile: "y"},
		"kafka.sasl.oauth: has no use":                                                                                          {Mechanism: link.Plain, Username: "me", Password: "x", OAuth: link.OAuth{ClientID: "me"}},
		"kafka.sasl.oauth.token_url: missing\n.*kafka.sasl.oauth.client_id: missing\n.*kafka.sasl.oauth.client_secret: missing": {Mechanism: link.OAuthBearer},
		"kafka.sasl.oauth.token_url: it holds a user":                                                                           {Mechanism: link.OAuthBearer, OAuth: link.OAuth{TokenURL: "https://a:canary@b", ClientID: "me", ClientSecret: "x"}},
		"kafka.sasl.oauth.token_url: it begins with http://, but kafka.sasl.oauth.tls is set: write https://":                   {Mechanism: link.OAuthBearer, OAuth: link.OAuth{TokenURL: "http://b", ClientID: "me", ClientSecret: "x", TLS: link.TLS{Enabled: true}}},
		"kafka.sasl.extensions: \"auth\" is no name":                                                                            {Mechanism: link.OAuthBearer, Extensions: map[string]string{"auth": "x"}, OAuth: link.OAuth{TokenURL: "https://b", ClientID: "me", ClientSecret: "x"}},
	} {
		err := tc.Validate("kafka.sasl")
		if text == "" {
			require.NoError(t, err)
			continue
		}
		require.Error(t, err)
		require.Regexp(t, "(?s)"+strings.ReplaceAll(text, "\n", ".*"), err.Error())
		require.NotContains(t, err.Error(), "canary")
	}
}
