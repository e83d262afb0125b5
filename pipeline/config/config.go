package config

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/registry"
	"github.com/millrace/millrace/drift/report"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/sinks/alerts"
)

// Role is one of the three parts that a millrace process can play.
type Role string

// The roles.
const (
	RoleWorker   Role = "worker"   // answers requests
	RoleRecorder Role = "recorder" // stores observations, feedback, dead letters and events
	RoleMonitor  Role = "monitor"  // judges windows, raises events, delivers alerts
)

// Config is everything that an operator chooses. Default has a value for each key;
// a file overrides it, MILLRACE_… overrides the file, flags override both.
type Config struct {
	Instance     string                `yaml:"instance"` // of this process; stable over restarts and unique in the worker group
	Roles        []Role                `yaml:"roles"`
	DrainTimeout time.Duration         `yaml:"drain_timeout"` // from SIGTERM to giving up
	Log          Log                   `yaml:"log"`
	HTTP         HTTP                  `yaml:"http"`
	Kafka        Kafka                 `yaml:"kafka"`
	Consumers    Consumers             `yaml:"consumers"`
	Registry     Registry              `yaml:"registry"`
	Topics       Topics                `yaml:"topics"`
	ClickHouse   ClickHouse            `yaml:"clickhouse"`
	Models       Models                `yaml:"models"`
	Worker       Worker                `yaml:"worker"`
	Recorder     Recorder              `yaml:"recorder"`
	Monitor      Monitor               `yaml:"monitor"`
	Alerts       []alerts.Subscription `yaml:"alerts"`
	Embedded     Embedded              `yaml:"embedded"`
}

// Log chooses what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // json or console
}

// HTTP is the admin port: /metrics, /healthz, /readyz.
type HTTP struct {
	Addr  string `yaml:"addr"`  // empty: none
	Pprof bool   `yaml:"pprof"` // /debug/pprof too, on loopback only
}

// Kafka says how Kafka is reached.
type Kafka struct {
	Brokers        []string      `yaml:"brokers"`
	ClientID       string        `yaml:"client_id"`
	SessionTimeout time.Duration `yaml:"session_timeout"` // after which a silent group member is taken for dead
	TLS            link.TLS      `yaml:"tls"`
	SASL           link.SASL     `yaml:"sasl"`
	// CompressionType is that of results, dead letters and events.
	CompressionType schemas.Compression `yaml:"compression_type"`
}

// Connection is what every client of Kafka is dialled by. The clients of one share an OAuth token.
func (c Kafka) Connection() consumers.Connection {
	conn := consumers.Connection{Brokers: c.Brokers, ClientID: c.ClientID, Compression: c.CompressionType, SASL: c.SASL.Credentials("kafka.sasl")}
	if c.TLS.On() {
		conn.TLS = c.TLS.Dialer("kafka.tls")
	}
	return conn
}

// Consumers is about what every reader of a topic meets.
type Consumers struct {
	Unreadable consumers.Unreadable `yaml:"unreadable"` // a record batch that cannot be read: stop or skip
}

// Topics names and sizes the topics.
type Topics struct {
	schemas.Topics        `yaml:",inline"`
	schemas.TopicSettings `yaml:",inline"`
}

// ClickHouse says how ClickHouse is reached, and how long rows live.
type ClickHouse struct {
	Addr     []string    `yaml:"addr"` // of the HTTP interface: host:port, or a URL with the path of a proxy
	TLS      link.TLS    `yaml:"tls"`
	Username string      `yaml:"username"`
	Password link.Secret `yaml:"password"`
	// PasswordFile holds the password, and is read again when it has changed. By default it is
	// the one that the embedded ClickHouse writes, where Addr is its address.
	PasswordFile string `yaml:"password_file"`
	Database     string `yaml:"database"`
	TTLDays      int    `yaml:"ttl_days"`
	// Durability says whether an insert is answered before its rows have reached the disk.
	Durability schemas.Durability `yaml:"durability"`
	// Cluster is one of the server's remote_servers, on which tables are replicated; "" is one server.
	Cluster string `yaml:"cluster"`
	// InsertQuorum is how many replicas have the rows of an insert that is answered: auto, most of
	// them, or a number.
	InsertQuorum string `yaml:"insert_quorum"`
}

