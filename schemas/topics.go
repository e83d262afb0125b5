package schemas

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Header keys on Kafka records.
const (
	HeaderRequestID = "request-id" // of a request; echoed with all other headers on its result

	HeaderModel   = "millrace-model"   // of observations and dead letters
	HeaderVersion = "millrace-version" // of observations and dead letters
	HeaderRows    = "millrace-rows"    // of observations: number of rows, decimal

	// Of dead letters, beside the original headers.
	HeaderErrorClass = "millrace-error-class"
	HeaderReason     = "millrace-reason"
	HeaderTopic      = "millrace-topic"
	HeaderTopicID    = "millrace-topic-id"
	HeaderPartition  = "millrace-partition"
	HeaderOffset     = "millrace-offset"
	HeaderRow        = "millrace-row"         // only where the dead letter is of one row of an Arrow record: decimal
	HeaderFailedAt   = "millrace-failed-at"   // RFC 3339, microseconds, UTC
	HeaderCut        = "millrace-cut"         // only where the record was too large to be kept whole: its size in bytes
	HeaderLastOffset = "millrace-last-offset" // only where the dead letter is of a batch of records, which could not be read: decimal

	// HeaderReplayOf is set on a request that `millrace deadletters replay` produced:
	// the default request id of the record that was dead-lettered.
	HeaderReplayOf = "millrace-replay-of"
)

// Sizes in bytes. A result or a dead letter carries at most the request and some headers,
// so its topic takes twice a request.
const (
	MaxRequestBytes     = 4 << 20
	MaxResultBytes      = 8 << 20
	MaxDeadLetterBytes  = 8 << 20
	MaxSmallRecordBytes = 1 << 20

	// MaxObservationBytes bounds the Arrow IPC stream in one observation record; a single row
	// may exceed it.
	MaxObservationBytes = 512 << 10

	// MaxTextBytes bounds the texts of one request's features together, and those of its
	// outputs, so that a row of both fits an observation record.
	MaxTextBytes = 448 << 10
	// MaxCategoryBytes bounds the categories of a manifest's features together: every
	// observation record repeats them.
	MaxCategoryBytes = 96 << 10
)

// Topics are the names of the Kafka topics. Requests and Results are prefixes that a
// model's name is appended to.
type Topics struct {
	Requests     string `yaml:"requests"`
	Results      string `yaml:"results"`
	Observations string `yaml:"observations"`
	DeadLetters  string `yaml:"deadletters"`
	Feedback     string `yaml:"feedback"`
	Control      string `yaml:"control"`
	Events       string `yaml:"events"`
	Audit        string `yaml:"audit"` // made and checked as the others are; nothing writes to it yet
}

// DefaultTopics returns the names that hold where the configuration gives no others.
func DefaultTopics() Topics {
	return Topics{
		Requests:     "millrace.requests.",
		Results:      "millrace.results.",
		Observations: "millrace.observations",
		DeadLetters:  "millrace.deadletters",
		Feedback:     "millrace.feedback",
		Control:      "millrace.control",
		Events:       "millrace.events",
		Audit:        "millrace.audit",
	}
}

// Validate reports every name that Kafka would refuse and every name used twice, and
// every name that makes workers read their own output as requests.
func (t Topics) Validate() error {
	var errs []error
	seen := map[string]string{}
	for _, f := range []struct{ key, name string }{
		{"requests", t.Requests},
		{"results", t.Results},
		{"observations", t.Observations},
		{"deadletters", t.DeadLetters},
		{"feedback", t.Feedback},
		{"control", t.Control},
		{"events", t.Events},
		{"audit", t.Audit},
	} {
		if !validTopic(f.name) {
			errs = append(errs, fmt.Errorf("topics.%s: %q is no topic name: 1 to 180 of a-z A-Z 0-9 . _ -", f.key, f.name))
		}
		if other, ok := seen[f.name]; ok {
			errs = append(errs, fmt.Errorf("topics.%s: %q is already topics.%s", f.key, f.name, other))
		}
		seen[f.name] = f.key
		if f.name != t.Requests && t.isRequests(f.name) {
			errs = append(errs, fmt.Errorf("topics.%s: %q starts with topics.requests %q, so workers would read it as requests", f.key, f.name, t.Requests))
		}
	}
	if t.Results != "" && t.Results != t.Requests && strings.HasPrefix(t.Requests, t.Results) {
		errs = append(errs, fmt.Errorf("topics.requests: %q starts with topics.results %q, so workers could read results as requests", t.Requests, t.Results))
	}
	return errors.Join(errs...)
}

