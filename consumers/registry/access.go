package registry

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/millrace/millrace/schemas/link"
)

// validateAccess reports what makes no sense in how the registry lets this program in.
func (c Config) validateAccess() error {
	var errs []error
	password := c.Password != "" || c.PasswordFile != ""
	if c.Username == "" && password {
		errs = append(errs, errors.New("registry.username: missing, but registry.password or password_file is set"))
	}
	if c.Username != "" && c.OAuth.On() {
		errs = append(errs, errors.New("registry.oauth: registry.username is set too: keep one of them"))
	}
	if c.OAuth.On() {
		errs = append(errs, c.OAuth.Validate("registry.oauth"))
	}
	errs = append(errs, link.CheckSecret("registry.password", c.Password, "registry.password_file", c.PasswordFile), c.TLS.Validate("registry.tls"))
	return errors.Join(errs...)
}

// access gives each question the secret that is in force then. It is safe for concurrent use.
type access struct {
	username string
	password link.Source  // nil: none
	tokens   *link.Tokens // nil: none

	mu   sync.Mutex
	sent []string // the secrets that were sent last, in each form
}

func newAccess(cfg Config) *access {
	a := &access{username: cfg.Username, password: link.From("registry.password", cfg.Password, "registry.password_file", cfg.PasswordFile)}
	if cfg.OAuth.On() {
		a.tokens = cfg.OAuth.Tokens("registry.oauth")
	}
	return a
}

// authorize puts the secret into a question.
func (a *access) authorize(r *http.Request) error {
	switch {
	case a.tokens != nil:
		token, err := a.tokens.Token(r.Context())
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		a.uses(token)
	case a.username != "":
		password := ""
		if a.password != nil {
			var err error
			if password, err = a.password(); err != nil {
				return err
			}
		}
		r.SetBasicAuth(a.username, password)
		a.uses(password, base64.StdEncoding.EncodeToString([]byte(a.username+":"+password)))
	}
	return nil
}

func (a *access) uses(secrets ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent = secrets
}

// used returns the secrets that were sent last.
func (a *access) used() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sent
}

// explain says of a refusal which key mends it.
func (a *access) explain(err error) error {
	answer, ok := errors.AsType[*sr.ResponseError](err)
	if !ok || answer.StatusCode != http.StatusUnauthorized && answer.StatusCode != http.StatusForbidden {
		return err
	}
	if a.tokens != nil && answer.StatusCode == http.StatusUnauthorized {
		a.tokens.Refused()
	}
	keys := "registry.username and registry.password (or password_file), or registry.oauth"
	switch {
	case a.tokens != nil:
		keys = "registry.oauth"
	case a.username != "":
		keys = fmt.Sprintf("registry.username (%q) and registry.password or password_file", a.username)
	}
	return fmt.Errorf("the Schema Registry answers %d: look at %s: %w", answer.StatusCode, keys, err)
}
