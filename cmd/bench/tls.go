package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/embedded"
	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/schemas/link"
)

// tlsVariable is the environment variable that tells the children of a run with Options.TLS the
// folder of the authority, and of the broker's certificate and key.
const tlsVariable = "MILLRACE_BENCH_TLS"

// secure makes Kafka, and all who use it from now on, in children too, speak TLS. It returns what
// ends that.
func secure(dir string) (end func() error, err error) {
	authority, err := kafkatest.NewAuthority()
	if err != nil {
		return nil, err
	}
	cert, key, err := authority.Issue("kafka", "127.0.0.1", "localhost")
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	for name, text := range map[string][]byte{"ca.pem": authority.PEM(), "broker.pem": cert, "broker-key.pem": key} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err == nil {
		err = os.Setenv(tlsVariable, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("write certificates: %w", err)
	}
	return func() error { return os.Unsetenv(tlsVariable) }, nil
}

// clientTLS is how Kafka is reached: the zero value is plain text.
func clientTLS() link.TLS {
	if dir := os.Getenv(tlsVariable); dir != "" {
		return link.TLS{CAFile: filepath.Join(dir, "ca.pem")}
	}
	return link.TLS{}
}

// connection is what every client of Kafka is dialled by.
func connection(brokers []string, clientID string) consumers.Connection {
	conn := consumers.Connection{Brokers: brokers, ClientID: clientID}
	if secured := clientTLS(); secured.On() {
		conn.TLS = secured.Dialer("kafka.tls")
	}
	return conn
}

// brokerSecurity is what the embedded Kafka asks for.
func brokerSecurity() (s embedded.Security, err error) {
	if dir := os.Getenv(tlsVariable); dir != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "broker.pem"), filepath.Join(dir, "broker-key.pem"))
		if err != nil {
			return s, fmt.Errorf("read the broker's certificate: %w", err)
		}
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	return s, nil
}