// Clashes tells whether a topic of this name would be one of these topics or, for some
// model, a requests or results topic. An empty name clashes with nothing.
func (t Topics) Clashes(name string) bool {
	switch name {
	case "":
		return false
	case t.Requests, t.Results, t.Observations, t.DeadLetters, t.Feedback, t.Control, t.Events, t.Audit:
		return true
	}
	model, ok := strings.CutPrefix(name, t.Results)
	return t.isRequests(name) || (ok && ValidModelName(model))
}

// isRequests tells whether workers read the topic: all with the prefix, whatever follows.
func (t Topics) isRequests(name string) bool {
	return t.Requests != "" && strings.HasPrefix(name, t.Requests)
}

func validTopic(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 180 { // 249 less the longest model name
		return false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// RequestsOf returns the requests topic of a model.
func (t Topics) RequestsOf(model string) string { return t.Requests + model }

// ResultsOf returns the results topic of a model.
func (t Topics) ResultsOf(model string) string { return t.Results + model }

// ModelOf returns the model whose requests topic this is.
func (t Topics) ModelOf(topic string) (model string, ok bool) {
	return strings.CutPrefix(topic, t.Requests)
}

// MaxBytes returns how large a batch of records may be that a topic takes, compressed, as Specs
// makes it. One that is not ours takes what Kafka's default is, about.
func (t Topics) MaxBytes(topic string) int {
	switch {
	case topic == t.DeadLetters:
		return MaxDeadLetterBytes
	case slices.Contains([]string{t.Observations, t.Feedback, t.Control, t.Events, t.Audit}, topic):
		return MaxSmallRecordBytes
	case strings.HasPrefix(topic, t.Results):
		return MaxResultBytes
	case strings.HasPrefix(topic, t.Requests):
		return MaxRequestBytes
	}
	return MaxSmallRecordBytes
}

// TopicSpec is what `millrace topics apply` makes and `check` compares with.
type TopicSpec struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16
	Config            map[string]string // Kafka topic configuration
	Follows           string            // a topic than which it must not have fewer partitions; "": none
}

// TopicSettings are the sizes that an operator chooses.
type TopicSettings struct {
	Partitions        int32         `yaml:"partitions"`         // of each requests topic, and of its results topic
	ReplicationFactor int16         `yaml:"replication_factor"` // -1 takes the broker's default
	Retention         time.Duration `yaml:"retention"`          // of requests, results, observations and feedback
	RetentionBytes    int64         `yaml:"retention_bytes"`    // per partition of the same; -1 is unlimited
	Spread            int32         `yaml:"spread"`             // partitions of the observations topic
}

// Specs lists every topic that the named models need, with partitions, retention,
// compaction and the largest record.
func (t Topics) Specs(models []string, s TopicSettings) []TopicSpec {
	stream := func(name string, partitions int32) TopicSpec {
		return TopicSpec{Name: name, Partitions: partitions, ReplicationFactor: s.ReplicationFactor, Config: map[string]string{
			"cleanup.policy": "delete", "max.message.bytes": strconv.Itoa(t.MaxBytes(name)),
			"retention.ms": strconv.FormatInt(s.Retention.Milliseconds(), 10), "retention.bytes": strconv.FormatInt(s.RetentionBytes, 10),
		}}
	}
	// Dead letters, events and audit are small and are what people come back for: kept
	// four times as long, and never cut by size.
	kept := func(name string, partitions int32) TopicSpec {
		spec := stream(name, partitions)
		spec.Config["retention.ms"] = strconv.FormatInt(4*s.Retention.Milliseconds(), 10)
		spec.Config["retention.bytes"] = "-1"
		return spec
	}
	// Kafka deletes by timestamps: the one that counts is when a label arrived, since a backfill
	// is dated as its producer likes. (Requests keep theirs, which can be their event time.)
	feedback := stream(t.Feedback, s.Partitions)
	feedback.Config["message.timestamp.type"] = "LogAppendTime"
	var specs []TopicSpec
	for _, m := range models {
		results := stream(t.ResultsOf(m), s.Partitions)
		results.Follows = t.RequestsOf(m) // results take their request's partition number
		specs = append(specs, stream(t.RequestsOf(m), s.Partitions), results)
	}
	return append(specs,
		stream(t.Observations, s.Spread),
		kept(t.DeadLetters, 1),
		feedback,
		TopicSpec{Name: t.Control, Partitions: 1, ReplicationFactor: s.ReplicationFactor, Config: map[string]string{
			"cleanup.policy": "compact", "max.message.bytes": strconv.Itoa(t.MaxBytes(t.Control)),
		}},
		kept(t.Events, 1),
		kept(t.Audit, 1))
}
