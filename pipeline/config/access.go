package config

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/schemas/link"
)

// WarnPlainText tells the log, once per process, what is reached in plain text over a network.
func (c Config) WarnPlainText(log zerolog.Logger) {
	if !c.Kafka.TLS.On() {
		link.WarnPlainText(log, "Kafka", "kafka.tls.enabled", c.Kafka.SASL.Credentials("kafka.sasl").Exposed(), c.Kafka.Brokers...)
	}
	link.WarnPlainText(log, "the token endpoint of Kafka", "kafka.sasl.oauth.token_url", true, plainHosts(c.Kafka.SASL.OAuth.TokenURL)...)
	link.WarnPlainText(log, "the Schema Registry", "registry.url", c.Registry.Username != "" || c.Registry.OAuth.On(), plainHosts(c.Registry.URL)...)
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

// CheckFiles reads the certificates, keys and secrets of Kafka and the Schema Registry that the
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
	)
}
