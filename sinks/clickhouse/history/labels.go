package history

import (
	"fmt"

	"github.com/millrace/millrace/schemas"
)

// labelOrder orders the labels of a request; the greatest counts. A label that became known
// later corrects one that was known before, whichever partition it came through: offsets of
// different partitions are not comparable. Of labels that became known at the same time, the
// one with the later Kafka timestamp counts; coordinates decide between the others, so that
// every query finds the same one. The comment on the table feedback says it to analysts
// (migration 4).
const labelOrder = "(f.observed_at, f.received_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)"

// latestLabels selects request_id, label and label_class of the labels that count: of each
// request, the last of those that satisfy usable, a condition on the columns of feedback,
// which is called f. ids is a query of request ids; feedback is read by its primary key
// (model, request_id).
func (t versionRows) latestLabels(usable, ids string) string {
	return fmt.Sprintf("SELECT f.request_id AS request_id, (argMax((f.label, f.label_class), %[1]s) AS `0last`).1 AS label, `0last`.2 AS label_class"+
		" FROM %[2]s.feedback AS f WHERE f.model = %[3]s AND %[4]s AND f.request_id IN (%[5]s) GROUP BY f.request_id",
		labelOrder, t.database, quote(t.model), usable, ids)
}

// usable is the condition of a label that the target can use. Other labels correct nothing.
func usable(*schemas.Target) string { return "isNotNull(f.label) AND NOT isNaN(f.label)" }
