package embedded

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// SASL mechanisms of a User.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// Security is what the broker asks of its clients. It is for tests: whoever reads the data
// directory reads the passwords of PLAIN, too. The zero value asks nothing.
type Security struct {
	// TLS is of the listener; nil is plain text. Its first certificate must be good for servers
	// and for clients where client certificates are asked for: the broker is a client of itself.
	TLS *tls.Config
	// Users may log in, and are all who may; none is nobody asked who he is.
	Users []User
	// ACLs lets users do what Kafka's ACLs allow, which a super user creates. Without, users
	// may do everything.
	ACLs bool
	// Lifetime is how long a login lasts, connections.max.reauth.ms; 0 is for ever.
	Lifetime time.Duration
}

// User is one way for a user to log in.
type User struct {
	Mechanism, Name, Password string
	Super                     bool // ACLs do not hold for it
}

func (s Security) validate() error {
	var errs []error
	if s.TLS != nil && len(s.TLS.Certificates) == 0 {
		errs = append(errs, errors.New("security.tls must have a certificate"))
	}
	if s.ACLs && len(s.Users) == 0 {
		errs = append(errs, errors.New("security.acls needs users"))
	}
	for i, u := range s.Users {
		if !slices.Contains([]string{Plain, ScramSHA256, ScramSHA512}, u.Mechanism) || u.Name == "" || u.Password == "" || u.Name == self {
			errs = append(errs, fmt.Errorf("security.users[%d] must have a mechanism, a name and a password, and not be %s", i, self))
		}
	}
	return errors.Join(errs...)
}

// self is the name that the broker's own client logs in by.
const self = "millrace-embedded"

// guard is Security as the broker and its own client use it.
type guard struct {
	Security
	password string // of self
}

// newGuard forgets the users that a broker had before in dir, with passwords that were changed
// since: the configuration says who they are.
func newGuard(s Security, dir string) (guard, error) {
	g := guard{s, rand.Text()}
	if len(s.Users) == 0 {
		return g, nil
	}
	if err := os.Remove(filepath.Join(dir, "sasl.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return g, fmt.Errorf("embedded kafka: forget the users of before: %w", err)
	}
	return g, nil
}

// broker are the broker's options. TLS is not among them: it ends in front of amended.
func (g guard) broker() (opts []kfake.Opt) {
	if len(g.Users) > 0 {
		opts = append(opts, kfake.EnableSASL(), kfake.Superuser(Plain, self, g.password))
	}
	for _, u := range g.Users {
		as := func(mechanism, user, password string) kfake.Opt { return kfake.User(mechanism, user, password) }
		if u.Super {
			as = kfake.Superuser
		}
		opts = append(opts, as(u.Mechanism, u.Name, u.Password))
	}
	if g.ACLs {
		opts = append(opts, kfake.EnableACLs())
	}
	if g.Lifetime > 0 {
		opts = append(opts, kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": strconv.FormatInt(g.Lifetime.Milliseconds(), 10)}))
	}
	return opts
}

// client are the options of the broker's own client, which trusts the broker's own certificate.
func (g guard) client(addr string) ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(addr)}
	if g.TLS != nil {
		own := g.TLS.Certificates[0]
		leaf, err := x509.ParseCertificate(own.Certificate[0])
		if err != nil {
			return nil, fmt.Errorf("embedded kafka: its own certificate: %w", err)
		}
		trust := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: g.TLS.Certificates[:1], MinVersion: tls.VersionTLS12}
		trust.RootCAs.AddCert(leaf)
		if len(leaf.DNSNames) > 0 {
			trust.ServerName = leaf.DNSNames[0]
		}
		opts = append(opts, kgo.DialTLSConfig(trust))
	}
	if len(g.Users) > 0 {
		opts = append(opts, kgo.SASL(plain.Auth{User: self, Pass: g.password}.AsMechanism()))
	}
	return opts, nil
}

// attend answers a wrong user or password of PLAIN as Apache Kafka does. kfake ends the connection
// without a word, and does so for a wrong password of SCRAM, too, which cannot be told here.
func (g guard) attend(cluster *kfake.Cluster) {
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := request.(*kmsg.SASLAuthenticateRequest)
		part := bytes.Split(req.SASLAuthBytes, []byte{0})
		if len(part) != 3 { // SCRAM's messages have no zero byte
			return nil, nil, false
		}
		user, password := string(part[1]), string(part[2])
		if user == self && password == g.password || slices.ContainsFunc(g.Users, func(u User) bool {
			return u.Mechanism == Plain && u.Name == user && u.Password == password
		}) {
			return nil, nil, false // as if nothing had been done
		}
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode, resp.ErrorMessage = kerr.SaslAuthenticationFailed.Code, new("Authentication failed: Invalid username or password")
		return resp, nil, true
	})
}
