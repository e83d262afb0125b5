package link

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/printable"
)

// OAuth says where access tokens come from: client credentials, RFC 6749, section 4.4. It is on
// where any field is set.
type OAuth struct {
	TokenURL         string   `yaml:"token_url"`
	ClientID         string   `yaml:"client_id"`
	ClientSecret     Secret   `yaml:"client_secret"`
	ClientSecretFile string   `yaml:"client_secret_file"` // has the secret; read for each token
	Scopes           []string `yaml:"scopes"`
	Audience         string   `yaml:"audience"` // a parameter that some endpoints want
	TLS              TLS      `yaml:"tls"`      // of the endpoint
}

// On tells whether anything is set.
func (o OAuth) On() bool {
	return o.TokenURL != "" || o.ClientID != "" || o.ClientSecret != "" || o.ClientSecretFile != "" || len(o.Scopes) > 0 || o.Audience != "" || o.TLS.On()
}

// Validate reports everything that makes no sense, one error each, joined. prefix is where the
// fields stand, such as kafka.sasl.oauth. Files are not read.
func (o OAuth) Validate(prefix string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(prefix+format, args...)) }
	u, err := url.Parse(o.TokenURL)
	switch {
	case o.TokenURL == "":
		bad(".token_url: missing")
	case err != nil: // the error would repeat what may be a secret
		bad(".token_url: not a URL")
	case u.User != nil:
		bad(".token_url: it holds a user; set %s.client_id and %s.client_secret", prefix, prefix)
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		bad(".token_url: %q does not begin with http:// or https:// and a host", schemas.PublicAddress(o.TokenURL))
	case u.Scheme == "http" && o.TLS.On():
		bad(".token_url: it begins with http://, but %s.tls is set: write https://", prefix)
	}
	if o.ClientID == "" {
		bad(".client_id: missing")
	}
	if o.ClientSecret == "" && o.ClientSecretFile == "" {
		bad(".client_secret: missing, as is %s.client_secret_file", prefix)
	}
	errs = append(errs, CheckSecret(prefix+".client_secret", o.ClientSecret, prefix+".client_secret_file", o.ClientSecretFile), o.TLS.Validate(prefix+".tls"))
	return errors.Join(errs...)
}

const (
	// tokenTimeout bounds one question to the endpoint.
	tokenTimeout = 10 * time.Second
	// tokenLife is how long a token is used whose endpoint does not say when it expires.
	tokenLife = time.Minute
	// tokenPause is how long a failure is the answer for all who ask: many connections are opened
	// at once, and endpoints lock those out who fail often.
	tokenPause = 2 * time.Second
	// tokenTrial is how old a token is at least that is replaced because it was refused: a newer one
	// is not refused for its age, and the endpoint is not to be asked for each connection.
	tokenTrial = 10 * time.Second
)

// Tokens gives access tokens. One token serves all who ask, until four fifths of its life have
// passed, or until it is refused; then a new one is fetched, with the secret that is in force then.
// While one asks the endpoint, which may be slow, the others get the token that is still in force.
// It is safe for concurrent use.
type Tokens struct {
	cfg    OAuth
	prefix string
	secret Source
	client *http.Client

	turn chan struct{} // holds the one who may ask the endpoint, who alone uses what follows, but for reading token

	endpoint *clientcredentials.Config // made anew when the secret has changed
	token    atomic.Pointer[token]     // the last one; nil before the first
	failed   error                     // what the endpoint said last
	retry    time.Time                 // when it is asked again after that
}

// token is a token with its times.
type token struct {
	text    string
	asked   time.Time
	renew   time.Time // when a new one is fetched
	expires time.Time
	refused atomic.Bool // a new one is fetched before
}

// good tells whether a token serves without asking for a new one.
func (t *token) good(now time.Time) bool { return t != nil && now.Before(t.renew) && !t.refused.Load() }

// inForce tells whether a token has not expired.
func (t *token) inForce(now time.Time) bool { return t != nil && now.Before(t.expires) }

// Tokens returns what gives tokens. prefix is where the fields stand, for errors. Nothing is
// fetched yet.
func (o OAuth) Tokens(prefix string) *Tokens {
	transport := o.TLS.Transport(prefix + ".tls")
	transport.DisableKeepAlives = true // a token lasts longer than an idle connection
	return &Tokens{
		cfg: o, prefix: prefix, turn: make(chan struct{}, 1), secret: From(prefix+".client_secret", o.ClientSecret, prefix+".client_secret_file", o.ClientSecretFile),
		client: &http.Client{Timeout: tokenTimeout, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a redirect would carry the secret elsewhere
		}},
	}
}

// ClientID is whom the tokens are for.
func (t *Tokens) ClientID() string { return t.cfg.ClientID }

// URL is where the tokens come from.
func (t *Tokens) URL() string { return t.cfg.TokenURL }

