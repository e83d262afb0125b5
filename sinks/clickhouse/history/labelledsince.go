package history

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// labelledRow is a row of labelledSinceQuery.
type labelledRow struct {
	TopicID   string    `ch:"topic"`
	Partition int32     `ch:"part"`
	Offset    int64     `ch:"place"`
	StoredAt  time.Time `ch:"stored"`
	First     bool      `ch:"is_first"`
	Rows      uint64    `ch:"n"`
	Answered  uint64    `ch:"answered"`
	EventTime time.Time `ch:"at"`
	Error     float64   `ch:"wrong"`
}

// LabelledSince reads the labels of a model beyond a position that the version's target can use,
// in the order of topic id, partition and offset, with the errors of the version's predictions. It
// returns each usable label beyond the position once, as far as the limit goes, whatever its fate:
// the caller's next position is the last one of each partition that it is done with. Of the labels
// of a request the first that was stored is taken; of the rows of a request id, the first by
// coordinates that the version has answered.
//
// The recorder stores the labels of a partition in the order of their offsets, so none is missed
// below a position. A first query fixes how far the second one reads, whose parts would else
// see different labels where some are stored meanwhile.
func (s *Store) LabelledSince(ctx context.Context, m *schemas.Manifest, want profile.LabelsAfter) ([]profile.Labelled, error) {
	t := s.rowsOf(m)
	wanted := fmt.Sprintf("f.model = %s AND %s AND f.stored_at >= %s%s",
		quote(t.model), usable(m.Target), schemas.SecondsSQL(want.StoredFrom.Unix()), beyond(want.Position))
	var ends []struct {
		TopicID   string `ch:"topic"`
		Partition int32  `ch:"part"`
		From      int64  `ch:"least"`
		To        int64  `ch:"most"`
	}
	if err := s.conn.Select(ctx, &ends, fmt.Sprintf(
		"SELECT topic, part, min(place) AS least, max(place) AS most FROM (SELECT f.feedback_topic_id AS topic, f.feedback_partition AS part, f.feedback_offset AS place FROM %s.feedback AS f WHERE %s ORDER BY topic, part, place LIMIT %d BY topic, part) GROUP BY topic, part ORDER BY topic, part",
		t.database, wanted, max(want.Limit, 1))); err != nil {
		return nil, fmt.Errorf("look for labels of %s: %w", t.model, err)
	}
	if len(ends) == 0 {
		return nil, nil
	}
	ranges := make([]string, len(ends))
	for i, e := range ends {
		ranges[i] = fmt.Sprintf("(f.feedback_topic_id = %s AND f.feedback_partition = %d AND f.feedback_offset BETWEEN %d AND %d)", quote(e.TopicID), e.Partition, e.From, e.To)
	}
	var rows []labelledRow
	if err := s.conn.Select(ctx, &rows, t.labelledSinceQuery(m.Target, wanted+" AND ("+strings.Join(ranges, " OR ")+")", want.ScoredFrom)); err != nil {
		return nil, fmt.Errorf("join labels with %s: %w", t.observations(), err)
	}
	out := make([]profile.Labelled, len(rows))
	for i, r := range rows {
		topic, err := parseTopic(r.TopicID)
		if err != nil {
			return nil, fmt.Errorf("topic id of a label of %s: %w", t.model, err)
		}
		out[i] = profile.Labelled{
			At:       schemas.Coordinates{TopicID: topic, Partition: r.Partition, Offset: r.Offset},
			StoredAt: r.StoredAt.UTC(), Fate: r.fate(), EventTime: r.EventTime.UTC(), Error: r.Error,
		}
	}
	return out, nil
}

func (r *labelledRow) fate() profile.LabelFate {
	switch {
	case !r.First:
		return profile.LabelLater
	case r.Rows == 0:
		return profile.LabelUnknown
	case r.Answered == 0:
		return profile.LabelForeign
	}
	return profile.LabelTaken
}

