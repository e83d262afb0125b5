package pipeline_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/embedded"
	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// securedKafka is one that asks for TLS, a login, and what ACLs allow: Apache Kafka where the
// tests run against that, else the embedded one.
type securedKafka struct {
	*harness
	dir       string // of authority.pem, and of a password file for each user
	authority *kafkatest.Authority
	apache    *kafkatest.Cluster // nil: the embedded one
	tokens    *tokenServer       // of Apache Kafka
	brokers   []string
	boss      *kadm.Client // may do everything
	missing   bool         // a grant; a role is not done before it has said so
}

// lifetime is how long a login lasts.
const lifetime = 3 * time.Second

// bossName is a user who may do everything.
const bossName = "boss"

// newSecuredKafka starts one with those users. Its topics are not made.
func newSecuredKafka(t *testing.T, h *harness, users ...string) *securedKafka {
	t.Helper()
	s := &securedKafka{harness: h, dir: t.TempDir()}
	var err error
	s.authority, err = kafkatest.NewAuthority()
	require.NoError(t, err)
	s.write("authority.pem", string(s.authority.PEM()))
	passwords := map[string]string{}
	for _, user := range append(slices.Clone(users), bossName) {
		passwords[user] = passwordOf(user)
		s.write(user, passwords[user]+"\n")
	}
	opts := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}
	if cluster != nil {
		s.fetch(t, passwords)
		opts = append(opts, kgo.SeedBrokers(s.apache.Unguarded()...))
	} else {
		s.embed(t, passwords)
		trusted := x509.NewCertPool()
		require.True(t, trusted.AppendCertsFromPEM(s.authority.PEM()))
		opts = append(opts, kgo.SeedBrokers(s.brokers...), kgo.DialTLSConfig(&tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}),
			kgo.SASL(plain.Auth{User: bossName, Pass: passwords[bossName]}.AsMechanism()))
	}
	cl, err := kgo.NewClient(opts...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	s.boss = kadm.NewClient(cl)
	h.client, h.admin = cl, s.boss
	h.set = append(h.set, "kafka.brokers="+strings.Join(s.brokers, ","))
	h.cfg = h.config(s.as(bossName)...)
	h.reader, err = consumers.NewAdmin(h.cfg.Kafka.Connection())
	require.NoError(t, err)
	t.Cleanup(h.reader.Close)
	return s
}

func passwordOf(user string) string { return "secret of " + user + ",=#$%" }

