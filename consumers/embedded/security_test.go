package embedded_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/millrace/millrace/consumers/embedded"
	"github.com/millrace/millrace/consumers/kafkatest"
)

// TestSecurity: clients come in over TLS with the right password alone, may do what ACLs say, and
// the broker, a client of itself, keeps its logs within their bounds; also after a restart with
// other passwords.
func TestSecurity(t *testing.T) {
	authority, err := kafkatest.NewAuthority()
	require.NoError(t, err)
	chain, key, err := authority.Issue("broker", "127.0.0.1", "broker.test")
	require.NoError(t, err)
	pair, err := tls.X509KeyPair(chain, key)
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM(authority.PEM()))

	cfg := testConfig(t)
	cfg.RetentionCheckInterval = 10 * time.Millisecond
	cfg.Security = embedded.Security{
		TLS: &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted, MinVersion: tls.VersionTLS13},
		Users: []embedded.User{
			{Mechanism: embedded.Plain, Name: "boss", Password: "b", Super: true},
			{Mechanism: embedded.ScramSHA256, Name: "reader", Password: "r256"},
			{Mechanism: embedded.ScramSHA512, Name: "reader", Password: "r512"},
		},
		ACLs: true, Lifetime: 30 * time.Second,
	}
	addr, stop := start(t, cfg)
	client := func(mechanism sasl.Mechanism) *kgo.Client {
		return newClient(t, addr, kgo.SASL(mechanism), kgo.DialTLSConfig(&tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}),
			kgo.DefaultProduceTopic("t"), kgo.RequestRetries(0), kgo.UnknownTopicRetries(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	}
	boss := client(plain.Auth{User: "boss", Pass: "b"}.AsMechanism())
	createTopic(t, boss, 1, "t", map[string]string{"retention.bytes": "4096"})
	for range 20 {
		require.NoError(t, boss.ProduceSync(t.Context(), kgo.StringRecord(strings.Repeat("x", 1024))).FirstErr())
	}
	require.Eventually(t, func() bool {
		starts, err := kadm.NewClient(boss).ListStartOffsets(t.Context(), "t")
		at, _ := starts.Lookup("t", 0)
		return err == nil && at.Offset > 0
	}, 30*time.Second, 10*time.Millisecond, "the broker keeps the log within its bound")

	reader := client(scram.Auth{User: "reader", Pass: "r512"}.AsSha512Mechanism())
	require.ErrorIs(t, reader.ProduceSync(t.Context(), kgo.StringRecord("forbidden")).FirstErr(), kerr.TopicAuthorizationFailed)
	acls := kadm.NewACLs().Allow("User:reader").AllowHosts().Topics("t").ResourcePatternType(kmsg.ACLResourcePatternTypeLiteral).Operations(kmsg.ACLOperationWrite)
	created, err := kadm.NewClient(boss).CreateACLs(t.Context(), acls)
	require.NoError(t, err)
	for _, c := range created {
		require.NoError(t, c.Err)
	}
	reader = client(scram.Auth{User: "reader", Pass: "r256"}.AsSha256Mechanism())
	require.NoError(t, reader.ProduceSync(t.Context(), kgo.StringRecord("allowed")).FirstErr())

	ping := func(mechanism sasl.Mechanism) error { return client(mechanism).Ping(t.Context()) }
	for range 2 {
		require.ErrorIs(t, ping(plain.Auth{User: "boss", Pass: "wrong"}.AsMechanism()), kerr.SaslAuthenticationFailed)
		require.ErrorIs(t, ping(plain.Auth{User: "nobody", Pass: "b"}.AsMechanism()), kerr.SaslAuthenticationFailed)
	}
	require.Error(t, ping(scram.Auth{User: "reader", Pass: "wrong"}.AsSha256Mechanism()))
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.Error(t, embedded.Ping(short, addr), "plain text is not taken")

	stop()
	require.FileExists(t, filepath.Join(cfg.Dir, "sasl.json"), "which the next start forgets")
	cfg.Security.Users[0].Password = "c"
	addr, _ = start(t, cfg)
	require.ErrorIs(t, ping(plain.Auth{User: "boss", Pass: "b"}.AsMechanism()), kerr.SaslAuthenticationFailed)
	require.NoError(t, ping(plain.Auth{User: "boss", Pass: "c"}.AsMechanism()))
	reader = client(scram.Auth{User: "reader", Pass: "r512"}.AsSha512Mechanism())
	require.NoError(t, reader.ProduceSync(t.Context(), kgo.StringRecord("still allowed")).FirstErr())
}

func TestSecurityThatCannotBe(t *testing.T) {
	cfg := testConfig(t)
	cfg.Security = embedded.Security{TLS: &tls.Config{MinVersion: tls.VersionTLS13}, ACLs: true}
	require.ErrorContains(t, cfg.Validate(), "security.tls must have a certificate")
	require.ErrorContains(t, cfg.Validate(), "security.acls needs users")
	cfg.Security.Users = []embedded.User{{Mechanism: "GSSAPI", Name: "u", Password: "p"}}
	require.ErrorContains(t, cfg.Validate(), "security.users[0]")
}