// beyond is the condition of a label beyond a position.
func beyond(position []schemas.Coordinates) string {
	var b strings.Builder
	for _, c := range position {
		fmt.Fprintf(&b, " AND NOT (f.feedback_topic_id = %s AND f.feedback_partition = %d AND f.feedback_offset <= %d)", quote(topicText(c.TopicID)), c.Partition, c.Offset)
	}
	return b.String()
}

// labelLead is how long before its request is scored a label may be stored. An earlier one is not known
// as the first of the request.
const labelLead = time.Hour

// labelledSinceQuery joins the labels that satisfy wanted, a condition on feedback as f, with the
// first place of a usable label of their requests and with the rows of these.
func (t versionRows) labelledSinceQuery(target *schemas.Target, wanted string, scoredFrom time.Time) string {
	const place = "(f.stored_at, f.feedback_topic_id, f.feedback_partition, f.feedback_offset)"
	labels := fmt.Sprintf("FROM %s.feedback AS f WHERE %s", t.database, wanted)
	prediction, none := "toFloat64("+column(target.Score)+")", "NOT isFinite(o.`0s`)"
	if target.Kind == schemas.TargetMulticlass {
		prediction, none = "toString("+column(target.Score)+")", "0"
	}
	answered := fmt.Sprintf("version = %s AND outcome = %s", quote(t.version), quote(schemas.OutcomeOK))
	return fmt.Sprintf("SELECT g.topic AS topic, g.part AS part, g.place AS place, g.stored AS stored, (g.stored, g.topic, g.part, g.place) = l.`0first` AS is_first,\n"+
		"  o.`0n` AS n, o.`0a` AS answered, o.`0t` AS at, if(o.`0p` = 0 OR %[1]s, nan, toFloat64(%[2]s)) AS wrong\n"+
		"FROM (SELECT f.request_id AS request_id, f.feedback_topic_id AS topic, f.feedback_partition AS part, f.feedback_offset AS place, f.stored_at AS stored, f.label AS label, f.label_class AS label_class %[3]s) AS g\n"+
		"INNER JOIN (SELECT f.request_id AS request_id, min(%[4]s) AS `0first` FROM %[5]s.feedback AS f WHERE f.model = %[6]s AND f.stored_at >= %[13]s AND %[7]s AND f.request_id IN (SELECT f.request_id %[3]s) GROUP BY f.request_id) AS l ON l.request_id = g.request_id\n"+
		"LEFT JOIN (\n"+
		"  SELECT request_id, count() AS `0n`, countIf(%[8]s) AS `0a`, countIf(%[8]s AND %[9]s) AS `0p`, argMinIf((event_time, %[10]s), (request_topic_id, request_partition, request_offset, request_row), %[8]s AND %[9]s) AS `0r`,\n"+
		"    if(`0p` > 0, `0r`.1, minIf(event_time, %[8]s)) AS `0t`, assumeNotNull(`0r`.2) AS `0s`\n"+
		"  FROM %[11]s WHERE scored_at >= %[12]s AND request_id IN (SELECT f.request_id %[3]s) GROUP BY request_id\n"+
		") AS o ON o.request_id = g.request_id\n"+
		"ORDER BY topic, part, place",
		none, wrong(target), labels, place, t.database, quote(t.model), usable(target), answered, predicted(target), prediction,
		t.observations(), instant(scoredFrom), schemas.SecondsSQL(max(scoredFrom.Add(-labelLead).Unix(), 0)))
}

// wrong is the error of a prediction, which is o.`0s`, by the label of g.
func wrong(target *schemas.Target) string {
	label := labelOf(target, "g")
	switch target.Kind {
	case schemas.TargetMulticlass:
		return "o.`0s` != " + label
	case schemas.TargetRegression:
		return "abs(o.`0s` - assumeNotNull(" + label + "))"
	case schemas.TargetBinary:
	}
	positive := "assumeNotNull(" + label + ") > " + strconv.FormatFloat(target.PositiveAbove, 'e', -1, 64)
	if target.Positive != "" {
		positive = label + " = " + quote(target.Positive)
	}
	return fmt.Sprintf("(o.`0s` >= %s) != (%s)", strconv.FormatFloat(target.Threshold, 'e', -1, 64), positive)
}
