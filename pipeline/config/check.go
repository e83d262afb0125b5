package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/sinks/alerts"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// Validate reports every value that makes no sense, by key.
func (c Config) Validate() error {
	v := &violations{}
	c.checkProcess(v)
	c.checkKafka(v)
	c.checkClickHouse(v)
	c.checkModels(v)
	c.checkWorker(v)
	c.checkOthers(v)
	c.checkAlerts(v)
	return errors.Join(v.errs...)
}

// violations gathers what is wrong with a configuration.
type violations struct{ errs []error }

func (v *violations) bad(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format, args...))
}

func (v *violations) add(err error) {
	if err != nil {
		v.errs = append(v.errs, err)
	}
}

func (v *violations) atLeast(key string, got, least int) {
	if got < least {
		v.bad("%s: must be at least %d, got %d", key, least, got)
	}
}

func (v *violations) lasting(key string, got, least time.Duration) {
	if got < least {
		v.bad("%s: must be at least %s, got %s", key, least, got)
	}
}

func (c Config) checkProcess(v *violations) {
	if !instanceName.MatchString(c.Instance) {
		v.bad("instance: %q is not 1 to 100 of a-z A-Z 0-9 . _ -", c.Instance)
	}
	if len(c.Roles) == 0 {
		v.bad("roles: at least one of worker, recorder, monitor is needed")
	}
	for _, r := range c.Roles {
		if r != RoleWorker && r != RoleRecorder && r != RoleMonitor {
			v.bad("roles: %q is not one of worker, recorder, monitor", r)
		}
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		v.bad("log.level: %q is not one of debug, info, warn, error", c.Log.Level)
	}
	if c.Log.Format != "json" && c.Log.Format != "console" {
		v.bad("log.format: %q is not one of json, console", c.Log.Format)
	}
	v.lasting("drain_timeout", c.DrainTimeout, time.Second)
	if c.HTTP.Addr != "" {
		v.address("http.addr", c.HTTP.Addr)
	}
}

func (c Config) checkKafka(v *violations) {
	if len(c.Kafka.Brokers) == 0 {
		v.bad("kafka.brokers: at least one host:port is needed")
	}
	for _, b := range c.Kafka.Brokers {
		v.broker(b)
	}
	v.lasting("kafka.session_timeout", c.Kafka.SessionTimeout, time.Second)
	v.add(c.Kafka.TLS.Validate("kafka.tls"))
	v.add(c.Kafka.SASL.Validate("kafka.sasl"))
	if err := c.Kafka.CompressionType.Validate(); err != nil {
		v.bad("kafka.compression_type: %v", err)
	}
	if u := c.Consumers.Unreadable; u != consumers.UnreadableStop && u != consumers.UnreadableSkip {
		v.bad("consumers.unreadable: %q is not one of stop, skip", u)
	}
	v.add(c.Topics.Validate())
	v.atLeast("topics.partitions", int(c.Topics.Partitions), 1)
	v.atLeast("topics.spread", int(c.Topics.Spread), 1)
	v.lasting("topics.retention", c.Topics.Retention, time.Minute)
	if c.Topics.RetentionBytes < -1 || c.Topics.RetentionBytes == 0 {
		v.bad("topics.retention_bytes: must be -1 or more than 0, got %d", c.Topics.RetentionBytes)
	}
	if c.Topics.ReplicationFactor < -1 || c.Topics.ReplicationFactor == 0 {
		v.bad("topics.replication_factor: must be -1 or more than 0, got %d", c.Topics.ReplicationFactor)
	}
}

func (c Config) checkClickHouse(v *violations) {
	if len(c.ClickHouse.Addr) == 0 {
		v.bad("clickhouse.addr: at least one host:port is needed")
	}
	_, err := clickhouse.ParseAddresses(c.ClickHouse.Addr, c.ClickHouse.TLS)
	v.add(err)
	v.add(c.ClickHouse.TLS.Validate("clickhouse.tls"))
	v.add(link.CheckSecret("clickhouse.password", c.ClickHouse.Password, "clickhouse.password_file", c.ClickHouse.PasswordFile))
	v.add(c.Storage().Validate())
}