// Models says where versions lie and which of them serve.
type Models struct {
	Repository string            `yaml:"repository"`
	Versions   map[string]string `yaml:"versions"` // model: version; default the newest of each model

	// A graph is a program: a process of its own loads and runs it first, within these limits.
	LoadTimeout time.Duration `yaml:"load_timeout"`
	LoadMemory  int64         `yaml:"load_memory"` // bytes

	Failed        Failed        `yaml:"failed"`         // what becomes of the requests of a model that cannot be loaded
	RetryInterval time.Duration `yaml:"retry_interval"` // after which such a model is tried again, at the earliest
}

// Failed says what becomes of the requests of a model that cannot be loaded, or lacks its topics.
type Failed string

// What becomes of them.
const (
	FailedWait       Failed = "wait"        // they stay on their topic until the model serves
	FailedDeadLetter Failed = "dead_letter" // they become dead letters
)

// The least limits with which a model can be loaded.
const (
	LeastLoadTimeout = time.Second
	LeastLoadMemory  = 256 << 20
)

// Worker sizes the worker.
type Worker struct {
	Group              string                 `yaml:"group"`
	Lanes              int                    `yaml:"lanes"`
	Delivery           consumers.Delivery     `yaml:"delivery"`          // exactly_once or at_least_once
	StaticMembership   bool                   `yaml:"static_membership"` // a restart within kafka.session_timeout moves no partition
	Start              string                 `yaml:"start"`             // where partitions begin that were answered and have no offset: earliest, latest, answered, a time; empty: nowhere
	Deduplicate        Deduplicate            `yaml:"deduplicate"`
	Codecs             map[string]codec.Codec `yaml:"codecs"`            // model: json, avro, protobuf or arrow; default json
	MaxBatchRows       int                    `yaml:"max_batch_rows"`    // of one poll, over all models
	MaxRequestBytes    int                    `yaml:"max_request_bytes"` // of one request; larger ones are dead letters
	TransactionTimeout time.Duration          `yaml:"transaction_timeout"`
}

// Values of worker.start, beside a time in RFC 3339.
const (
	StartRefuse   = ""
	StartEarliest = "earliest"
	StartLatest   = "latest"
	StartAnswered = "answered"
)

// Deduplicate is about requests that a producer sends again with the same id.
type Deduplicate struct {
	Window      time.Duration `yaml:"window"`       // how long an id is remembered; 0: not at all
	MaxRequests int           `yaml:"max_requests"` // how many ids of a partition are remembered; about 100 bytes each
}

// Codec returns the codec of a model's requests and results.
func (c Worker) Codec(model string) codec.Codec {
	if c, ok := c.Codecs[model]; ok {
		return c
	}
	return codec.JSON
}

// Registry says how the Schema Registry is reached.
type Registry struct {
	URL          string      `yaml:"url"`      // empty: none, and neither avro nor protobuf
	Username     string      `yaml:"username"` // basic authentication; empty: none
	Password     link.Secret `yaml:"password"`
	PasswordFile string      `yaml:"password_file"` // has the password; read for each question
	OAuth        link.OAuth  `yaml:"oauth"`         // a bearer token instead of user and password
	TLS          link.TLS    `yaml:"tls"`           // in force where url begins with https://
}

// Client returns what a client of the Schema Registry is made from.
func (c Registry) Client() registry.Config {
	cfg := registry.DefaultConfig()
	cfg.URL, cfg.Username, cfg.Password, cfg.PasswordFile = c.URL, c.Username, c.Password, c.PasswordFile
	cfg.OAuth, cfg.TLS = c.OAuth, c.TLS
	return cfg
}

// Recorder sizes the recorder.
type Recorder struct {
	Group         string        `yaml:"group"`
	FlushRows     int           `yaml:"flush_rows"` // of one topic
	FlushBytes    int           `yaml:"flush_bytes"`
	FlushInterval time.Duration `yaml:"flush_interval"`
	// InsertDeadline is how long after a range was announced ClickHouse takes its inserts.
	// After a crash the range is stored again when it has passed.
	InsertDeadline time.Duration `yaml:"insert_deadline"`
	// VerifyInterval is how often ClickHouse is asked whether it was started anew or has set parts
	// aside; what was stored last is compared with the log then.
	VerifyInterval time.Duration `yaml:"verify_interval"`
}

