package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers/embedded"
	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/pipeline/supervisor"
)

// childKafka is the hidden command of an embedded Kafka that asks for TLS and a login: the
// embedded-kafka of everybody else asks for neither.
const childKafka = "chaos-kafka"

const (
	user = "chaos"
	// domain has a host for each process: by the host that a process asks for in its TLS
	// handshake, the proxies know whose connection it is.
	domain = ".chaos.test"
	// login is how long a login lasts. Connections log in again and again while faults happen.
	login = 5 * time.Second
)

// security is what a run with TLS keeps in its directory: certificates, keys and a password. nil
// is a run in plain text.
type security struct {
	dir       string
	password  string
	authority *kafkatest.Authority
}

func newSecurity(dir string) (*security, error) {
	s := &security{dir: filepath.Join(dir, "security"), password: rand.Text()}
	var err error
	if s.authority, err = kafkatest.NewAuthority(); err != nil {
		return nil, err
	}
	cert, key, err := s.authority.Issue(kafka, "*"+domain, "127.0.0.1")
	if err == nil {
		err = os.MkdirAll(s.dir, 0o700)
	}
	for name, text := range map[string][]byte{"ca.pem": s.authority.PEM(), "broker.pem": cert, "broker-key.pem": key, "password": []byte(s.password)} {
		if err == nil {
			err = os.WriteFile(s.file(name), text, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write certificates and a password: %w", err)
	}
	return s, nil
}

func (s *security) file(name string) string { return filepath.Join(s.dir, name) }

// settings are those with which a process reaches Kafka.
func (s *security) settings(process string) []string {
	if s == nil {
		return nil
	}
	return []string{
		"kafka.tls.ca_file=" + s.file("ca.pem"), "kafka.tls.server_name=" + process + domain,
		"kafka.sasl.mechanism=" + embedded.ScramSHA512, "kafka.sasl.username=" + user, "kafka.sasl.password_file=" + s.file("password"),
	}
}

// real is what Apache Kafka asks for.
func (s *security) real() *kafkatest.Security {
	if s == nil {
		return nil
	}
	return &kafkatest.Security{
		Authority: s.authority, Hosts: []string{"*" + domain}, Users: map[string]string{user: s.password}, Super: []string{user}, Lifetime: login,
	}
}

// leaks names the logs in dir that hold the password.
func (s *security) leaks(dir string) ([]Finding, error) {
	if s == nil {
		return nil, nil
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return nil, fmt.Errorf("look for the password in logs: %w", err)
	}
	var findings []Finding
	for _, name := range slices.Sorted(slices.Values(logs)) {
		text, err := os.ReadFile(name) //nolint:gosec // the run's own directory
		if err != nil {
			return nil, fmt.Errorf("look for the password in logs: %w", err)
		}
		if bytes.Contains(text, []byte(s.password)) {
			findings = append(findings, Finding{What: "the password is in " + filepath.Base(name)})
		}
	}
	return findings, nil
}

// runKafka is childKafka.
func runKafka(args []string, stderr io.Writer) int {
	cfg := embedded.DefaultConfig()
	cfg.RetentionBytes = -1
	cfg.Log = zerolog.New(stderr).With().Timestamp().Logger()
	flags := flag.NewFlagSet(childKafka, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&cfg.Dir, "dir", "", "data directory")
	flags.StringVar(&cfg.Listen, "addr", "", "loopback address to listen on")
	flags.StringVar(&cfg.Advertise, "advertise", "", "address that clients are told")
	files := flags.String("security", "", "directory of certificates and the password")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if err := serveKafka(supervisor.WithParent(context.Background()), cfg, security{dir: *files}); err != nil && !errors.Is(err, context.Canceled) {
		cfg.Log.Error().Err(err).Msg(childKafka + " ended")
		return 1
	}
	return 0
}

func serveKafka(ctx context.Context, cfg embedded.Config, s security) error {
	pair, err := tls.LoadX509KeyPair(s.file("broker.pem"), s.file("broker-key.pem"))
	if err != nil {
		return fmt.Errorf("read the broker's certificate: %w", err)
	}
	password, err := os.ReadFile(s.file("password"))
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	cfg.Security = embedded.Security{
		TLS:      &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		Users:    []embedded.User{{Mechanism: embedded.ScramSHA512, Name: user, Password: string(password), Super: true}},
		Lifetime: login,
	}
	return embedded.Serve(ctx, cfg, func(addr string) {
		if err := supervisor.Ready(addr); err != nil {
			cfg.Log.Error().Err(err).Msg("telling the parent failed")
		}
	})
}