func (c Config) checkModels(v *violations) {
	if c.Models.Repository == "" {
		v.bad("models.repository: missing")
	}
	v.lasting("models.load_timeout", c.Models.LoadTimeout, LeastLoadTimeout)
	if c.Models.LoadMemory < LeastLoadMemory {
		v.bad("models.load_memory: must be at least %d (%d MiB), got %d", LeastLoadMemory, LeastLoadMemory>>20, c.Models.LoadMemory)
	}
	if c.Models.Failed != FailedWait && c.Models.Failed != FailedDeadLetter {
		v.bad("models.failed: %q is not one of wait, dead_letter", c.Models.Failed)
	}
	v.lasting("models.retry_interval", c.Models.RetryInterval, 100*time.Millisecond)
	for key, name := range map[string]string{"worker.group": c.Worker.Group, "recorder.group": c.Recorder.Group} {
		if !groupName.MatchString(name) {
			v.bad("%s: %q is not 1 to 100 of a-z A-Z 0-9 . _ -", key, name)
		}
	}
	if c.Worker.Group == c.Recorder.Group {
		v.bad("recorder.group: %q is already worker.group", c.Recorder.Group)
	}
}

func (c Config) checkWorker(v *violations) {
	v.atLeast("worker.lanes", c.Worker.Lanes, 1)
	if c.Worker.Delivery != consumers.ExactlyOnce && c.Worker.Delivery != consumers.AtLeastOnce {
		v.bad("worker.delivery: %q is not one of exactly_once, at_least_once", c.Worker.Delivery)
	}
	if !validStart(c.Worker.Start) {
		v.bad("worker.start: %q is none of earliest, latest, answered and a time as 2006-01-02T15:04:05Z", c.Worker.Start)
	}
	v.lasting("worker.deduplicate.window", c.Worker.Deduplicate.Window, 0)
	v.atLeast("worker.deduplicate.max_requests", c.Worker.Deduplicate.MaxRequests, 1)
	for model, name := range c.Worker.Codecs {
		if !name.Valid() {
			v.bad("worker.codecs.%s: %q is not one of %v", model, name, codec.Codecs())
		}
		if (name == codec.Avro || name == codec.Protobuf) && c.Registry.URL == "" {
			v.bad("registry.url: missing; worker.codecs.%s is %s", model, name)
		}
	}
	if c.Registry.URL != "" {
		v.add(c.Registry.Client().Validate())
	}
	v.atLeast("worker.max_batch_rows", c.Worker.MaxBatchRows, 1)
	v.atLeast("worker.max_request_bytes", c.Worker.MaxRequestBytes, 1)
	if c.Worker.MaxRequestBytes > schemas.MaxRequestBytes {
		v.bad("worker.max_request_bytes: must be at most %d, got %d", schemas.MaxRequestBytes, c.Worker.MaxRequestBytes)
	}
	v.lasting("worker.transaction_timeout", c.Worker.TransactionTimeout, 2*time.Second)
	if c.Worker.TransactionTimeout > 15*time.Minute { // the brokers' default limit
		v.bad("worker.transaction_timeout: must be at most 15m, got %s", c.Worker.TransactionTimeout)
	}
}

func (c Config) checkOthers(v *violations) {
	v.atLeast("recorder.flush_rows", c.Recorder.FlushRows, 1)
	v.atLeast("recorder.flush_bytes", c.Recorder.FlushBytes, 1)
	v.lasting("recorder.flush_interval", c.Recorder.FlushInterval, 10*time.Millisecond)
	v.lasting("recorder.insert_deadline", c.Recorder.InsertDeadline, time.Second)
	v.lasting("recorder.verify_interval", c.Recorder.VerifyInterval, 100*time.Millisecond)
	v.lasting("monitor.interval", c.Monitor.Interval, 100*time.Millisecond)
	v.lasting("monitor.report_interval", c.Monitor.ReportInterval, 100*time.Millisecond)
	if c.Monitor.ReportsDir == "" {
		v.bad("monitor.reports_dir: missing")
	}
	if u, err := url.Parse(c.Monitor.ReportsURL); c.Monitor.ReportsURL != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
		v.bad("monitor.reports_url: must be an http or https URL, got %q", schemas.PublicAddress(c.Monitor.ReportsURL))
	}
	if c.Embedded.Dir == "" {
		v.bad("embedded.dir: missing")
	}
	v.address("embedded.kafka_addr", c.Embedded.KafkaAddr)
	v.address("embedded.clickhouse_addr", c.Embedded.ClickHouseAddr)
	if !slices.Contains([]string{"auto", "required", "off"}, c.Embedded.Sandbox) {
		v.bad("embedded.sandbox: %q is not one of auto, required, off", c.Embedded.Sandbox)
	}
}

func (c Config) checkAlerts(v *violations) {
	seen := map[string]bool{}
	for i, s := range c.Alerts {
		v.subscription(fmt.Sprintf("alerts[%d]", i), s)
		if seen[s.Name] {
			v.bad("alerts[%d].name: %q stands twice", i, s.Name)
		}
		seen[s.Name] = true
		if s.Kafka != nil && c.Topics.Clashes(s.Kafka.Topic) {
			v.bad("alerts[%d].kafka.topic: %q is one of millrace's own topics", i, s.Kafka.Topic)
		}
	}
}

