package pipeline_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/pipeline/verify"
)

// verify verifies, and returns every difference beside the report.
func (h *harness) verify(repair bool) (*verify.Report, []verify.Difference) {
	h.Helper()
	var all []verify.Difference
	o := operate.VerifyOptions{Repair: repair, Logger: h.log}
	o.Each = func(d verify.Difference) { all = append(all, d) }
	report, err := operate.Verify(h.Context(), h.cfg, o)
	require.NoError(h, err)
	return report, all
}

func (h *harness) requireEqual() {
	h.Helper()
	report, all := h.verify(false)
	var text bytes.Buffer
	require.NoError(h, report.WriteTable(&text))
	require.Empty(h, all, text.String())
	require.True(h, report.Equal, text.String())
}

// Another database than the recorder's is named, and all rows are not called missing.
func TestVerifyOfNoDatabase(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares})
	_, err := operate.Verify(t.Context(), h.config("clickhouse.database=nowhere"), operate.VerifyOptions{Logger: h.log})
	require.ErrorContains(t, err, "database nowhere (clickhouse.database) is not there")
}

// TestVerifyFindsWhatWasLostOrDoubledByHand removes and doubles rows, labels, dead letters,
// events, minutes, parts and partitions at random, a hundred times in all. Each is found, by
// its coordinates, and nothing else; the repair ends in equality, beside a recorder that runs.
func TestVerifyFindsWhatWasLostOrDoubledByHand(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares, catalogtest.Prices})
	rnd := seeded(t)
	tr := newTraffic(h, rnd, 1500)
	h.start("worker,recorder")
	tr.sendHour()
	h.produceOddities(200)
	h.settled(h.cfg.Topics.RequestsOf("fares"), h.cfg.Topics.RequestsOf("prices"))
	h.requireEqual()
	changes := 0
	for round := range 4 {
		d := &damage{harness: h, rnd: rnd, want: map[string]string{}}
		d.losePart([]string{"observations_fares", "feedback"}[round%2])
		if round == 3 {
			d.losePartition("events")
		}
		d.minute(round)
		for d.done < 25 {
			d.row()
		}
		changes += d.done
		report, all := h.verify(false)
		require.False(t, report.Equal)
		got := map[string]string{}
		minutes := map[string]bool{}
		for _, f := range all {
			if f.Kind == verify.KindMinutes {
				minutes[f.Table] = true
				continue
			}
			got[fmt.Sprintf("%s %s %d/%d/%d", f.Kind, f.TopicID, f.Partition, f.Offset, f.Row)] = f.Fault
		}
		require.Equal(t, d.want, got)
		require.True(t, minutes["prices"], "the minute of prices that was changed")
		report, _ = h.verify(true)
		require.True(t, report.Equal, "%+v", report.Lines)
		require.NotEmpty(t, report.Before)
		h.requireEqual()
	}
	t.Logf("%d of %d changes found", changes, changes)
	require.Equal(t, 100, changes)
	h.requireMinutes("fares")
	h.requireMinutes("prices")
	tr.sendHour() // the recorder goes on
	h.settled(h.cfg.Topics.RequestsOf("fares"))
	h.requireEqual()
}

// produceOddities produces requests of which every second fails, feedback that cannot be
// used, and events.
func (h *harness) produceOddities(n int) {
	h.Helper()
	var records []*kgo.Record
	for i := range n {
		records = append(records,
			&kgo.Record{Topic: h.cfg.Topics.RequestsOf("prices"), Partition: int32(i % 3), Value: fmt.Appendf(nil, `{"index":%d}`, 99*(i%2))},
			&kgo.Record{Topic: h.cfg.Topics.Feedback, Partition: int32(i % 3), Value: []byte("no label")},
			&kgo.Record{Topic: h.cfg.Topics.Events, Partition: 0, Value: fmt.Appendf(nil, `{"specversion":"1.0","id":"e%d","source":"test","type":"test","time":"2026-01-02T03:04:05Z"}`, i)})
	}
	h.produce(records...)
}

// damage is what was done to the tables by hand.
type damage struct {
	*harness
	rnd  *rand.Rand
	want map[string]string // fault, by kind and coordinates
	done int
}

// coordinates are, by table, the columns that the coordinates of a row lie in, and the kind of
// difference that it is.
var coordinates = map[string]struct{ columns, kind string }{
	"observations_fares": {"request_topic_id, request_partition, request_offset, request_row", verify.KindObservations},
	"feedback":           {"feedback_topic_id, feedback_partition, feedback_offset, toInt32(0)", verify.KindFeedback},
	"dead_letters":       {"dead_letter_topic_id, dead_letter_partition, dead_letter_offset, toInt32(0)", verify.KindDeadLetters},
	"events":             {"event_topic_id, event_partition, event_offset, toInt32(0)", verify.KindEvents},
}

