package pipeline_test

import (
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
)

// TestRecorderReplacedInMidInsert freezes or kills a recorder while it stores, lets another
// one take over, and then lets the insert of the first one go on. Profiles are equal to rows then.
func TestRecorderReplacedInMidInsert(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart, "recorder.flush_interval=20ms")
	tr := newTraffic(h, seeded(t), 600)
	h.plan()
	h.start("worker")
	for _, table := range []string{"observations_fares", "feedback", "profiles"} {
		for name, tc := range map[string]struct {
			at     stage
			signal syscall.Signal
			stored bool // whether the insert was stored before the takeover; else it is refused after it
		}{
			"frozen before the insert":    {unforwarded, syscall.SIGSTOP, false},
			"frozen in mid-insert":        {halfSent, syscall.SIGSTOP, false},
			"killed and delayed":          {delayed, syscall.SIGKILL, false},
			"killed before the insert":    {unforwarded, syscall.SIGKILL, false},
			"killed after the insert":     {unreported, syscall.SIGKILL, true},
			"frozen before it may commit": {unreported, syscall.SIGSTOP, true},
		} {
			if table == "profiles" && (tc.at == unforwarded) == (tc.signal == syscall.SIGKILL) || table == "profiles" && tc.at == halfSent {
				continue // what is inserted last has fewer ways to go wrong
			}
			t.Run(table+"/"+name, func(t *testing.T) {
				h := h.with(t)
				of := *tr
				of.h = h
				defer func() { tr.hours = of.hours }()
				g, addr := newGate(t, h.services.ClickHouse.Addr(), table, tc.at)
				first := h.spawn("recorder", "clickhouse.addr="+addr)
				of.sendHour()
				g.hold()
				require.NoError(t, first.cmd.Process.Signal(tc.signal))
				second := h.spawn("recorder")
				of.requireOnce()
				close(g.open)
				if tc.signal == syscall.SIGSTOP { // it may have to send the rest of the body
					require.NoError(t, first.cmd.Process.Signal(syscall.SIGCONT))
				}
				require.Equal(t, tc.stored, g.answer() == http.StatusOK)
				of.sendHour()
				of.requireOnce()
				if tc.signal == syscall.SIGSTOP {
					require.Equal(t, 0, first.terminate())
				}
				of.requireProfiled()
				require.Equal(t, 0, second.terminate())
			})
		}
	}
}

// TestInsertComesBeforeItsReplay: the client was told that its insert failed, and it runs a
// little later, when the replay of the same recorder waits for its deadline.
func TestInsertComesBeforeItsReplay(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, "recorder.flush_interval=20ms", "recorder.insert_deadline=5s")
	tr := newTraffic(h, seeded(t), 600)
	h.start("worker")
	g, addr := newGate(t, h.services.ClickHouse.Addr(), "observations_fares", delayed)
	p := h.spawn("recorder", "clickhouse.addr="+addr)
	tr.sendHour()
	g.hold()
	p.killAndRestart()
	h.eventually("the range is found", func() (string, bool) {
		return "", strings.Contains(h.logs.all(), "its rows will be looked for")
	})
	status := g.pass()
	if status == http.StatusOK {
		require.Equal(t, tr.perHour, tr.stored("observations_fares"), "stored before it was looked for")
	}
	tr.requireOnce()
	require.Equal(t, 0, p.terminate())
}

// TestClickHouseKilledBetweenTableAndView kills ClickHouse when rows are stored and the
// minute states do not have them yet, while the recorder lives.
func TestClickHouseKilledBetweenTableAndView(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, "recorder.flush_interval=20ms")
	tr := newTraffic(h, seeded(t), 600)
	h.start("worker,recorder")
	tr.sendHour()
	tr.requireOnce()
	const view = "millrace.minute_states_of_fares"
	fast := h.sqlOne("SELECT as_select FROM system.tables WHERE database = 'millrace' AND name = 'minute_states_of_fares'")[0]
	slow := strings.Replace(fast, "GROUP BY", "WHERE sleepEachRow(0.004) = 0 GROUP BY", 1)
	require.NotEqual(t, fast, slow)
	h.exec("ALTER TABLE " + view + " MODIFY QUERY " + slow)
	tr.sendHour()
	h.eventually("rows are stored without their minutes", func() (string, bool) {
		rows, states := tr.stored("observations_fares"), h.count("SELECT sum(requests) FROM millrace.minute_states")
		return strconv.Itoa(rows), rows > states
	})
	require.NoError(t, syscall.Kill(h.services.ClickHouse.Pid(), syscall.SIGKILL))
	h.eventually("ClickHouse is back", func() (string, bool) {
		return "", tr.stored("observations_fares") >= 0 && h.services.ClickHouse.Restarts() == 1
	})
	h.exec("ALTER TABLE " + view + " MODIFY QUERY " + fast)
	tr.requireOnce()
	require.Contains(t, h.logs.all(), "minute states differed from the rows and were derived anew")
}

// exec runs a statement on ClickHouse that changes it.
func (h *harness) exec(statement string) {
	h.Helper()
	require.NoError(h, h.try(statement))
}
