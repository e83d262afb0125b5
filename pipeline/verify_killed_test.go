package pipeline_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/pipeline/verify"
	"github.com/millrace/millrace/schemas"
)

// A repair is cut off while its insert is on the way, or stored without an answer. The next one
// ends in equality, and an insert that comes after it is refused.
func TestVerifyRepairThatWasCutOffIsRunAgain(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, "recorder.insert_deadline=4s") // an insert that is to be stored must come in time, however slow the machine
	tr := newTraffic(h, seeded(t), 300)
	h.start("worker,recorder")
	tr.sendHour()
	tr.requireOnce()
	for _, table := range []string{"observations_fares", "feedback"} {
		for name, tc := range map[string]struct {
			at     stage
			stored bool
		}{"on the way": {delayed, false}, "stored": {unreported, true}} {
			t.Run(table+"/"+name, func(t *testing.T) {
				h := h.with(t)
				h.exec("TRUNCATE TABLE millrace." + table)
				g, addr := newGate(t, h.services.ClickHouse.Addr(), table, tc.at)
				ctx, cutOff := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { // ends with ctx
					_, err := operate.Verify(ctx, h.config("clickhouse.addr="+addr), operate.VerifyOptions{Repair: true, Logger: h.log})
					ended <- err
				}()
				g.hold()
				cutOff()
				require.ErrorIs(t, <-ended, context.Canceled)
				_, members, err := h.reader.Members(t.Context(), verify.LeaseGroup(h.cfg.Topics.Topics))
				require.NoError(t, err)
				require.Empty(t, members, "the next repair need not wait for the end of this one's session")
				report, _ := h.verify(true)
				require.True(t, report.Equal, "%+v", report.Lines)
				close(g.open)
				require.Equal(t, tc.stored, g.answer() == http.StatusOK, "a late insert is refused")
				h.requireEqual()
			})
		}
	}
	of := *tr
	of.requireOnce()
}

// Two repairs at the same time store once: one waits for the other.
func TestVerifyRepairsOneAtATime(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares})
	tr := newTraffic(h, seeded(t), 300)
	h.start("worker,recorder")
	tr.sendHour()
	tr.requireOnce()
	h.exec("TRUNCATE TABLE millrace.observations_fares")
	h.exec("INSERT INTO millrace.feedback SELECT * FROM millrace.feedback WHERE feedback_offset % 3 = 0")
	g, addr := newGate(t, h.services.ClickHouse.Addr(), "observations_fares", unforwarded)
	reports := make(chan *verify.Report, 2)
	repair := func(cfg config.Config) { // ends when all is repaired
		report, err := operate.Verify(h.Context(), cfg, operate.VerifyOptions{Repair: true, Logger: h.log})
		if err != nil {
			t.Error(err)
		}
		reports <- report
	}
	go repair(h.config("clickhouse.addr=" + addr))
	g.hold()
	go repair(h.cfg)
	h.eventually("the other one waits", func() (string, bool) {
		state, members, err := h.reader.Members(t.Context(), verify.LeaseGroup(h.cfg.Topics.Topics))
		require.NoError(t, err)
		n := members[h.cfg.Kafka.ClientID]
		return state + strconv.Itoa(n), n == 2
	})
	close(g.open)
	for range 2 {
		report := <-reports
		require.NotNil(t, report)
		require.True(t, report.Equal, "%+v", report.Lines)
	}
	tr.requireOnce()
}

// A request that was not answered because it repeats another is no fault; one that was passed
// over is, though ids are remembered.
func TestVerifyTakesRepeatedRequestsForAnswered(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{catalogtest.Prices}, "worker.deduplicate.window=1h")
	seeded(t)
	r := h.start("worker,recorder")
	requests := h.cfg.Topics.RequestsOf("prices")
	send := func(ids ...string) {
		var records []*kgo.Record
		for _, id := range ids {
			records = append(records, &kgo.Record{Topic: requests, Partition: 1, Value: fmt.Appendf(nil, `{"index":1,"request_id":%q}`, id)})
		}
		h.produce(records...)
	}
	send("a", "b", "c", "b", "a", "d", "a")
	h.settled(requests)
	report, all := h.verify(false)
	require.Empty(t, all)
	require.True(t, report.Equal)
	n := 0
	h.each(h.cfg.Topics.ResultsOf("prices"), func(*schemas.Record) { n++ })
	require.Equal(t, 4, n)
	r.drain()
	send("e", "a")
	h.passOver(requests)
	_, all = h.verify(false)
	require.Len(t, all, 1)
	require.Equal(t, verify.Missing, all[0].Fault)
	require.EqualValues(t, 1, all[0].Partition)
	require.Equal(t, h.ends(requests)[1]-2, all[0].Offset)
}

// The database is gone as a whole: all that the log still holds is stored again.
func TestVerifyRestoresADatabaseThatIsGone(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares, catalogtest.Prices})
	tr := newTraffic(h, seeded(t), 300)
	r := h.start("worker,recorder")
	tr.sendHour()
	h.produceOddities(20)
	h.settled(h.cfg.Topics.RequestsOf("fares"), h.cfg.Topics.RequestsOf("prices"))
	r.drain()
	h.exec("DROP DATABASE millrace")
	_, err := operate.Verify(t.Context(), h.config(), operate.VerifyOptions{Logger: h.log})
	require.ErrorContains(t, err, "database millrace (clickhouse.database) is not there")
	report, _ := h.verify(true)
	require.True(t, report.Equal, "%+v", report.Lines)
	require.EqualValues(t, 300+20+300+20+10+20, (&verify.Report{Lines: report.Before}).Sum().Missing, "rows, labels and what is no label, dead letters, events")
	h.requireEqual()
	h.requireMinutes("fares")
}

// A group whose rows are another's by now repairs nothing, also where it has begun to before: what
// is missing would be stored by both.
func TestVerifyRepairsWhatItsGroupOwns(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, "recorder.insert_deadline=10s") // the insert is to be accepted, however slow the machine
	tr := newTraffic(h, seeded(t), 300)
	r := h.start("worker,recorder")
	tr.sendHour()
	tr.requireOnce()
	r.drain()
	renamed := "recorder.group=" + h.cfg.Recorder.Group + "-renamed"
	h.exec("TRUNCATE TABLE millrace.observations_fares")
	g, addr := newGate(t, h.services.ClickHouse.Addr(), "observations_fares", unforwarded)
	failed := make(chan error, 1)
	go func() { // ends with the repair
		_, err := operate.Verify(h.Context(), h.config("clickhouse.addr="+addr), operate.VerifyOptions{Repair: true, Logger: h.log})
		failed <- err
	}()
	g.hold() // an insert that is announced, and on its way
	h.start("recorder", renamed)
	h.eventually("the new group has the rows", func() (string, bool) {
		owner := h.sqlOne("SELECT max(recorder_group) FROM millrace.recorder_groups FINAL WHERE topic = 'millrace.observations'")[0]
		return owner, owner == h.cfg.Recorder.Group+"-renamed"
	})
	close(g.open)
	require.NoError(t, <-failed)
	h.eventually("all rows are there", func() (string, bool) {
		n := h.count("SELECT count() FROM millrace.observations_fares")
		return strconv.Itoa(n), n >= 300
	})
	tr.requireOnce()
	var owned *verify.OwnedError
	_, err := operate.Verify(t.Context(), h.cfg, operate.VerifyOptions{Repair: true, Logger: h.log})
	require.ErrorAs(t, err, &owned)
	require.Equal(t, h.cfg.Recorder.Group+"-renamed", owned.Owner)
}
