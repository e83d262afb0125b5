package history

import (
	"fmt"
	"strings"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// RowsSQL returns plain SQL for the answered rows of a version in a span.
func (s *Store) RowsSQL(m *schemas.Manifest, span profile.Span) string {
	t := s.rowsOf(m)
	return fmt.Sprintf("SELECT * FROM %s WHERE %s ORDER BY event_time", t.observations(), t.where(span))
}

// TrainingSQL returns plain SQL for the rows that a retraining would start from: request
// id, event time, the features and the last label (column label, or feedback_label where a
// feature is called label) of each row of the span that has one: a class as text, else a number.
// Without a target there are no labels, and all rows are selected.
func (s *Store) TrainingSQL(m *schemas.Manifest, span profile.Span) string {
	t := s.rowsOf(m)
	columns := []string{"o.request_id AS request_id", "o.event_time AS event_time"}
	for _, f := range m.Features {
		columns = append(columns, "o."+column(f.Name)+" AS "+column(f.Name))
	}
	if m.Target == nil {
		return fmt.Sprintf("SELECT %s FROM %s AS o WHERE %s ORDER BY event_time",
			strings.Join(columns, ", "), t.observations(), t.where(span))
	}
	label := "label"
	if _, taken := m.Feature(label); taken {
		label = "feedback_label"
	}
	columns = append(columns, labelOf(m.Target, "f")+" AS "+label)
	rows := t.observations() + " WHERE " + t.where(span)
	return fmt.Sprintf("SELECT %s FROM (SELECT * FROM %s) AS o INNER JOIN (%s) AS f ON f.request_id = o.request_id ORDER BY event_time",
		strings.Join(columns, ", "), rows, t.latestLabels(usable(m.Target), "SELECT request_id FROM "+rows))
}
