package history

import (
	"fmt"
	"strings"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Columns of LabelledSQL, which no feature or output can bear.
const (
	LabelledLabel = "0label"       // a label that is a number; NULL without one
	LabelledClass = "0label_class" // a label that is text; NULL without one
)

// LabelledSQL returns plain SQL for the answered rows of a version in a span, in the order of
// event time: event_time, the features, the outputs, and where there is a target the label of
// the row that counts, in the columns LabelledLabel and LabelledClass.
func (s *Store) LabelledSQL(m *schemas.Manifest, span profile.Span) string {
	t := s.rowsOf(m)
	columns := []string{"o." + schemas.ColumnEventTime + " AS " + schemas.ColumnEventTime}
	for _, f := range m.Features {
		columns = append(columns, "o."+column(f.Name)+" AS "+column(f.Name))
	}
	for _, o := range m.Outputs {
		columns = append(columns, "o."+column(o.Name)+" AS "+column(o.Name))
	}
	rows := t.observations() + " WHERE " + t.where(span)
	if m.Target == nil {
		return fmt.Sprintf("SELECT %s FROM (SELECT * FROM %s) AS o ORDER BY event_time", strings.Join(columns, ", "), rows)
	}
	columns = append(columns, "toNullable(f.label) AS "+column(LabelledLabel), "nullIf(f.label_class, '') AS "+column(LabelledClass))
	return fmt.Sprintf("SELECT %s FROM (SELECT * FROM %s) AS o LEFT JOIN (%s) AS f ON f.request_id = o.request_id ORDER BY event_time",
		strings.Join(columns, ", "), rows, t.latestLabels(usable(m.Target), "SELECT request_id FROM "+rows))
}
