package pipeline_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas/link"
)

// login is a way to log in whose credentials lie in files. mend writes the right ones.
type login struct {
	name    string
	set     []string
	refused string // what is said while they are wrong
	mend    func()
}

// logins returns all that the Kafka has, with wrong credentials, for a user app.
func (s *securedKafka) logins(user string) (all []login) {
	s.Helper()
	right := passwordOf(user)
	file := func(name string) string { return filepath.Join(s.dir, name) }
	trust := "kafka.tls.ca_file=" + file("authority.pem")
	for _, mechanism := range []string{link.Plain, link.ScramSHA256, link.ScramSHA512} {
		at := mechanism + "-password"
		s.write(at, "canary of a wrong password")
		all = append(all, login{
			mechanism,
			[]string{trust, "kafka.sasl.mechanism=" + mechanism, "kafka.sasl.username=" + user, "kafka.sasl.password_file=" + file(at)},
			`it refuses user "` + user + `" by ` + mechanism, func() { s.write(at, right) },
		})
	}
	if s.apache == nil { // the embedded one knows neither tokens nor whose a certificate is
		return all
	}
	const secret, forged = "canary of a client's secret", "canary of a forger's secret"
	s.tokens.secrets.Store(user, secret)
	s.tokens.secrets.Store("forger", forged)
	s.write("client-secret", "canary of a wrong client's secret")
	oauth := []string{trust, "kafka.sasl.mechanism=" + link.OAuthBearer, "kafka.sasl.oauth.token_url=" + s.tokens.URL, "kafka.sasl.oauth.scopes=kafka"}
	all = append(all, login{
		link.OAuthBearer, append(slices.Clip(oauth), "kafka.sasl.oauth.client_id="+user, "kafka.sasl.oauth.client_secret_file="+file("client-secret")),
		"answers 401 (invalid_client)", func() { s.write("client-secret", secret) },
	}, login{
		"forged token", append(slices.Clip(oauth), "kafka.sasl.oauth.client_id=forger", "kafka.sasl.oauth.client_secret="+forged),
		`it refuses the token of client "forger" by OAUTHBEARER`, nil,
	})
	certify := func(a *kafkatest.Authority) {
		cert, key, err := a.Issue(user)
		require.NoError(s, err)
		s.write("client.pem", string(cert))
		s.write("client-key.pem", string(key))
	}
	other, err := kafkatest.NewAuthority()
	require.NoError(s, err)
	certify(other)
	mutual := []string{"kafka.brokers=" + strings.Join(s.apache.Mutual(), ","), trust}
	return append(all, login{
		"mutual TLS", append(slices.Clip(mutual), "kafka.tls.cert_file="+file("client.pem"), "kafka.tls.key_file="+file("client-key.pem")),
		"it refuses the client certificate of kafka.tls.cert_file", func() { certify(s.authority) },
	}, login{"no certificate", mutual, "it wants a client certificate", nil})
}

// logsIn shows that by each mechanism all roles and commands work. With wrong credentials a command
// fails at once, in one sentence; a role says the sentence and goes on trying, until the files are
// mended. A password that is changed on both sides needs no restart. No output holds a secret.
func (s *securedKafka) logsIn(user string) {
	s.Helper()
	said := &logs{}
	for _, l := range s.logins(user) {
		began := time.Now()
		cfg := s.config(append(l.set, "kafka.client_id="+user)...)
		_, err := operate.CheckTopics(s.Context(), cfg)
		fmt.Fprintln(said, err)
		require.ErrorContains(s, err, l.refused, l.name)
		require.NotContains(s, err.Error(), "\n")
		if l.mend == nil {
			continue
		}
		out := &logs{}
		run := s.run(pipeline.New(cfg, zerolog.New(out)))
		s.refused(l, out, 1)
		l.mend()
		s.predict(cfg, out)
		if l.name == link.ScramSHA512 {
			before := s.refusals(l, out)
			s.changePassword(user, "secret of another kind")
			s.refused(l, out, before+1) // the login has lasted long enough
			s.write(l.name+"-password", "secret of another kind")
			s.predict(cfg, out)
		}
		s.eventually("all is stored", func() (string, bool) {
			lag := s.lag(s.cfg.Recorder.Group, s.cfg.Topics.Observations)
			return strconv.FormatInt(lag, 10), lag == 0
		})
		run.drain()
		fmt.Fprintln(said, out.all())
		s.Logf("%s: %s", l.name, time.Since(began).Round(time.Millisecond))
	}
	for _, text := range []string{said.all(), s.logs.all()} {
		for _, secret := range []string{"canary", "secret of", "PRIVATE KEY", "eyJ"} {
			require.NotContains(s, text, secret)
		}
	}
}

// refusals counts how often a log says that a login was refused.
func (s *securedKafka) refusals(l login, out *logs) int {
	return strings.Count(out.all(), strings.ReplaceAll(l.refused, `"`, `\"`))
}

func (s *securedKafka) refused(l login, out *logs, times int) {
	s.Helper()
	s.eventually("the roles say that they are refused", func() (string, bool) { return "", s.refusals(l, out) >= times })
}

// changePassword gives a user another password by SCRAM.
func (s *securedKafka) changePassword(user, password string) {
	s.Helper()
	for _, mechanism := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		altered, err := s.boss.AlterUserSCRAMs(s.Context(), nil, []kadm.UpsertSCRAM{{User: user, Mechanism: mechanism, Iterations: 4096, Password: password}})
		require.NoError(s, err)
		require.NoError(s, altered.Error())
	}
}

// predict asks one request, and requires an answer.
func (s *securedKafka) predict(cfg config.Config, out *logs) {
	s.Helper()
	request := catalogtest.Fare{At: catalogtest.Epoch, Price: 1, Count: 1, Carrier: "AA"}.JSON()
	require.NoError(s, operate.Predict(s.Context(), cfg, "fares", [][]byte{request}, patience, out))
}