func (s *securedKafka) write(name, text string) {
	s.Helper()
	require.NoError(s, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
}

// fetch starts Apache Kafka.
func (s *securedKafka) fetch(t *testing.T, passwords map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s.tokens = newTokenServer(t)
	keys := filepath.Join(s.dir, "keys.json")
	require.NoError(t, os.WriteFile(keys, s.tokens.keySet(), 0o600))
	var err error
	s.apache, err = kafkatest.Start(ctx, kafkatest.Config{Nodes: 1, Security: &kafkatest.Security{
		Authority: s.authority, Users: passwords, Super: []string{bossName}, Lifetime: lifetime,
		Tokens: kafkatest.KeySetURL(keys), Issuer: tokenIssuer, Audience: tokenAudience,
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.apache.Close()) })
	s.brokers = s.apache.Brokers()
}

// embed starts the embedded Kafka.
func (s *securedKafka) embed(t *testing.T, passwords map[string]string) {
	t.Helper()
	chain, key, err := s.authority.Issue("kafka", "127.0.0.1")
	require.NoError(t, err)
	pair, err := tls.X509KeyPair(chain, key)
	require.NoError(t, err)
	cfg := embedded.DefaultConfig()
	cfg.Dir, cfg.Listen, cfg.Log = t.TempDir(), "127.0.0.1:0", s.log
	cfg.Security = embedded.Security{TLS: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, ACLs: true, Lifetime: lifetime}
	for user, password := range passwords {
		for _, mechanism := range []string{embedded.Plain, embedded.ScramSHA256, embedded.ScramSHA512} {
			cfg.Security.Users = append(cfg.Security.Users, embedded.User{Mechanism: mechanism, Name: user, Password: password, Super: user == bossName})
		}
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- embedded.Serve(ctx, cfg, func(addr string) { ready <- addr }) }() // ends with stop
	select {
	case addr := <-ready:
		s.brokers = []string{addr}
	case err := <-ended:
		ended <- err
	}
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	require.NotEmpty(t, s.brokers)
}

// as returns the settings with which a user reaches it.
func (s *securedKafka) as(user string) []string {
	return []string{
		"kafka.client_id=" + user, "kafka.tls.ca_file=" + filepath.Join(s.dir, "authority.pem"),
		"kafka.sasl.mechanism=PLAIN", "kafka.sasl.username=" + user, "kafka.sasl.password_file=" + filepath.Join(s.dir, user),
	}
}

// grant is one line of the table of ACLs: an operation of one who, on resources of one kind.
type grant struct {
	who       string
	kind      kmsg.ACLResourceType
	name      string // ends with * where it is a prefix
	operation kmsg.ACLOperation
}

func (g grant) String() string {
	return fmt.Sprintf("%s: %s on %s %s", g.who, g.operation, g.kind, g.name)
}

func (g grant) builder(user string) *kadm.ACLBuilder {
	name, prefix := strings.CutSuffix(g.name, "*")
	pattern := kmsg.ACLResourcePatternTypeLiteral
	if prefix {
		pattern = kmsg.ACLResourcePatternTypePrefixed
	}
	b := kadm.NewACLs().Allow("User:" + user).AllowHosts().Operations(g.operation).ResourcePatternType(pattern)
	switch g.kind {
	case kmsg.ACLResourceTypeTopic:
		return b.Topics(name)
	case kmsg.ACLResourceTypeGroup:
		return b.Groups(name)
	case kmsg.ACLResourceTypeTransactionalId:
		return b.TransactionalIDs(name)
	default:
		return b.Clusters()
	}
}

func (s *securedKafka) allow(user string, g grant) {
	s.Helper()
	made, err := s.boss.CreateACLs(s.Context(), g.builder(user))
	require.NoError(s, err)
	for _, r := range made {
		require.NoError(s, r.Err)
	}
}

func (s *securedKafka) forbid(user string, g grant) {
	s.Helper()
	gone, err := s.boss.DeleteACLs(s.Context(), g.builder(user))
	require.NoError(s, err)
	for _, r := range gone {
		require.NoError(s, r.Err)
		require.Len(s, r.Deleted, 1, "%s", g)
	}
}

// grants reads the table of the least ACLs in deploy/README.md. Each is of the roles and commands
// in its first column, for a model fares and an instance test.
func grants(t *testing.T) (all []grant) {
	t.Helper()
	text, err := os.ReadFile("../deploy/README.md")
	require.NoError(t, err)
	_, text, ok := bytes.Cut(text, []byte("| who | on | named | may |\n|---|---|---|---|\n"))
	require.True(t, ok)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		require.Len(t, cells, 4, line)
		kind, err := kmsg.ParseACLResourceType(strings.ReplaceAll(cells[1], " ", "_"))
		require.NoError(t, err, line)
		for name := range strings.SplitSeq(cells[2], ", ") {
			name = strings.NewReplacer("`", "", "<model>", "fares", "<instance>", "test").Replace(name)
			for op := range strings.SplitSeq(cells[3], ", ") {
				operation, err := kmsg.ParseACLOperation(op)
				require.NoError(t, err, line)
				for who := range strings.SplitSeq(cells[0], ", ") {
					all = append(all, grant{strings.Trim(who, "`"), kind, name, operation})
				}
			}
		}
	}
	require.NotEmpty(t, all)
	return all
}

// actor is a role or a command of the table of ACLs.
type actor struct {
	name string // as the table has it
	// do does what needs every grant, and returns why it could not. A role that may not do something
	// says so in its log, and goes on trying.
	do func(s *securedKafka, cfg config.Config, out *logs) error
}

// user is whom the actor logs in as.
func (a actor) user() string { return strings.NewReplacer(" --", "-", " ", "-").Replace(a.name) }

// errForbidden ends an actor that plays a role, and that has said that it may not do something.
var errForbidden = errors.New("it may not do something")

// played is an actor that plays a role until it has done what it is for.
func played(name string, prepare func(s *securedKafka), done func(s *securedKafka) bool) actor {
	return actor{name, func(s *securedKafka, cfg config.Config, out *logs) (failed error) {
		prepare(s)
		cfg.Roles = []config.Role{config.Role(name)}
		ctx, stop := context.WithCancel(s.Context())
		ended := make(chan error, 1)
		go func() { ended <- pipeline.New(cfg, zerolog.New(out)).Run(ctx) }() // ends with stop
		defer func() {
			stop()
			if err := <-ended; failed == nil {
				failed = err
			}
		}()
		s.await(5*time.Millisecond, name+" has done what it is for", func() (string, bool) {
			select {
			case err := <-ended:
				ended <- err
				return "", true
			default:
			}
			if strings.Contains(out.all(), "lacks the ACL") {
				failed = errForbidden
			}
			return out.tail(), failed != nil || !s.missing && done(s)
		})
		return failed
	}}
}