// Monitor schedules the drift and accuracy jobs.
type Monitor struct {
	Interval       time.Duration `yaml:"interval"`
	ReportInterval time.Duration `yaml:"report_interval"`
	ReportsDir     string        `yaml:"reports_dir"`
	// ReportsSchedule is a cron expression: reports are written when it has fired, of the windows that
	// were finished by then; empty: as soon as windows are.
	ReportsSchedule string `yaml:"reports_schedule"`
	ReportsTimezone string `yaml:"reports_timezone"` // of reports_schedule; empty: UTC
	ReportsURL      string `yaml:"reports_url"`      // under which reports_dir is served, for links in events; empty: events name the path
}

// Schedule returns that of reports; nil where they are written as soon as windows are finished.
func (m Monitor) Schedule() (*report.Schedule, error) {
	if m.ReportsSchedule == "" {
		if m.ReportsTimezone != "" {
			return nil, errors.New("missing, but monitor.reports_timezone is set")
		}
		return nil, nil //nolint:nilnil // there is none
	}
	return report.NewSchedule(m.ReportsSchedule, m.ReportsTimezone)
}

// Embedded is for `millrace dev` and `millrace demo`.
type Embedded struct {
	Dir            string `yaml:"dir"`             // data of both services
	KafkaAddr      string `yaml:"kafka_addr"`      // a free port is taken when this one is in use
	ClickHouseAddr string `yaml:"clickhouse_addr"` // a free port is taken when this one is in use
	Sandbox        string `yaml:"sandbox"`         // of the embedded ClickHouse: auto, required, off
}

// ForDemo returns where the demo keeps its data.
func (c Embedded) ForDemo() Embedded {
	c.Dir = filepath.Join(c.Dir, "demo")
	return c
}

// Default returns the defaults.
func Default() Config {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "millrace"
	}
	return Config{
		Instance:     host,
		Roles:        []Role{RoleWorker, RoleRecorder, RoleMonitor},
		DrainTimeout: 30 * time.Second,
		Log:          Log{Level: "info", Format: "console"},
		HTTP:         HTTP{Addr: "127.0.0.1:8080"},
		Kafka:        Kafka{Brokers: []string{"127.0.0.1:9092"}, ClientID: "millrace", SessionTimeout: 10 * time.Second, CompressionType: schemas.CompressionSnappy},
		Consumers:    Consumers{Unreadable: consumers.UnreadableStop},
		Topics: Topics{schemas.DefaultTopics(), schemas.TopicSettings{
			Partitions: 4, ReplicationFactor: -1, Retention: 7 * 24 * time.Hour, RetentionBytes: -1, Spread: 1,
		}},
		ClickHouse: ClickHouse{Addr: []string{"127.0.0.1:8123"}, Username: "default", Database: "millrace", TTLDays: 90, Durability: schemas.DurabilityFsync, InsertQuorum: "auto"},
		Models:     Models{Repository: "models", LoadTimeout: time.Minute, LoadMemory: 4 << 30, Failed: FailedWait, RetryInterval: time.Minute},
		// Two lanes keep two cores busy: one scores while the other waits for Kafka.
		Worker: Worker{
			Group: "millrace-workers", Lanes: 2, Delivery: consumers.ExactlyOnce, Deduplicate: Deduplicate{MaxRequests: 1_000_000}, MaxBatchRows: 8192, MaxRequestBytes: 1 << 20, TransactionTimeout: 10 * time.Second,
		},
		// An insert has at most 200,000 rows and 32 MiB, half of FlushBytes, about: large enough for
		// ClickHouse, small enough to repeat.
		Recorder: Recorder{Group: "millrace-recorders", FlushRows: 200_000, FlushBytes: 64 << 20, FlushInterval: time.Second, InsertDeadline: 15 * time.Second, VerifyInterval: 10 * time.Second},
		Monitor:  Monitor{Interval: 30 * time.Second, ReportInterval: time.Minute, ReportsDir: "reports"},
		Embedded: Embedded{Dir: "data", KafkaAddr: "127.0.0.1:9092", ClickHouseAddr: "127.0.0.1:8123", Sandbox: "auto"},
	}
}

var (
	instanceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	groupName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
)

// Storage returns what the tables need to know.
func (c Config) Storage() schemas.Storage {
	return schemas.Storage{
		Database: c.ClickHouse.Database, TTLDays: c.ClickHouse.TTLDays, Durability: c.ClickHouse.Durability,
		Cluster: c.ClickHouse.Cluster, Quorum: c.ClickHouse.InsertQuorum,
	}
}