// kind is the kind of a dead letter's difference: refused feedback counts as feedback.
func (d *damage) kind(table, topicID string) string {
	d.Helper()
	if table == "dead_letters" {
		log, err := d.reader.Log(d.Context(), d.cfg.Topics.Feedback)
		require.NoError(d, err)
		if log.ID.String() == topicID {
			return verify.KindFeedback
		}
	}
	return coordinates[table].kind
}

func (d *damage) note(table string, row []string, fault string) bool {
	d.Helper()
	key := fmt.Sprintf("%s %s %s/%s/%s", d.kind(table, row[0]), row[0], row[1], row[2], row[3])
	if _, ok := d.want[key]; ok {
		return false
	}
	d.want[key] = fault
	return true
}

// lose notes what a condition selects, and loses it.
func (d *damage) lose(table, where, statement string) {
	d.Helper()
	rows := d.sql("SELECT " + coordinates[table].columns + " FROM millrace." + table + " WHERE " + where)
	require.NotEmpty(d, rows)
	for _, row := range rows {
		require.True(d, d.note(table, row, verify.Missing))
	}
	d.exec(statement)
	d.done++
}

func (d *damage) losePart(table string) {
	d.Helper()
	columns := coordinates[table].columns
	d.eventually("a part is lost before it is merged", func() (string, bool) {
		parts := d.sql("SELECT name FROM system.parts WHERE active AND database = 'millrace' AND table = '" + table + "' AND rows > 0 ORDER BY name")
		part := parts[d.rnd.IntN(len(parts))][0]
		rows := d.sql("SELECT " + columns + " FROM millrace." + table + " WHERE _part = '" + part + "'")
		if d.try("ALTER TABLE millrace."+table+" DROP PART '"+part+"'") != nil {
			return part, false
		}
		for _, row := range rows {
			require.True(d, d.note(table, row, verify.Missing))
		}
		d.done++
		return "", true
	})
}

// try runs a statement on ClickHouse that changes it, and may fail.
func (h *harness) try(statement string) error {
	h.Helper()
	req, err := http.NewRequestWithContext(h.Context(), http.MethodPost, "http://"+h.services.ClickHouse.Addr(), strings.NewReader(statement))
	require.NoError(h, err)
	password, err := os.ReadFile(h.cfg.ClickHouse.PasswordFile)
	require.NoError(h, err)
	req.SetBasicAuth("default", strings.TrimSpace(string(password)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

func (d *damage) losePartition(table string) {
	d.Helper()
	parts := d.sql("SELECT DISTINCT partition_id FROM system.parts WHERE active AND database = 'millrace' AND table = '" + table + "' AND rows > 0")
	id := parts[d.rnd.IntN(len(parts))][0]
	d.lose(table, "_partition_id = '"+id+"'", "ALTER TABLE millrace."+table+" DROP PARTITION ID '"+id+"'")
}

// minute loses or doubles the minutes of prices, whose rows stay as they are.
func (d *damage) minute(round int) {
	d.Helper()
	if round%2 == 0 {
		d.exec("DELETE FROM millrace.minute_states WHERE model = 'prices' SETTINGS lightweight_deletes_sync = 2")
	} else {
		d.exec("INSERT INTO millrace.minute_states SELECT * FROM millrace.minute_states WHERE model = 'prices'")
	}
	d.done++
}

// row loses or doubles a row that nothing was done to.
func (d *damage) row() {
	d.Helper()
	tables := slices.Sorted(maps.Keys(coordinates))
	table := tables[d.rnd.IntN(len(tables))]
	n := d.count("SELECT count() FROM millrace." + table)
	if n == 0 {
		return
	}
	columns := coordinates[table].columns
	row := d.sqlOne(fmt.Sprintf("SELECT %[1]s FROM millrace.%[2]s ORDER BY %[1]s LIMIT 1 OFFSET %[3]d", columns, table, d.rnd.IntN(n)))
	where := fmt.Sprintf("(%s) = ('%s', %s, %s, %s)", columns, row[0], row[1], row[2], row[3])
	fault := []string{verify.Missing, verify.Doubled}[d.rnd.IntN(2)]
	if !d.note(table, row, fault) {
		return
	}
	if fault == verify.Missing {
		d.exec("DELETE FROM millrace." + table + " WHERE " + where + " SETTINGS lightweight_deletes_sync = 2")
	} else {
		d.exec("INSERT INTO millrace." + table + " SELECT * FROM millrace." + table + " WHERE " + where)
	}
	d.done++
}