// Token returns a token that is in force. The error is one sentence that names the key to mend,
// without secrets and without what the endpoint's pages say.
func (t *Tokens) Token(ctx context.Context) (string, error) {
	if held := t.token.Load(); held.good(time.Now()) {
		return held.text, nil
	}
	select {
	case t.turn <- struct{}{}:
	default:
		if held := t.token.Load(); held.inForce(time.Now()) && !held.refused.Load() {
			return held.text, nil
		}
		select {
		case t.turn <- struct{}{}:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	defer func() { <-t.turn }()
	now, held := time.Now(), t.token.Load()
	if held.good(now) {
		return held.text, nil
	}
	err := t.failed
	if err == nil || !now.Before(t.retry) {
		if err = t.fetch(ctx); err == nil {
			t.failed = nil
			return t.Used(), nil
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		t.failed, t.retry = err, time.Now().Add(tokenPause)
	}
	if held.inForce(now) { // the endpoint is away; the token may still open doors
		return held.text, nil
	}
	return "", err
}

// Used returns the token that was given last; "" if none was. It is for hiding it.
func (t *Tokens) Used() string {
	if held := t.token.Load(); held != nil {
		return held.text
	}
	return ""
}

// Refused is told that a server does not take the token that was given last: it may have been revoked,
// or the keys changed that tokens are signed with. Unless it is a new one, the next who asks gets another.
func (t *Tokens) Refused() {
	if held := t.token.Load(); held != nil && time.Since(held.asked) >= tokenTrial {
		held.refused.Store(true)
	}
}

// fetch asks the endpoint. The caller has the turn.
func (t *Tokens) fetch(ctx context.Context) error {
	secret, err := t.secret()
	if err != nil {
		return err
	}
	if t.endpoint == nil || t.endpoint.ClientSecret != secret {
		t.endpoint = &clientcredentials.Config{ClientID: t.cfg.ClientID, ClientSecret: secret, TokenURL: t.cfg.TokenURL, Scopes: t.cfg.Scopes}
		if t.cfg.Audience != "" {
			t.endpoint.EndpointParams = url.Values{"audience": {t.cfg.Audience}}
		}
	}
	asked := time.Now()
	got, err := t.endpoint.Token(context.WithValue(ctx, oauth2.HTTPClient, t.client))
	if err != nil {
		return t.explain(err, secret)
	}
	if strings.ContainsFunc(got.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%s.token_url: %s gives a token that is not printable ASCII", t.prefix, schemas.PublicAddress(t.cfg.TokenURL))
	}
	life := tokenLife
	if !got.Expiry.IsZero() {
		life = got.Expiry.Sub(asked)
	}
	if life <= 0 {
		return fmt.Errorf("%s.token_url: %s gives a token that has expired already", t.prefix, schemas.PublicAddress(t.cfg.TokenURL))
	}
	t.token.Store(&token{text: got.AccessToken, asked: asked, renew: asked.Add(life / 5 * 4), expires: asked.Add(life)})
	return nil
}

// explain says in one sentence what went wrong with the endpoint.
func (t *Tokens) explain(err error, secret string) error {
	where := fmt.Sprintf("%s.token_url: %s", t.prefix, schemas.PublicAddress(t.cfg.TokenURL))
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		status := 0
		if answer.Response != nil {
			status = answer.Response.StatusCode
		}
		said := fmt.Sprintf("answers %d", status)
		if answer.ErrorCode != "" { // of RFC 6749, section 5.2
			reason := answer.ErrorCode
			if answer.ErrorDescription != "" {
				reason += ": " + answer.ErrorDescription
			}
			said += fmt.Sprintf(" (%s)", Excerpt(reason, secret))
		}
		switch {
		case answer.ErrorCode == "invalid_scope":
			return fmt.Errorf("%s %s: mend %s.scopes", where, said, t.prefix)
		case status == http.StatusUnauthorized, status == http.StatusForbidden, answer.ErrorCode == "invalid_client", answer.ErrorCode == "unauthorized_client":
			return fmt.Errorf("%s %s: is %s.client_id %q wrong, or %s?", where, said, t.prefix, t.cfg.ClientID, t.secretKey())
		case status >= 300 && status < 400:
			return fmt.Errorf("%s %s, a redirect, which is not followed with a secret: write the address that it leads to", where, said)
		case status >= 500:
			return fmt.Errorf("%s %s", where, said)
		}
		return fmt.Errorf("%s %s: is it the address of a token endpoint, and are %s.scopes and audience right?", where, said, t.prefix)
	}
	if failed, ok := errors.AsType[*url.Error](err); ok { // its own text has the whole address
		return fmt.Errorf("%s: %w", where, failed.Err)
	}
	return fmt.Errorf("%s answers with something that is no token: is it the address of a token endpoint?", where)
}

// secretKey is the key that the secret is set by.
func (t *Tokens) secretKey() string {
	if t.cfg.ClientSecretFile != "" {
		return t.prefix + ".client_secret_file"
	}
	return t.prefix + ".client_secret"
}

// maxExcerpt bounds what is repeated of what a server says, in bytes.
const maxExcerpt = 200

// Excerpt returns the beginning of what a server says, on one line, without the secrets, which it
// may repeat.
func Excerpt(text string, secrets ...string) string {
	return printable.Clip(schemas.HideSecrets(strings.Join(strings.Fields(text), " "), nil, secrets), maxExcerpt)
}
