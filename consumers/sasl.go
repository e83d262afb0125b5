package consumers

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/millrace/millrace/schemas/link"
)

// mechanism authenticates a connection with the secrets that are in force when it is opened, and
// again when the broker wants it to be renewed (KIP-368).
//
// Passwords are sent and hashed as they are. RFC 5802 prepares them by SASLprep, but Kafka does
// not, nor do its Java client and librdkafka.
type mechanism struct{ c Connection }

// Name implements sasl.Mechanism.
func (m mechanism) Name() string { return m.c.SASL.Mechanism }

// Authenticate implements sasl.Mechanism.
func (m mechanism) Authenticate(ctx context.Context, broker string) (sasl.Session, []byte, error) {
	inner, err := m.now(ctx)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, nil, m.c.refuse(broker, "not authenticated: %v", err)
	}
	session, first, err := inner.Authenticate(ctx, broker)
	if err != nil {
		return nil, nil, m.c.refuse(broker, "not authenticated by %s: %v", m.Name(), err)
	}
	return &challenged{session, m.c, broker}, first, nil
}

// now returns the client's mechanism with the present secrets.
func (m mechanism) now(ctx context.Context) (sasl.Mechanism, error) {
	s := m.c.SASL
	if s.Mechanism == link.OAuthBearer {
		token, err := s.Tokens.Token(ctx)
		return oauth.Auth{Token: token, Extensions: s.Extensions}.AsMechanism(), err
	}
	password, err := s.Password()
	switch s.Mechanism {
	case link.ScramSHA256:
		return scram.Auth{User: s.Username, Pass: password}.AsSha256Mechanism(), err
	case link.ScramSHA512:
		return scram.Auth{User: s.Username, Pass: password}.AsSha512Mechanism(), err
	default:
		return plain.Auth{User: s.Username, Pass: password}.AsMechanism(), err
	}
}

// challenged is a session whose errors speak of configuration.
type challenged struct {
	sasl.Session
	c      Connection
	broker string
}

// Challenge implements sasl.Session.
func (s *challenged) Challenge(challenge []byte) (done bool, answer []byte, err error) {
	if done, answer, err = s.Session.Challenge(challenge); err == nil {
		return done, answer, nil
	}
	if s.c.SASL.Mechanism == link.OAuthBearer { // RFC 7628, section 3.2.2
		var said struct {
			Status string `json:"status"`
		}
		_ = json.Unmarshal(challenge, &said) // what cannot be read is not repeated
		return false, nil, s.c.unauthenticated(s.broker, said.Status)
	}
	// The error would repeat what the password has been hashed to.
	return false, nil, s.c.refuse(s.broker, "its part of %s is wrong: it does not know the password of user %q itself, or is not what it seems to be", s.c.SASL.Mechanism, s.c.SASL.Username)
}

// unauthenticated says that a broker does not take the credentials. said is its own reason, if any.
func (c Connection) unauthenticated(broker, said string) error {
	s := c.SASL
	if s.Mechanism == link.OAuthBearer {
		s.Tokens.Refused()
		return c.refuse(broker, "it refuses the token of client %q by %s%s: are %s.oauth.client_id, scopes and audience those that it takes?",
			s.Tokens.ClientID(), s.Mechanism, because(said, s.Tokens.Used()), s.Prefix)
	}
	password, _ := s.Password() // to hide it; it is what has been sent, or about to be told of
	return c.refuse(broker, "it refuses user %q by %s%s: is %s.username wrong, or the password (%s.password or password_file)?",
		s.Username, s.Mechanism, because(said, password), s.Prefix, s.Prefix)
}

// because is the reason that a broker gives, without the secret.
func because(said, secret string) string {
	if said == "" {
		return ""
	}
	return fmt.Sprintf(" (it says %q)", link.Excerpt(said, secret))
}