// ask produces requests that drift, the last of which closes their window, and one that is none.
func (s *securedKafka) ask() {
	s.Helper()
	requests := []*kgo.Record{{Value: []byte("{")}}
	for i := range 60 { // which drift; the last one closes their window
		requests = append(requests, &kgo.Record{Value: catalogtest.Fare{At: catalogtest.Epoch.Add(time.Duration(i/59) * 2 * time.Hour), Price: 9, Count: 1, Carrier: "AA"}.JSON()})
	}
	for _, r := range requests {
		r.Topic = s.cfg.Topics.RequestsOf("fares")
	}
	s.produce(requests...)
}

// actors are all of the table's. Each but the first needs what those before it have done.
func actors(hook *receiver) []actor {
	const feedback = "feedback of a request that nobody has sent"
	var answered int64
	return []actor{
		{"topics apply", func(s *securedKafka, cfg config.Config, out *logs) error {
			_, err := s.boss.CreateTopic(s.Context(), 1, 1, nil, cfg.Topics.Feedback) // to be mended
			if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
				return err
			}
			done, err := operate.ApplyTopics(s.Context(), cfg)
			fmt.Fprintln(out, done)
			return err
		}},
		{"topics check", func(s *securedKafka, cfg config.Config, _ *logs) error {
			problems, err := operate.CheckTopics(s.Context(), cfg)
			if err == nil && len(problems) > 0 {
				err = fmt.Errorf("%v", problems)
			}
			return err
		}},
		played("worker", func(s *securedKafka) {
			answered = s.end(s.cfg.Topics.ResultsOf("fares"))
			s.ask()
		}, func(s *securedKafka) bool {
			return s.end(s.cfg.Topics.ResultsOf("fares")) > answered+60 && s.lag(s.cfg.Worker.Group, s.cfg.Topics.RequestsOf("fares")) == 0
		}),
		played("recorder", func(s *securedKafka) {
			s.event(1, "")
			s.produce(&kgo.Record{Topic: s.cfg.Topics.Feedback, Key: []byte(feedback), Value: []byte(`{"model":"fares","label":true}`)})
		}, func(s *securedKafka) bool {
			t := s.cfg.Topics
			return s.unread(s.cfg.Recorder.Group, t.Observations, t.DeadLetters, t.Feedback, t.Events) == 0
		}),
		// It publishes that a window has drifted, and parks an event that its receiver refuses, since
		// that has accepted one before.
		played("monitor", func(s *securedKafka) {
			s.event(1, "")
			s.send(schemas.Receiver{Subscription: "hook", Address: schemas.PublicAddress(hook.URL), At: time.Now()}.Message(s.cfg.Topics.Control))
			hook.answers(http.StatusBadRequest)
		}, func(s *securedKafka) bool {
			return s.unread("millrace-alerts-hook", s.cfg.Topics.Events) == 0 && s.count("SELECT count() FROM millrace.windows WHERE job = 'drift' AND verdict = 'breached'") > 0
		}),
		{"drift run", func(s *securedKafka, cfg config.Config, _ *logs) error {
			again, err := operate.JudgeAgain(s.Context(), cfg, operate.JudgeOptions{Model: "fares"})
			if err == nil && len(again.Windows) == 0 {
				err = errors.New("no window was finished")
			}
			return err
		}},
		{"deadletters list", func(s *securedKafka, cfg config.Config, out *logs) error {
			return operate.ListDeadLetters(s.Context(), cfg, operate.LetterFilter{}, out)
		}},
		{"deadletters replay", func(s *securedKafka, cfg config.Config, _ *logs) error {
			_, err := operate.ReplayDeadLetters(s.Context(), cfg, operate.LetterFilter{})
			return err
		}},
		{"alerts parked", func(s *securedKafka, cfg config.Config, out *logs) error {
			return operate.ListParked(s.Context(), cfg, operate.ParkedFilter{}, out)
		}},
		{"alerts send", func(s *securedKafka, cfg config.Config, _ *logs) error {
			hook.answers(http.StatusOK)
			sent, err := operate.SendParked(s.Context(), cfg, operate.ParkedFilter{})
			if err == nil && sent == 0 {
				err = errors.New("nothing was parked")
			}
			return err
		}},
		{"offsets show", func(s *securedKafka, cfg config.Config, _ *logs) error {
			_, err := operate.ShowOffsets(s.Context(), cfg, cfg.Recorder.Group, cfg.Topics.Feedback)
			return err
		}},
		{"offsets set", func(s *securedKafka, cfg config.Config, _ *logs) error {
			_, err := operate.SetOffsets(s.Context(), cfg, cfg.Recorder.Group, cfg.Topics.Feedback, 0, "earliest")
			return err
		}},
		{"verify", func(s *securedKafka, cfg config.Config, _ *logs) error {
			_, err := operate.Verify(s.Context(), cfg, operate.VerifyOptions{})
			return err
		}},
		{"verify --repair", func(s *securedKafka, cfg config.Config, _ *logs) error {
			_, err := operate.Verify(s.Context(), cfg, operate.VerifyOptions{Repair: true})
			return err
		}},
		{"predict", func(s *securedKafka, cfg config.Config, out *logs) error {
			if !s.missing {
				defer s.start("worker", s.as("worker")...).drain()
			}
			return operate.Predict(s.Context(), cfg, "fares", [][]byte{catalogtest.Fare{At: catalogtest.Epoch, Price: 1, Count: 1, Carrier: "AA"}.JSON()}, patience, out)
		}},
	}
}

