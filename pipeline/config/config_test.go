package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func TestDefaultsAreValid(t *testing.T) {
	cfg, err := Load("", nil, nil)
	require.NoError(t, err)
	require.Equal(t, Default(), cfg)
}

// The file that documents the defaults has all of them, and no other values.
func TestDocumentedDefaults(t *testing.T) {
	cfg, err := Load("../../deploy/millrace.yaml", nil, nil)
	require.NoError(t, err)
	want := Default()
	cfg.Models.Versions, cfg.Worker.Codecs, cfg.Alerts = nil, nil, nil // written as empty, not left out
	cfg.Kafka.SASL.Extensions, cfg.Kafka.SASL.OAuth.Scopes, cfg.Registry.OAuth.Scopes = nil, nil, nil
	require.Equal(t, want, cfg)

	l := &loader{keys: map[string]reflect.Value{}}
	l.collect(reflect.ValueOf(&want).Elem(), "")
	text, err := os.ReadFile("../../deploy/millrace.yaml")
	require.NoError(t, err)
	for key := range l.keys {
		require.Contains(t, string(text), key[strings.LastIndexByte(key, '.')+1:]+":", key)
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestConfigPrecedence(t *testing.T) {
	path := writeConfig(t, `
kafka:
  brokers: [a:1, b:2]
  session_timeout: 7s
topics: {requests: my.requests., partitions: 12}
models: {versions: {flights: "2"}}
alerts:
  - {name: ops, webhook: {url: "http://localhost:1/x", timeout: 2s}, kinds: [retraining], min_severity: warning}
worker: {lanes: 3}
`)
	cfg, err := Load(path, []string{"MILLRACE_WORKER_LANES=4", "MILLRACE_KAFKA_BROKERS=c:3,d:4", "HOME=/x", "MILLRACE_LIBCHDB=/y"},
		[]string{"worker.lanes=5", "roles=worker"})
	require.NoError(t, err)
	require.Equal(t, []string{"c:3", "d:4"}, cfg.Kafka.Brokers)
	require.Equal(t, 7*time.Second, cfg.Kafka.SessionTimeout)
	require.Equal(t, "my.requests.", cfg.Topics.Requests)
	require.Equal(t, "millrace.results.", cfg.Topics.Results)
	require.EqualValues(t, 12, cfg.Topics.Partitions)
	require.Equal(t, 5, cfg.Worker.Lanes)
	require.Equal(t, []Role{RoleWorker}, cfg.Roles)
	require.Equal(t, map[string]string{"flights": "2"}, cfg.Models.Versions)
	require.Equal(t, 2*time.Second, cfg.Alerts[0].Webhook.Timeout)
	require.True(t, cfg.Alerts[0].Matches(schemas.EventData{Kind: schemas.EventRetraining, Severity: schemas.SeverityCritical}))
	require.False(t, cfg.Alerts[0].Matches(schemas.EventData{Kind: schemas.EventRetraining, Severity: schemas.SeverityInfo}))
	require.False(t, cfg.Alerts[0].Matches(schemas.EventData{Kind: schemas.EventDrift, Severity: schemas.SeverityCritical}))
}

func TestConfigReportsEveryFaultAtOnce(t *testing.T) {
	path := writeConfig(t, `
kafka:
  broker: [a:1]
  session_timeout: soon
lanes: 3
worker:
  lanes: many
  max_batch_rows: 0
alerts:
  - {name: "", colour: red}
`)
	_, err := Load(path, []string{"MILLRACE_NONSENSE=1"}, []string{"log.level=loud", "x.y=1", "oops", "monitor.reports_timezone=Mars"})
	require.Error(t, err)
	for _, want := range []string{
		path + ":3: kafka.broker: unknown key", path + ":4: kafka.session_timeout:", path + ":5: lanes: unknown key; did you mean worker.lanes?",
		path + ":7: worker.lanes:", "worker.max_batch_rows: must be at least 1, got 0", path + ":10: alerts: unknown field \"colour\"",
		"environment MILLRACE_NONSENSE: no such key", `log.level: "loud" is not one of`, "--set x.y: unknown key", "--set oops: write key=value",
		"monitor.reports_schedule: missing, but monitor.reports_timezone is set",
	} {
		require.ErrorContains(t, err, want)
	}
}

// What YAML allows is read, wherever it stands, and what is refused is named as it is written.
func TestConfigReadsYAML(t *testing.T) {
	cfg, err := Load(writeConfig(t, `
kafka: {brokers: [127.0.0.1:19392, broker-2:9092], client_id: 12:30}
worker: &w {lanes: 3, codecs: {m: arrow, n: json}}
clickhouse:
  addr: [127.0.0.1:8123]
  database: 1e3
alerts:
  - &ops {name: ops, webhook: {url: http://localhost:1/x, timeout: 2s}, kinds: [retraining]}
  - {<<: *ops, name: other}
`), nil, []string{"models.versions={a: 2001-02-03, b: 1.10}"})
	require.ErrorContains(t, err, `clickhouse.database: "1e3" is no database name`)
	require.NotContains(t, err.Error(), "\n", "nothing else is wrong")
	require.Equal(t, []string{"127.0.0.1:19392", "broker-2:9092"}, cfg.Kafka.Brokers)
	require.Equal(t, "12:30", cfg.Kafka.ClientID)
	require.Equal(t, "arrow", string(cfg.Worker.Codecs["m"]))
	require.Equal(t, []string{"127.0.0.1:8123"}, cfg.ClickHouse.Addr)
	require.Equal(t, "http://localhost:1/x", cfg.Alerts[1].Webhook.URL)
	require.Equal(t, "other", cfg.Alerts[1].Name)
	require.Equal(t, map[string]string{"a": "2001-02-03", "b": "1.10"}, cfg.Models.Versions)
	for text, says := range map[string]string{
		"kafka: {brokers: a:1}":              `:1: kafka.brokers: a list is expected, got "a:1"`,
		"kafka:\n  brokers:\n  - [a]\n":      `:3: kafka.brokers[0]: a text is expected, got a list`,
		"kafka: [a]":                         `:1: kafka: a mapping is expected`,
		"drain_timeout: [1]":                 `:1: drain_timeout: a duration, as 30s, 15m, 24h or 7d, is expected, got a list`,
		"drain_timeout: soon":                `:1: drain_timeout: a duration, as 30s, 15m, 24h or 7d, is expected, got "soon"`,
		"drain_timeout: 30":                  `:1: drain_timeout: a duration, as 30s, 15m, 24h or 7d, is expected, got "30"`,
		"kafka: {brokers: [a:99999]}":        `kafka.brokers: "a:99999" is not host:port`,
		"worker: {lanes: 1.5}":               `:1: worker.lanes: a whole number is expected, got "1.5"`,
		"topics: {partitions: 3000000000}":   `:1: topics.partitions: a whole number of 32 bits is expected, got "3000000000"`,
		"http: {pprof: maybe}":               `:1: http.pprof: true or false is expected, got "maybe"`,
		"alerts: [{webhook: {url: {a: b}}}]": `:1: alerts[0].webhook.url: a text is expected, got a mapping`,
		"models: {versions: [a]}":            `:1: models.versions: a mapping is expected, got a list`,
		"kafka: *k":                          `alias *k names no anchor that stands before it`,
		"kafka: {brokers: [a:1}":             `must be specified`,
	} {
		_, err := Load(writeConfig(t, text), nil, nil)
		require.ErrorContains(t, err, says, text)
		require.NotRegexp(t, `Go |interface|struct|\[\]string|int64|unmarshal`, err.Error(), text)
	}
}

func TestConfigTakesNumbersForStringsAsWritten(t *testing.T) {
	cfg, err := Load(writeConfig(t, "clickhouse: {password: 0123}\nmodels:\n  versions: {m: 1.10}\n"), nil, nil)
	require.NoError(t, err)
	require.Equal(t, "0123", string(cfg.ClickHouse.Password))
	require.Equal(t, map[string]string{"m": "1.10"}, cfg.Models.Versions)
	cfg, err = Load("", []string{"MILLRACE_CLICKHOUSE_PASSWORD=0123"}, []string{"models.versions={m: 1.10}"})
	require.NoError(t, err)
	require.Equal(t, "0123", string(cfg.ClickHouse.Password))
	require.Equal(t, map[string]string{"m": "1.10"}, cfg.Models.Versions)
}

// Kubernetes describes each service of the namespace to each container: one that is called
// millrace must not keep ours from starting, nor set anything.
func TestVariablesOfServicesAreNoConfiguration(t *testing.T) {
	cfg, err := Load("", []string{
		"MILLRACE_SERVICE_HOST=10.0.0.1", "MILLRACE_SERVICE_PORT=8080", "MILLRACE_SERVICE_PORT_HTTP=8080", "MILLRACE_PORT=tcp://10.0.0.1:8080",
		"MILLRACE_PORT_8080_TCP=tcp://10.0.0.1:8080", "MILLRACE_PORT_8080_TCP_PROTO=tcp", "MILLRACE_PORT_8080_TCP_PORT=8080", "MILLRACE_PORT_8080_TCP_ADDR=10.0.0.1",
		"MILLRACE_KAFKA_SERVICE_HOST=10.0.0.2", "MILLRACE_KAFKA_PORT=tcp://10.0.0.2:9092",
	}, nil)
	require.NoError(t, err)
	require.Equal(t, Default(), cfg)
	for _, mistake := range []string{"MILLRACE_PORT=8080", "MILLRACE_HTTP_PORT=8080", "MILLRACE_KAFKA_HOST=a", "MILLRACE_SERVICE=a"} {
		_, err := Load("", []string{mistake}, nil)
		require.ErrorContains(t, err, "no such key", mistake)
	}
}

func TestConfigurationThatWouldExhaustIsRefused(t *testing.T) {
	deep := strings.Repeat("[", 200_000)
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	require.NoError(t, os.WriteFile(path, []byte("alerts: "+deep), 0o600))
	const says = "more than 100 collections within each other"
	_, err := Load(path, nil, nil)
	require.ErrorContains(t, err, says)
	_, err = Load("", []string{"MILLRACE_ALERTS=" + deep}, nil)
	require.ErrorContains(t, err, says)
	_, err = Load("", nil, []string{"kafka.brokers=" + deep})
	require.ErrorContains(t, err, says)
}

func TestAlertsOfModelsThatAreNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	require.NoError(t, os.WriteFile(path, []byte(`alerts:
- {name: all, webhook: {url: "http://x"}}
- {name: some, webhook: {url: "http://x"}, models: [churn, Churn]}
`), 0o600))
	cfg, err := Load(path, nil, nil)
	require.NoError(t, err)
	require.NoError(t, cfg.CheckAlerts([]string{"churn", "Churn"}))
	require.EqualError(t, cfg.CheckAlerts([]string{"churn", "prices"}), `alerts[1].models: there is no model "Churn" in models; its models are churn, prices`)
}
