package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Security makes the nodes ask their clients, over TLS, who they are, and let them do what ACLs
// allow. Clients log in by PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER at Brokers, or show a
// certificate at Mutual, whose common name is the user. Nodes speak plain text among themselves,
// and whoever uses their addresses, Unguarded, may do everything.
type Security struct {
	Authority *Authority        // of all certificates
	Hosts     []string          // names of the nodes beyond localhost, for those who ask for others
	Users     map[string]string // passwords of PLAIN and SCRAM; they hold no quote and no backslash
	Super     []string          // users who may do everything
	// Lifetime is how long a login lasts, connections.max.reauth.ms; 0 is for ever.
	Lifetime time.Duration
	// Tokens is the URL of the key set (JWKS) that tokens of OAUTHBEARER are signed by; "" takes none.
	Tokens string
	// Issuer is who must have made them, and Audience what they must be for.
	Issuer, Audience string
}

// secure adds what makes a node so to its properties, and writes its certificate.
func (s *Security) secure(n *node, p map[string]string) error {
	p["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
	p["super.users"] = "User:ANONYMOUS" // the nodes
	for _, user := range s.Super {
		p["super.users"] += ";User:" + user
	}
	if n.roles == "controller" {
		return nil
	}
	cert, key, err := s.Authority.Issue("kafka", append([]string{"127.0.0.1", "localhost"}, s.Hosts...)...)
	if err != nil {
		return err
	}
	own, trusted := filepath.Join(n.dir, "node.pem"), filepath.Join(n.dir, "authority.pem")
	err = os.MkdirAll(n.dir, 0o750)
	if err == nil {
		err = errors.Join(os.WriteFile(own, slices.Concat(key, cert), 0o600), os.WriteFile(trusted, s.Authority.PEM(), 0o600))
	}
	if err != nil {
		return fmt.Errorf("certificate of node %d: %w", n.id, err)
	}
	p["listeners"] += ",MUTUAL://" + n.mutual
	p["advertised.listeners"] += ",MUTUAL://" + n.mutual
	p["listener.security.protocol.map"] = "CLIENT:SASL_SSL,MUTUAL:SSL,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT"
	maps.Copy(p, map[string]string{
		"ssl.keystore.type": "PEM", "ssl.keystore.location": own, "ssl.truststore.type": "PEM", "ssl.truststore.location": trusted,
		"listener.name.mutual.ssl.client.auth": "required", "ssl.principal.mapping.rules": `RULE:^CN=([^,]+)$/$1/`,
		"connections.max.reauth.ms": strconv.FormatInt(s.Lifetime.Milliseconds(), 10),
	})
	const client, login = "listener.name.client.", "org.apache.kafka.common.security."
	mechanisms := []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
	var users strings.Builder
	for _, user := range slices.Sorted(maps.Keys(s.Users)) {
		fmt.Fprintf(&users, " user_%s=%q", user, s.Users[user])
	}
	p[client+"plain.sasl.jaas.config"] = login + "plain.PlainLoginModule required" + users.String() + ";"
	p[client+"scram-sha-256.sasl.jaas.config"] = login + "scram.ScramLoginModule required;"
	p[client+"scram-sha-512.sasl.jaas.config"] = login + "scram.ScramLoginModule required;"
	if s.Tokens != "" {
		mechanisms = append(mechanisms, "OAUTHBEARER")
		const bearer = client + "oauthbearer."
		p[bearer+"sasl.jaas.config"] = login + "oauthbearer.OAuthBearerLoginModule required;"
		p[bearer+"sasl.server.callback.handler.class"] = login + "oauthbearer.OAuthBearerValidatorCallbackHandler"
		p[bearer+"sasl.oauthbearer.jwks.endpoint.url"] = s.Tokens
		p[bearer+"sasl.oauthbearer.expected.audience"] = s.Audience
		p[bearer+"sasl.oauthbearer.expected.issuer"] = s.Issuer
		n.java = append(slices.Clone(n.java), "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls="+s.Tokens)
	}
	p[client+"sasl.enabled.mechanisms"] = strings.Join(mechanisms, ",")
	return nil
}

// Unguarded returns the addresses that the nodes use among themselves, not through fronts.
func (c *Cluster) Unguarded() []string {
	addrs := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		addrs[i] = n.broker
	}
	return addrs
}

// Mutual returns the addresses for clients with a certificate of the Authority of Security.
func (c *Cluster) Mutual() []string {
	addrs := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		addrs[i] = n.mutual
	}
	return addrs
}

// SetPassword sets the password of a user for SCRAM-SHA-256 and SCRAM-SHA-512, which every node
// soon knows.
func (c *Cluster) SetPassword(ctx context.Context, user, password string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Unguarded()...))
	if err != nil {
		return fmt.Errorf("set the password of %s: %w", user, err)
	}
	defer cl.Close()
	for _, mechanism := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		set, err := kadm.NewClient(cl).AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: mechanism, Iterations: 4096, Password: password}})
		if err == nil {
			err = set.Error()
		}
		if err != nil {
			return fmt.Errorf("set the password of %s: %w", user, err)
		}
	}
	return nil
}

// KeySetURL returns the URL of a file that holds a key set, for Security.Tokens.
func KeySetURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }
