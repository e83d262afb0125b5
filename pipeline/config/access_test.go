package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// What is not safe is warned of once, by the key that mends it; what stays on this machine is not.
func TestPlainTextOverANetworkIsWarnedOf(t *testing.T) {
	warnings := func(set ...string) string {
		cfg, err := Load("", nil, set)
		require.NoError(t, err)
		var out bytes.Buffer
		cfg.WarnPlainText(zerolog.New(&out))
		cfg.WarnPlainText(zerolog.New(&out))
		return out.String()
	}
	require.Empty(t, warnings("registry.url=http://localhost:8081"))
	require.Empty(t, warnings("kafka.brokers=kafka.example:9093", "kafka.tls.enabled=true", "registry.url=https://registry.example"))
	said := warnings("kafka.brokers=127.0.0.1:9092,kafka.example:9092", "kafka.sasl.mechanism=PLAIN", "kafka.sasl.username=me", "kafka.sasl.password=canary", "registry.url=http://localhost:8081,http://registry.example/canary")
	require.Equal(t, 2, strings.Count(said, "\n"), said)
	require.Contains(t, said, `"service":"Kafka","address":"kafka.example:9092","key":"kafka.tls.enabled","message":"the password or token travels in plain text`)
	require.Contains(t, said, `"service":"the Schema Registry","address":"registry.example:80","key":"registry.url"`)
	require.NotContains(t, said, "canary")
	require.Contains(t, warnings("kafka.tls.insecure_skip_verify=true"), `"key":"kafka.tls.insecure_skip_verify"`)
}

func TestFilesOfAccessAreChecked(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	require.NoError(t, Default().CheckFiles())
	cfg, err := Load("", nil, []string{
		"kafka.tls.ca_file=" + empty, "kafka.sasl.mechanism=PLAIN", "kafka.sasl.username=me", "kafka.sasl.password_file=" + empty,
		"registry.url=https://x", "registry.username=me", "registry.password_file=" + dir,
		"clickhouse.tls.ca_file=" + empty, "clickhouse.password_file=" + filepath.Join(dir, "nowhere"),
	})
	require.NoError(t, err)
	err = cfg.CheckFiles()
	for _, want := range []string{
		"clickhouse.tls.ca_file: " + empty + " is empty", "clickhouse.password_file: stat " + filepath.Join(dir, "nowhere"),
		"kafka.tls.ca_file: " + empty + " is empty", "kafka.sasl.password_file: " + empty + ": empty", "registry.password_file: " + dir + " is a directory",
	} {
		require.ErrorContains(t, err, want)
	}
	cfg, err = Load("", nil, []string{"kafka.tls.cert_file=" + empty})
	require.ErrorContains(t, err, "kafka.tls.key_file: missing")
	require.NoError(t, cfg.CheckFiles(), "it is said once")
}

// A process that tries a graph has no secrets.
func TestEnvironmentWithoutSecrets(t *testing.T) {
	require.Equal(t, []string{"HOME=/x", "MILLRACE_KAFKA_BROKERS=a:1", "MILLRACE_NATIVE_DIR=/y"}, WithoutSecrets([]string{
		"HOME=/x", "MILLRACE_KAFKA_SASL_PASSWORD=canary", "MILLRACE_KAFKA_BROKERS=a:1", "MILLRACE_KAFKA_SASL_OAUTH_CLIENT_SECRET=canary",
		"MILLRACE_REGISTRY_PASSWORD=canary", "MILLRACE_CLICKHOUSE_PASSWORD=canary", "MILLRACE_NATIVE_DIR=/y",
	}))
}

// Every key of access can be given by the environment, lists and mappings too.
func TestAccessFromTheEnvironment(t *testing.T) {
	cfg, err := Load("", []string{
		"MILLRACE_KAFKA_TLS_ENABLED=true", "MILLRACE_KAFKA_SASL_MECHANISM=OAUTHBEARER", "MILLRACE_KAFKA_SASL_OAUTH_TOKEN_URL=https://x/token",
		"MILLRACE_KAFKA_SASL_OAUTH_CLIENT_ID=me", "MILLRACE_KAFKA_SASL_OAUTH_CLIENT_SECRET=007", "MILLRACE_KAFKA_SASL_OAUTH_SCOPES=api://x/.default,b",
		"MILLRACE_KAFKA_SASL_EXTENSIONS={logicalCluster: lkc-1}", "MILLRACE_KAFKA_SASL_OAUTH_TLS_SERVER_NAME=y",
	}, nil)
	require.NoError(t, err)
	sasl := cfg.Kafka.SASL
	require.Equal(t, "007", string(sasl.OAuth.ClientSecret))
	require.Equal(t, []string{"api://x/.default", "b"}, sasl.OAuth.Scopes)
	require.Equal(t, map[string]string{"logicalCluster": "lkc-1"}, sasl.Extensions)
	require.Equal(t, "y", sasl.OAuth.TLS.ServerName)
	conn := cfg.Kafka.Connection()
	require.NotNil(t, conn.TLS)
	require.True(t, conn.SASL.Exposed())
}
