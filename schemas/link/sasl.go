package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// The mechanisms of SASL, by their names in the IANA registry and in Kafka.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
	OAuthBearer = "OAUTHBEARER"
)

// Mechanisms returns the mechanisms of SASL that there are.
func Mechanisms() []string { return []string{Plain, ScramSHA256, ScramSHA512, OAuthBearer} }

// SASL says as whom a connection is opened. It is on where Mechanism is set.
type SASL struct {
	Mechanism    string            `yaml:"mechanism"` // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER; empty: none
	Username     string            `yaml:"username"`
	Password     Secret            `yaml:"password"`
	PasswordFile string            `yaml:"password_file"` // has the password; read for each connection
	OAuth        OAuth             `yaml:"oauth"`         // of OAUTHBEARER
	Extensions   map[string]string `yaml:"extensions"`    // of OAUTHBEARER, as some services want (RFC 7628, KIP-342)
}

// Validate reports everything that makes no sense, one error each, joined. prefix is where the
// fields stand, such as kafka.sasl. Files are not read.
func (s SASL) Validate(prefix string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(prefix+format, args...)) }
	password := s.Username != "" || s.Password != "" || s.PasswordFile != ""
	switch s.Mechanism {
	case "":
		if password || s.OAuth.On() || len(s.Extensions) > 0 {
			bad(".mechanism: missing, but other keys of %s are set; it is one of %s", prefix, strings.Join(Mechanisms(), ", "))
		}
		return errors.Join(errs...)
	case Plain, ScramSHA256, ScramSHA512:
		if s.Username == "" {
			bad(".username: missing; %s.mechanism is %s", prefix, s.Mechanism)
		}
		if strings.ContainsFunc(s.Username, unicode.IsControl) {
			bad(".username: %q holds control characters", s.Username)
		}
		if s.Password == "" && s.PasswordFile == "" {
			bad(".password: missing, as is %s.password_file; %s.mechanism is %s", prefix, prefix, s.Mechanism)
		}
		if s.OAuth.On() || len(s.Extensions) > 0 {
			bad(".oauth: has no use, and neither have extensions, as %s.mechanism is %s and not %s", prefix, s.Mechanism, OAuthBearer)
		}
	case OAuthBearer:
		errs = append(errs, s.OAuth.Validate(prefix+".oauth"))
		if password {
			bad(".username: has no use, and neither has a password, as %s.mechanism is %s: see %s.oauth", prefix, OAuthBearer, prefix)
		}
		for name, value := range s.Extensions { // RFC 7628, section 3.1
			if name == "auth" || name == "" || strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) {
				bad(".extensions: %q is no name of letters alone, or is auth", name)
			}
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
				bad(".extensions.%s: what is not printable ASCII stands in the value", name)
			}
		}
	default:
		bad(".mechanism: %q is not one of %s", s.Mechanism, strings.Join(Mechanisms(), ", "))
	}
	errs = append(errs, CheckSecret(prefix+".password", s.Password, prefix+".password_file", s.PasswordFile))
	return errors.Join(errs...)
}

// Credentials are what SASL sends. The functions give what is in force now, so they are called for
// each connection.
type Credentials struct {
	Mechanism  string
	Username   string
	Password   Source // of PLAIN and SCRAM
	Tokens     *Tokens
	Extensions map[string]string
	Prefix     string // of the keys, for errors
}

// Credentials returns what SASL sends; nil where it is off. prefix is where the fields stand.
func (s SASL) Credentials(prefix string) *Credentials {
	if s.Mechanism == "" {
		return nil
	}
	c := &Credentials{Mechanism: s.Mechanism, Username: s.Username, Extensions: s.Extensions, Prefix: prefix}
	if s.Mechanism == OAuthBearer {
		c.Tokens = s.OAuth.Tokens(prefix + ".oauth")
	} else {
		c.Password = From(prefix+".password", s.Password, prefix+".password_file", s.PasswordFile)
	}
	return c
}

// Exposed tells whether whoever listens to a connection without TLS learns what lets him in. By
// SCRAM he does not.
func (c *Credentials) Exposed() bool {
	return c != nil && slices.Contains([]string{Plain, OAuthBearer}, c.Mechanism)
}
