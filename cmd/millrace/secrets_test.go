package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/schemas/link/linktest"
)

// No command shows a secret, be it right or wrong, from the environment, a file, or the
// configuration, and whatever becomes of the command. Wrong ones end it with one sentence.
func TestNoOutputHoldsASecret(t *testing.T) {
	dir := t.TempDir()
	ca := linktest.NewAuthority(t, "authority")
	caFile := linktest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM)
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "me", "canary-right"), kfake.Superuser("SCRAM-SHA-512", "me", "canary-right"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{ca.Sign(t, linktest.For("127.0.0.1")).Pair()}, MinVersion: tls.VersionTLS12}))
	require.NoError(t, err)
	defer broker.Close()
	addr := broker.ListenAddrs()[0]
	broker.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		return req.ResponseKind(), nil, req.(*kmsg.SASLHandshakeRequest).Mechanism == "OAUTHBEARER" // which it does not have
	})
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, "<html>", r.Header, r.FormValue("client_secret"), "canary")
	}))
	defer endpoint.Close()
	catalogtest.Install(t, filepath.Join(dir, "models"), catalogtest.Fares)
	common := []string{
		"MILLRACE_KAFKA_BROKERS=" + addr, "MILLRACE_KAFKA_TLS_CA_FILE=" + caFile, "MILLRACE_MODELS_REPOSITORY=" + dir + "/models",
		"MILLRACE_HTTP_ADDR=", "MILLRACE_LOG_LEVEL=debug", "MILLRACE_CLICKHOUSE_ADDR=127.0.0.1:1", "MILLRACE_CLICKHOUSE_PASSWORD=canary-clickhouse",
		"MILLRACE_REGISTRY_URL=" + endpoint.URL + "/canary-path", "MILLRACE_REGISTRY_USERNAME=me", "MILLRACE_REGISTRY_PASSWORD=canary-registry",
		"MILLRACE_MONITOR_REPORTS_DIR=" + dir,
	}
	refused := "broker " + addr + `: it refuses user "me" by `
	wrongFile := linktest.Write(t, filepath.Join(dir, "wrong"), []byte("canary-wrong\n"))
	for name, tc := range map[string]struct {
		set  []string
		code int
		want string
	}{
		"right":            {[]string{"MILLRACE_KAFKA_SASL_MECHANISM=PLAIN", "MILLRACE_KAFKA_SASL_USERNAME=me", "MILLRACE_KAFKA_SASL_PASSWORD=canary-right"}, 0, ""},
		"wrong":            {[]string{"MILLRACE_KAFKA_SASL_MECHANISM=PLAIN", "MILLRACE_KAFKA_SASL_USERNAME=me", "MILLRACE_KAFKA_SASL_PASSWORD=canary-wrong"}, 1, refused + "PLAIN"},
		"wrong, in a file": {[]string{"MILLRACE_KAFKA_SASL_MECHANISM=SCRAM-SHA-512", "MILLRACE_KAFKA_SASL_USERNAME=me", "MILLRACE_KAFKA_SASL_PASSWORD_FILE=" + wrongFile}, 1, refused + "SCRAM-SHA-512"},
		"no token": {[]string{
			"MILLRACE_KAFKA_SASL_MECHANISM=OAUTHBEARER", "MILLRACE_KAFKA_SASL_OAUTH_CLIENT_ID=me", "MILLRACE_KAFKA_SASL_OAUTH_CLIENT_SECRET=canary-oauth",
			"MILLRACE_KAFKA_SASL_OAUTH_TOKEN_URL=" + endpoint.URL + "/token?tenant=canary-tenant",
		}, 1, "kafka.sasl.oauth.token_url: " + endpoint.URL + `/… answers 401: is kafka.sasl.oauth.client_id "me" wrong, or kafka.sasl.oauth.client_secret?`},
		"not valid": {[]string{
			"MILLRACE_KAFKA_SASL_MECHANISM=canary?", "MILLRACE_KAFKA_SASL_OAUTH_CLIENT_SECRET=canary\nx", "MILLRACE_KAFKA_SASL_PASSWORD=canary-both", "MILLRACE_KAFKA_SASL_PASSWORD_FILE=" + wrongFile,
			"MILLRACE_KAFKA_SASL_OAUTH_TOKEN_URL=http://me:canary-url@x/", "MILLRACE_MONITOR_REPORTS_URL=ftp://me:canary-url@x/",
		}, 2, "kafka.sasl.password_file: kafka.sasl.password is set too: keep one of them"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, s := range append(common, tc.set...) {
				key, value, _ := strings.Cut(s, "=")
				t.Setenv(key, value)
			}
			for _, line := range []string{
				"topics apply", "topics check", "check", "predict fares {} --timeout 20s", "offsets show --group g --topic millrace.feedback",
				"deadletters list", "alerts parked", "verify", "check --set kafka.sasl.passwort=canary-set", "topics check --set kafka.sasl.password",
			} {
				if tc.code == 0 && strings.HasPrefix(line, "predict") {
					continue // nobody answers
				}
				code, stdout, stderr := millrace(t, strings.Fields(line)...)
				require.NotContains(t, strings.ReplaceAll(stdout+stderr, "canary?", ""), "canary", line)
				switch {
				case strings.Contains(line, "--set"):
					require.Equal(t, 2, code, stderr)
				case !strings.HasPrefix(line, "check") && (tc.code != 0 || strings.HasPrefix(line, "topics")):
					require.Equal(t, tc.code, code, "%s: %s", line, stderr)
					require.Contains(t, stderr, tc.want, line)
				}
			}
			if tc.code == 2 {
				return
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out, errs output
			ended := make(chan int, 1)
			go func() { ended <- run(ctx, []string{"run", "--set", "drain_timeout=1s"}, &out, &errs) }() // ends with cancel
			want := "does not let this process in"
			if tc.code == 0 {
				want = "ClickHouse" // which is not there
			}
			eventually(t, "the log tells", func() bool { return strings.Contains(errs.String(), want) })
			cancel()
			<-ended
			require.Contains(t, strings.ReplaceAll(errs.String(), `\"`, `"`), tc.want)
			require.NotContains(t, out.String()+errs.String(), "canary")
		})
	}
}

// A value that cannot be read is told by its key and place, and not repeated.
func TestConfigurationThatCannotBeReadHoldsNoSecret(t *testing.T) {
	for _, text := range []string{
		"kafka: {sasl: {password: [canary]}}", "kafka: {sasl: {password: {canary: 1}}}", "kafka:\n  sasl:\n    password: \"canary\n", "kafka:\n  sasl:\n    password: canary: canary\n",
		"kafka: {sasl: {password: &a canary, username: *b}}", "registry: {url: 'https://x', username: me, password: \"canary\\tx\"}",
		"kafka: {sasl: {password: |\n canary\n  canary}}", "kafka: {sasl: {passwort: canary}}", "kafka: {sasl: canary}", "clickhouse: {password: \"canary\\nx\"}",
		"kafka: {brokers: ['me:canary@x:1']}", "registry: {url: 'https://me:canary@x'}", "kafka: {sasl: {oauth: {token_url: ':canary'}}}",
	} {
		path := filepath.Join(t.TempDir(), "millrace.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		code, stdout, stderr := millrace(t, "topics", "check", "--config", path)
		require.Equal(t, 2, code, "%s: %s", text, stderr)
		require.NotContains(t, stdout+stderr, "canary", text)
	}
}
