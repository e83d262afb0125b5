package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Keys and addresses as people know them from other clients are refused with what to write here.
func TestWhatOtherClientsTakeIsExplained(t *testing.T) {
	for text, says := range map[string]string{
		"kafka: {bootstrap.servers: a:1}":                     "kafka.bootstrap.servers: unknown key; here it is kafka.brokers",
		"kafka: {bootstrap_servers: [a:1]}":                   "here it is kafka.brokers",
		"kafka: {security.protocol: SASL_SSL}":                "here it is kafka.tls.enabled for SSL, and kafka.sasl.mechanism for SASL",
		"kafka: {ssl.ca.location: x.pem}":                     "here it is kafka.tls.ca_file",
		"kafka: {ssl_truststore_location: x.jks}":             "here it is kafka.tls.ca_file, of PEM",
		"kafka: {sasl: {jaas_config: x}}":                     "here it is kafka.sasl.username and kafka.sasl.password",
		"clickhouse: {user: x}":                               "here it is clickhouse.username",
		"clickhouse: {host: h, port: 8123}":                   "clickhouse.port: unknown key; here it is clickhouse.addr",
		`kafka: {brokers: ["SASL_SSL://h:9092"]}`:             "kafka.brokers: write h:9092 without SASL_SSL://: kafka.tls.enabled turns TLS (SSL) on",
		`kafka: {brokers: ["kafka://u:canary@h:9092/"]}`:      "kafka.brokers: write h:9092 without a scheme",
		`kafka: {brokers: ["a:1,b:2"]}`:                       "several brokers in one text: write a list",
		`kafka: {brokers: "a:1,b:2"}`:                         "write [ ] around it, and commas between several",
		`kafka: {brokers: ["${KAFKA_BROKERS}"]}`:              "set MILLRACE_KAFKA_BROKERS instead",
		`kafka: {brokers: "kafka://u:canary@h:1"}`:            `a list is expected, got "kafka://…@h:1"`,
		`clickhouse: {addr: "http://u:canary@h:8123/db"}`:     `a list is expected, got "http://…@h:8123/…"`,
		`clickhouse: {addr: "h:8123?password=canary"}`:        "clickhouse.addr: a list is expected",
		`clickhouse: {addr: ["http://h:1?pass=canary"]}`:      "nothing stands behind the path",
		`clickhouse: {ttl_days: "jdbc:ch://h?pw=canary"}`:     "clickhouse.ttl_days: a whole number is expected",
		`alerts: "https://hooks.example/canary"`:              "alerts: a list is expected",
		`alerts: [{webhook: "https://hooks.example/canary"}]`: "alerts[0].webhook: a mapping is expected",
	} {
		_, err := Load(writeConfig(t, text), nil, nil)
		require.ErrorContains(t, err, says, text)
		require.NotContains(t, err.Error(), "canary", text)
	}
}

// What foreignKeys names is there.
func TestForeignKeysNameKeys(t *testing.T) {
	cfg := Default()
	l := &loader{keys: map[string]reflect.Value{}}
	l.collect(reflect.ValueOf(&cfg).Elem(), "")
	known := func(key string) bool {
		for k := range l.keys {
			if k == key || strings.HasPrefix(k, key+".") {
				return true
			}
		}
		return false
	}
	for from, to := range foreignKeys {
		require.False(t, known(from), from)
		for _, word := range strings.FieldsFunc(to, func(r rune) bool { return r == ' ' || r == ',' || r == ':' }) {
			if strings.Contains(word, ".") && !strings.HasPrefix(word, "https") {
				require.True(t, known(word), "%s: %s", from, word)
			}
		}
	}
}