// validStart tells whether worker.start can have that value.
func validStart(value string) bool {
	if slices.Contains([]string{StartRefuse, StartEarliest, StartLatest, StartAnswered}, value) {
		return true
	}
	_, err := time.Parse(time.RFC3339, value)
	return err == nil
}

// broker refuses what is no host:port, and says what to do with what other clients of Kafka take.
func (v *violations) broker(addr string) {
	host := addr
	scheme, rest, url := strings.Cut(addr, "://")
	if url {
		host = strings.TrimSuffix(rest[strings.LastIndexByte(rest, '@')+1:], "/")
	}
	switch {
	case strings.Contains(addr, "${"):
		v.bad("kafka.brokers: %q: variables are not put in here: set MILLRACE_KAFKA_BROKERS instead", schemas.PublicAddress(addr))
	case strings.Contains(addr, ","):
		v.bad("kafka.brokers: several brokers in one text: write a list, as [a:9092, b:9092]")
	case url && strings.ContainsAny(host, "/?#"):
		v.bad("kafka.brokers: %q is not host:port", schemas.PublicAddress(addr))
	case url && (strings.EqualFold(scheme, "SASL_SSL") || strings.EqualFold(scheme, "SSL") || strings.EqualFold(scheme, "SASL_PLAINTEXT")):
		v.bad("kafka.brokers: write %s without %s://: kafka.tls.enabled turns TLS (SSL) on, and kafka.sasl.mechanism SASL", host, scheme)
	case url:
		v.bad("kafka.brokers: write %s without a scheme", host)
	default:
		v.address("kafka.brokers", addr)
	}
}

func (v *violations) address(key, addr string) {
	host, port, err := net.SplitHostPort(addr)
	_, badPort := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || badPort != nil || strings.ContainsAny(host, "@/") {
		v.bad("%s: %q is not host:port", key, schemas.PublicAddress(addr))
	}
}

func (v *violations) subscription(key string, s alerts.Subscription) {
	if !groupName.MatchString(s.Name) {
		v.bad("%s.name: %q is not 1 to 100 of a-z A-Z 0-9 . _ -", key, s.Name)
	}
	if (s.Webhook == nil) == (s.Kafka == nil) {
		v.bad("%s: one of webhook and kafka is needed", key)
	}
	if s.Webhook != nil {
		if u, err := url.Parse(s.Webhook.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			v.bad("%s.webhook.url: %q is no http or https URL", key, schemas.PublicAddress(s.Webhook.URL))
		}
		if s.Webhook.Timeout < 0 {
			v.bad("%s.webhook.timeout: must be at least 0, got %s", key, s.Webhook.Timeout)
		}
	}
	if s.Kafka != nil && s.Kafka.Topic == "" {
		v.bad("%s.kafka.topic: missing", key)
	}
	for _, k := range s.Kinds {
		if !slices.Contains([]schemas.EventKind{schemas.EventDrift, schemas.EventAccuracy, schemas.EventRequirement, schemas.EventRetraining}, k) {
			v.bad("%s.kinds: %q is not one of drift, accuracy, requirement, retraining", key, k)
		}
	}
	if s.MinSeverity != "" && !slices.Contains([]schemas.Severity{schemas.SeverityInfo, schemas.SeverityWarning, schemas.SeverityCritical}, s.MinSeverity) {
		v.bad("%s.min_severity: %q is not one of info, warning, critical", key, s.MinSeverity)
	}
}

// CheckCodecs refuses a codec for a model that does not exist, such as by a misspelt name: the
// model that was meant would take JSON.
func (c Config) CheckCodecs(models []string) error {
	var errs []error
	for name := range c.Worker.Codecs {
		if !slices.Contains(models, name) {
			errs = append(errs, fmt.Errorf("worker.codecs.%s: there is no such model in %s; its models are %s", name, c.Models.Repository, strings.Join(models, ", ")))
		}
	}
	return errors.Join(errs...)
}

// CheckAlerts reports the subscriptions to models that are not among those of the repository: they
// would never be sent anything.
func (c Config) CheckAlerts(models []string) error {
	var errs []error
	for i, s := range c.Alerts {
		for _, name := range s.Models {
			if !slices.Contains(models, name) {
				errs = append(errs, fmt.Errorf("alerts[%d].models: there is no model %q in %s; its models are %s", i, name, c.Models.Repository, strings.Join(models, ", ")))
			}
		}
	}
	return errors.Join(errs...)
}
