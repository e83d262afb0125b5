package pipeline_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	tokenIssuer   = "https://issuer.test"
	tokenAudience = "kafka"
	tokenKey      = "key-1"
)

// tokenServer gives access tokens for client credentials (RFC 6749, section 4.4), which are JWTs
// signed by RS256, as identity providers do. The user is the client.
type tokenServer struct {
	*httptest.Server
	key     *rsa.PrivateKey
	secrets sync.Map        // by client
	forger  *rsa.PrivateKey // signs for the client "forger", with the name of the other key
}

func newTokenServer(t *testing.T) *tokenServer {
	t.Helper()
	s := &tokenServer{}
	for _, key := range []**rsa.PrivateKey{&s.key, &s.forger} {
		var err error
		*key, err = rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(s.Close)
	return s
}

func (s *tokenServer) answer(w http.ResponseWriter, r *http.Request) {
	client, encoded, _ := r.BasicAuth()
	secret, err := url.QueryUnescape(encoded) // RFC 6749, section 2.3.1
	w.Header().Set("Content-Type", "application/json")
	if known, ok := s.secrets.Load(client); err != nil || r.FormValue("grant_type") != "client_credentials" || !ok || known != secret {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client"}`)
		return
	}
	key := s.key
	if client == "forger" {
		key = s.forger
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": sign(key, client, r.FormValue("scope")), "token_type": "Bearer", "expires_in": 60})
}

// sign returns a JWT (RFC 7519) that names a client.
func sign(key *rsa.PrivateKey, client, scope string) string {
	encode := func(claims map[string]any) string {
		text, err := json.Marshal(claims)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now()
	text := encode(map[string]any{"alg": "RS256", "typ": "JWT", "kid": tokenKey}) + "." +
		encode(map[string]any{"iss": tokenIssuer, "sub": client, "aud": tokenAudience, "scope": scope, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()})
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// keySet returns the public key as a JWKS (RFC 7517).
func (s *tokenServer) keySet() []byte {
	text := base64.RawURLEncoding.EncodeToString
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": tokenKey,
		"n": text(s.key.N.Bytes()), "e": text(big.NewInt(int64(s.key.E)).Bytes()),
	}}})
	if err != nil {
		panic(err)
	}
	return set
}
