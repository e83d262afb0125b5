package config

import (
	"errors"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/schemas/link"
)

// WarnPlainText tells the log, once per process, what is reached in plain text over a network, and
// what without a look at its certificate.
func (c Config) WarnPlainText(log zerolog.Logger) {
	if !c.Kafka.TLS.On() {
		link.WarnPlainText(log, "Kafka", "kafka.tls.enabled", c.Kafka.SASL.Credentials("kafka.sasl").Exposed(), c.Kafka.Brokers...)
	}
	link.WarnPlainText(log, "the token endpoint of Kafka", "kafka.sasl.oauth.token_url", true, plainHosts(c.Kafka.SASL.OAuth.TokenURL)...)
	link.WarnPlainText(log, "the Schema Registry", "registry.url", c.Registry.Username != "" || c.Registry.OAuth.On(), plainHosts(c.Registry.URL)...)
	for key, tls := range map[string]link.TLS{
		"kafka.tls": c.Kafka.TLS, "kafka.sasl.oauth.tls": c.Kafka.SASL.OAuth.TLS, "registry.tls": c.Registry.TLS, "registry.oauth.tls": c.Registry.OAuth.TLS,
	} {
		if tls.InsecureSkipVerify {
			log.Warn().Str("key", key+".insecure_skip_verify").Msg("certificates are not verified: anybody on the way can be the server")
		}
	}
	link.WarnPlainText(log, "the token endpoint of the Schema Registry", "registry.oauth.token_url", true, plainHosts(c.Registry.OAuth.TokenURL)...)
}

// plainHosts returns host:port of the addresses, which have commas between, that begin with
// http://.
func plainHosts(addresses string) []string {
	var hosts []string
	for address := range strings.SplitSeq(addresses, ",") {
		if u, err := url.Parse(strings.TrimSpace(address)); err == nil && u.Scheme == "http" {
			port := u.Port()
			if port == "" {
				port = "80"
			}
			hosts = append(hosts, net.JoinHostPort(u.Hostname(), port))
		}
	}
	return hosts
}

// WithoutSecrets returns what of an environment a process may have that needs no secret of the
// configuration. It may change environ.
func WithoutSecrets(environ []string) []string {
	var cfg Config
	l := &loader{keys: map[string]reflect.Value{}}
	l.collect(reflect.ValueOf(&cfg).Elem(), "")
	secrets := map[string]bool{}
	for key, field := range l.keys {
		if field.Type() == reflect.TypeFor[link.Secret]() {
			secrets[variable(key)] = true
		}
	}
	return slices.DeleteFunc(environ, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return secrets[name]
	})
}

// CheckFiles reads the certificates, keys and secrets of Kafka, the Schema Registry and ClickHouse that the
// configuration names, and tells what is wrong with them, one error each, joined.
func (c Config) CheckFiles() error {
	secret := func(key, path string) error {
		if path == "" {
			return nil
		}
		_, err := link.ReadSecret(key, path)
		return err
	}
	return errors.Join(
		c.Kafka.TLS.Dialer("kafka.tls").Check(),
		secret("kafka.sasl.password_file", c.Kafka.SASL.PasswordFile),
		secret("kafka.sasl.oauth.client_secret_file", c.Kafka.SASL.OAuth.ClientSecretFile),
		c.Kafka.SASL.OAuth.TLS.Dialer("kafka.sasl.oauth.tls").Check(),
		c.Registry.TLS.Dialer("registry.tls").Check(),
		secret("registry.password_file", c.Registry.PasswordFile),
		secret("registry.oauth.client_secret_file", c.Registry.OAuth.ClientSecretFile),
		c.Registry.OAuth.TLS.Dialer("registry.oauth.tls").Check(),
		c.ClickHouse.TLS.Dialer("clickhouse.tls").Check(),
		secret("clickhouse.password_file", c.ClickHouse.PasswordFile),
	)
}
