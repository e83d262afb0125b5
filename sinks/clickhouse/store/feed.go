package store

import (
	"slices"

	"github.com/millrace/millrace/schemas"
)

// feed is what is stored of one topic. A new one is a line of newFeeds.
type feed struct {
	topic string
	table *table // of its records' rows; nil for observations, whose tables follow from their schemas
	// take sorts a record in, or says why it cannot be used. A row that a record has stays,
	// whatever would be decided of the record now.
	take func(c *call, r *schemas.Record) *schemas.RequestError
}

// newFeeds returns the feeds, dead letters last: what is refused of the others is among them.
func newFeeds(t schemas.Topics) []feed {
	return []feed{
		{t.Observations, nil, (*call).takeObservations},
		{t.Feedback, feedbackTable, (*call).takeLabel},
		{t.Events, eventsTable, (*call).takeEvent},
		{t.DeadLetters, deadLettersTable, (*call).takeLetter},
	}
}

// feed returns the feed of a topic, nil if there is none.
func (s *Store) feed(topic string) *feed {
	if i := slices.IndexFunc(s.feeds, func(f feed) bool { return f.topic == topic }); i >= 0 {
		return &s.feeds[i]
	}
	return nil
}

// Topics returns the topics whose records are stored.
func (s *Store) Topics() []string {
	topics := make([]string, len(s.feeds))
	for i, f := range s.feeds {
		topics[i] = f.topic
	}
	return topics
}

func (c *call) takeLabel(r *schemas.Record) *schemas.RequestError {
	rows := c.rows[feedbackTable]
	refused := c.labels.Decode(r, &c.label)
	if refused == nil {
		rows.addFeedback(r, &c.label)
	} else if rows.has(r) {
		return nil
	}
	return refused
}

func (c *call) takeEvent(r *schemas.Record) *schemas.RequestError {
	rows := c.rows[eventsTable]
	refused := rows.addEvent(r)
	if rows.has(r) {
		return nil
	}
	return refused
}

func (c *call) takeLetter(r *schemas.Record) *schemas.RequestError {
	c.letters.addLetter(r)
	return nil
}
