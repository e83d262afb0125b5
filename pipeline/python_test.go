package pipeline_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The page for Python users works as it stands: its blocks are run, in their order, beside
// roles that serve the model that it speaks of. Only addresses differ.
func TestPythonPage(t *testing.T) {
	python := os.Getenv("MILLRACE_TEST_PYTHON")
	if python == "" {
		t.Skip("make test-python makes an environment for it")
	}
	h := newHarness(t, nil, "models.repository=../deploy/examples/flights/models")
	h.start("worker,recorder")

	page, err := os.ReadFile("../deploy/examples/python/README.md")
	require.NoError(t, err)
	folder := t.TempDir()
	password, err := os.ReadFile(h.cfg.ClickHouse.PasswordFile)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(folder, "data"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "data", "clickhouse-8123.password"), password, 0o600))
	_, port, _ := strings.Cut(h.services.ClickHouse.Addr(), ":")
	addresses := strings.NewReplacer("127.0.0.1:9092", h.cfg.Kafka.Brokers[0], "port=8123", "port="+port)

	blocks := regexp.MustCompile("(?s)```python\n(.*?)```").FindAllSubmatch(page, -1)
	require.Len(t, blocks, 5)
	for i, block := range blocks {
		text := addresses.Replace(string(block[1]))
		cmd := exec.CommandContext(t.Context(), python, "-c", text)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "block %d:\n%s\n%s", i+1, text, out)
	}
	require.Equal(t, []string{"100", "100", "1"}, h.sqlOne(`SELECT count(), uniqExact(request_id), uniqExact(origin) FROM millrace.observations_flights_delay`))
	require.Equal(t, []string{"101", "100", "1"}, h.sqlOne(`SELECT count(), uniqExact(request_id), countIf(label = 55) FROM millrace.feedback`))
	// A label and its correction are in one partition, by the key that the page gives them.
	require.Equal(t, 1, h.count(`SELECT uniqExact(feedback_partition) FROM millrace.feedback WHERE request_id IN (SELECT request_id FROM millrace.feedback WHERE label = 55)`))
}
