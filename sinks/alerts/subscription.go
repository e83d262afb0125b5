package alerts

import (
	"slices"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Subscription delivers events that match to one channel, at least once.
type Subscription struct {
	Name        string              `yaml:"name"` // part of the consumer group's name: keep it
	Webhook     *WebhookSettings    `yaml:"webhook,omitempty"`
	Kafka       *TopicSettings      `yaml:"kafka,omitempty"`
	Models      []string            `yaml:"models,omitempty"`       // empty: all
	Kinds       []schemas.EventKind `yaml:"kinds,omitempty"`        // empty: all; an event that asks for retraining is of its job's kind too
	MinSeverity schemas.Severity    `yaml:"min_severity,omitempty"` // empty: all
}

// WebhookSettings posts events as CloudEvents JSON.
type WebhookSettings struct {
	URL     string            `yaml:"url"`
	Headers map[string]string `yaml:"headers,omitempty"`
	Timeout time.Duration     `yaml:"timeout,omitempty"` // default 10s
}

// TopicSettings copies events to a topic of the same cluster.
type TopicSettings struct {
	Topic string `yaml:"topic"`
}

// Matches tells whether the subscription wants the event.
func (s Subscription) Matches(e schemas.EventData) bool {
	return (len(s.Models) == 0 || slices.Contains(s.Models, e.Model)) &&
		(len(s.Kinds) == 0 || slices.ContainsFunc(s.Kinds, e.Is)) &&
		(s.MinSeverity == "" || e.Severity.AtLeast(s.MinSeverity))
}

// channel returns the channel that the subscription names, and the same as hook where that is a
// webhook. A new kind of channel is chosen here.
func (s Subscription) channel(producer Producer) (out Channel, hook *Webhook) {
	if s.Webhook != nil {
		hook = NewWebhook(s.Webhook.URL, s.Webhook.Headers, s.Webhook.Timeout)
		return hook, hook
	}
	return Topic{Producer: producer, Name: s.Kafka.Topic}, nil
}
