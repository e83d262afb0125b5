package pipeline_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
)

// The machine of ClickHouse loses power: the newest parts, which nobody has synced, are gone.
// They were committed as stored; the recorder finds out and stores them again.
func TestRecorderStoresAgainWhatAPowerCutTook(t *testing.T) {
	parallel(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, fastRestart, "recorder.verify_interval=100ms")
	tr := newTraffic(h, seeded(t), 300)
	r := h.start("worker,recorder")
	tr.sendHour()
	tr.requireOnce()
	tr.sendHour()
	tr.requireOnce()
	h.eventually("the recorder has noted what it knows of the server", func() (string, bool) {
		_, offsets, err := h.reader.Noted(t.Context(), h.cfg.Recorder.Group+"-durable", h.cfg.Topics.Observations)
		require.NoError(t, err)
		return "", len(offsets) > 0
	})
	lost := h.losePower("observations_fares", "feedback", "minute_states")
	h.eventually("what was lost is stored again", func() (string, bool) {
		n := restored(t, r, "observations", "feedback")
		return strconv.Itoa(n), n == lost
	})
	tr.sendHour()
	tr.requireOnce()
	require.Contains(t, h.logs.all(), "rows that were committed as stored are missing in ClickHouse; they are stored again")
	require.NotContains(t, h.logs.all(), "doubled rows removed")
	h.requireEqual()

	// The recorder is away meanwhile.
	r.drain()
	lost = h.losePower("observations_fares", "feedback")
	r = h.start("worker,recorder")
	h.eventually("what was lost is stored again", func() (string, bool) {
		n := restored(t, r, "observations", "feedback")
		return strconv.Itoa(n), n == lost
	})
	tr.requireOnce()
	h.requireEqual()
}

// losePower kills ClickHouse, and takes the newest part of each table with it. It returns how
// many rows of observations and labels these had, once ClickHouse is back.
func (h *harness) losePower(tables ...string) (rows int) {
	h.Helper()
	h.eventually("the server has run for longer than its next start takes", func() (string, bool) {
		up := h.sqlOne("SELECT uptime()")[0]
		n, err := strconv.Atoi(up)
		require.NoError(h, err)
		return up, n > 3
	})
	var paths []string
	for _, table := range tables {
		part := h.sqlOne("SELECT path, rows FROM system.parts WHERE active AND database = 'millrace' AND table = '" + table + "' ORDER BY modification_time DESC, max_block_number DESC LIMIT 1")
		paths = append(paths, part[0])
		if !strings.HasPrefix(table, "minute") {
			n, err := strconv.Atoi(part[1])
			require.NoError(h, err)
			rows += n
		}
	}
	pid, restarts := h.services.ClickHouse.Pid(), h.services.ClickHouse.Restarts()
	h.freeze(pid)
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			path = filepath.Join(h.cfg.Embedded.Dir, "clickhouse", path)
		}
		_, err := os.Stat(path)
		require.NoError(h, err)
		require.NoError(h, os.RemoveAll(path))
	}
	require.NoError(h, syscall.Kill(pid, syscall.SIGKILL))
	h.eventually("ClickHouse is back", func() (string, bool) {
		_, err := h.query("SELECT 1")
		return "", err == nil && h.services.ClickHouse.Restarts() > restarts
	})
	return rows
}

// restored returns how many rows of the tables were lost and stored again.
func restored(t *testing.T, r *running, tables ...string) (rows int) {
	t.Helper()
	families, err := r.app.Metrics.Registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != "millrace_recorder_rows_restored_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if slices.Contains(tables, m.GetLabel()[0].GetValue()) {
				rows += int(m.GetCounter().GetValue())
			}
		}
	}
	return rows
}
