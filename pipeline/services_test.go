package pipeline_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/pipeline/services"
)

func TestEmbeddedServicesAreOnlyTheirUsers(t *testing.T) {
	t.Setenv("MILLRACE_TEST_SECRET", "canary")
	t.Setenv("TZ", "") // as an unset one in a container's file; the engine knows no zone without a name
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares})

	// What a process does not get, nobody finds there.
	for _, pid := range []int{h.services.Kafka.Pid(), h.services.ClickHouse.Pid()} {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		require.NoError(t, err)
		require.NotContains(t, string(environ), "canary")
		for variable := range strings.SplitSeq(strings.Trim(string(environ), "\x00"), "\x00") {
			require.Regexp(t, `^(GO|TZ=.|MILLRACE_SUPERVISED=)`, variable)
		}
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		require.NoError(t, err)
		password, err := os.ReadFile(h.cfg.ClickHouse.PasswordFile)
		require.NoError(t, err)
		require.NotContains(t, string(cmdline), strings.TrimSpace(string(password)))
	}

	// Roles in another process find the password by the address; the README's curl needs none.
	tr := newTraffic(h, seeded(t), 200)
	h.start("worker,recorder", "clickhouse.password_file=")
	tr.sendHour()
	tr.requireOnce()
	before := h.count("SELECT count() FROM millrace.predictions")
	resp, err := http.Post("http://"+h.services.ClickHouse.Addr(), "text/plain", strings.NewReader("TRUNCATE TABLE millrace.observations_fares"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Equal(t, before, h.count("SELECT count() FROM millrace.predictions"))

	// So do commands: verify reads settings, repair writes.
	cfg := h.config("clickhouse.password_file=")
	for _, repair := range []bool{false, true} {
		report, err := operate.Verify(t.Context(), cfg, operate.VerifyOptions{Repair: repair})
		require.NoError(t, err)
		require.True(t, report.Equal, "%+v", report.Lines)
	}

	// A replacement takes the same password.
	pid := h.services.ClickHouse.Pid()
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	h.eventually("ClickHouse is back", func() (string, bool) {
		_, err := h.query("SELECT 1")
		return fmt.Sprint(err), err == nil && h.services.ClickHouse.Pid() != pid
	})
	h.exec("CREATE DATABASE again")

	// Nobody else may read what lies there.
	files := 0
	require.NoError(t, filepath.WalkDir(h.cfg.Embedded.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		switch {
		case os.IsNotExist(err): // merged away
			return nil
		case err == nil && info.Mode()&fs.ModeSymlink == 0 && path != h.cfg.Embedded.Dir && info.Mode().Perm()&0o077 != 0:
			return fmt.Errorf("%s has mode %s", path, info.Mode())
		}
		files++
		return err
	}))
	require.Greater(t, files, 20)
}

func TestResetLeavesServicesThatRun(t *testing.T) {
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares})
	h.exec("CREATE TABLE default.kept (n Int32) ENGINE = MergeTree ORDER BY n")
	h.exec("INSERT INTO default.kept SELECT number FROM numbers(7)")
	topics, err := os.ReadFile(filepath.Join(h.cfg.Embedded.Dir, "kafka", "topics.json"))
	require.NoError(t, err)

	err = services.Reset(h.cfg)
	require.ErrorContains(t, err, fmt.Sprintf("in use by process %d", h.services.Kafka.Pid()))
	after, err := os.ReadFile(filepath.Join(h.cfg.Embedded.Dir, "kafka", "topics.json"))
	require.NoError(t, err)
	require.Equal(t, topics, after)
	require.EqualValues(t, 7, h.count("SELECT count() FROM default.kept"))

	// What nobody has open goes, a folder that lies elsewhere included; no folder is no fault.
	cfg := h.cfg
	cfg.Embedded.Dir = t.TempDir()
	require.NoError(t, services.Reset(cfg))
	elsewhere := t.TempDir()
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(cfg.Embedded.Dir, "kafka")))
	require.NoError(t, os.MkdirAll(filepath.Join(elsewhere, "partitions", "a-0"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "partitions", "a-0", "0.log"), []byte("old"), 0o600))
	require.NoError(t, services.Reset(cfg))
	require.NoDirExists(t, filepath.Join(elsewhere, "partitions"))
	require.FileExists(t, filepath.Join(elsewhere, "millrace.lock"))
}