// send produces what a role would.
func (s *securedKafka) send(m schemas.Message, err error) {
	s.Helper()
	require.NoError(s, err)
	rec := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	s.produce(rec)
}

// TestSecuredKafka gives every role and command a user of its own, with what the table in
// deploy/README.md lets it do, and takes one line after the other away: whoever lacks one says which.
// Then a user logs in by each mechanism.
func TestSecuredKafka(t *testing.T) {
	parallel(t)
	if cluster != nil && len(cluster.Brokers()) > 1 {
		t.Skip("more brokers differ in nothing here")
	}
	hook := newReceiver(t)
	hook.answers(http.StatusOK)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, `alerts=[{name: hook, webhook: {url: "`+hook.URL+`"}}]`, "recorder.insert_deadline=1s")
	const everybody = "app"
	users, acting, table := []string{everybody}, actors(hook), grants(t)
	for _, a := range acting {
		users = append(users, a.user())
	}
	began := time.Now()
	s := newSecuredKafka(t, h, users...)
	t.Logf("it has started (%s)", time.Since(began).Round(time.Millisecond))
	s.leastACLs(acting, table)
	for _, g := range table {
		s.allow(everybody, g)
	}
	s.logsIn(everybody)
}

func (s *securedKafka) leastACLs(acting []actor, table []grant) {
	s.Helper()
	listed := map[string]bool{}
	for _, g := range table {
		s.allow(actor{name: g.who}.user(), g)
		listed[g.who] = true
	}
	for _, a := range acting {
		require.True(s, listed[a.name], "the table has no line for %s", a.name)
		delete(listed, a.name)
		cfg := s.config(s.as(a.user())...)
		for _, g := range table {
			if g.who != a.name {
				continue
			}
			s.forbid(a.user(), g)
			s.missing = true
			out, began := &logs{}, time.Now()
			err := a.do(s, cfg, out)
			s.Logf("%s is missing (%s): %v %s", g, time.Since(began).Round(time.Millisecond), err, g.said(out.all()))
			require.Error(s, err, "nothing needs %s", g)
			require.Regexp(s, g.sentence(), fmt.Sprint(err, out.all()))
			s.missing = false
			s.allow(a.user(), g)
		}
		out, began := &logs{}, time.Now()
		require.NoError(s, a.do(s, cfg, out), "%s: %s", a.name, out.tail())
		require.NotContains(s, out.all(), "AUTHORIZATION_FAILED")
		s.Logf("%s has done all (%s)", a.name, time.Since(began).Round(time.Millisecond))
	}
	require.Empty(s, listed, "the table has lines for whom there is no test")
}

// sentence matches what whoever lacks the grant says: which it is, or which of those that go with it.
func (g grant) sentence() string {
	name := regexp.QuoteMeta(strings.TrimSuffix(g.name, "*"))
	ops := g.operation.String()
	kind := strings.ToLower(strings.ReplaceAll(g.kind.String(), "_", " "))
	switch g.operation {
	case kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationAlter:
		ops += "|describe"
	case kmsg.ACLOperationAlterConfigs:
		ops += "|describeconfigs"
	default:
	}
	return `(?i)lacks the ACL (` + strings.ReplaceAll(ops, "_", "") + `) on ` + kind + " ([^:]*, )?(" + name + `|\*:)`
}

// said returns the sentence in what was logged.
func (g grant) said(log string) string {
	return regexp.MustCompile(g.sentence() + `[^"]*`).FindString(log)
}
