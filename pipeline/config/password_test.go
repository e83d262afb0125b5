package config

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/sinks/clickhouse"
)

// A recorder outlives a ClickHouse that comes back with another password.
func TestPasswordIsReadAgainWhenItChanges(t *testing.T) {
	var mu sync.Mutex
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		mu.Lock()
		got = append(got, name+":"+password)
		mu.Unlock()
		http.Error(w, "Code: 202. DB::Exception: not now", http.StatusInternalServerError)
	}))
	defer server.Close()
	addr := strings.TrimPrefix(server.URL, "http://")

	cfg := Default()
	cfg.Embedded.Dir = t.TempDir()
	cfg.ClickHouse.Addr = []string{addr}
	file := cfg.Embedded.PasswordFile(addr)
	client, err := clickhouse.Open(cfg.ClickHouseOptions(zerolog.Nop()))
	require.NoError(t, err)
	defer client.Close()
	want := []string{"default:"} // the services were not there yet
	require.Error(t, client.Exec(t.Context(), "SELECT 1"))
	for range 2 {
		password, err := WritePassword(file)
		require.NoError(t, err)
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode().Perm())
		require.GreaterOrEqual(t, len(password), 26)
		require.Error(t, client.Exec(t.Context(), "SELECT 1"))
		want = append(want, "default:"+password)
	}
	left, err := os.ReadDir(cfg.Embedded.Dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, want, got)
}

// Commands reach what runs on the address, be it that of dev or of the demo.
func TestPasswordOfTheDemoIsFound(t *testing.T) {
	cfg := Default()
	cfg.Embedded.Dir = t.TempDir()
	dev := cfg.Embedded.PasswordFile("127.0.0.1:8123")
	demo := filepath.Join(cfg.Embedded.Dir, "demo", filepath.Base(dev))
	require.NoError(t, os.Mkdir(filepath.Dir(demo), 0o700))
	read := cfg.ClickHouseOptions(zerolog.Nop()).PasswordFrom
	for i, file := range []string{demo, dev, demo} { // what was killed leaves its file
		want, err := WritePassword(file)
		require.NoError(t, err)
		at := time.Unix(int64(1e9+i), 0)
		require.NoError(t, os.Chtimes(file, at, at))
		got, err := read()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestPasswordFileThatWasNamedMustExist(t *testing.T) {
	cfg := Default()
	cfg.ClickHouse.PasswordFile = filepath.Join(t.TempDir(), "nowhere")
	client, err := clickhouse.Open(cfg.ClickHouseOptions(zerolog.Nop()))
	require.NoError(t, err)
	defer client.Close()
	require.ErrorContains(t, client.Exec(t.Context(), "SELECT 1"), "clickhouse.password_file: stat "+cfg.ClickHouse.PasswordFile)

	cfg.ClickHouse.Password = "both"
	cfg.Embedded.Sandbox = "tight"
	err = cfg.Validate()
	require.ErrorContains(t, err, "clickhouse.password_file: clickhouse.password is set too")
	require.ErrorContains(t, err, `embedded.sandbox: "tight" is not one of auto, required, off`)
}

// Only the embedded ClickHouse's own address is sent its password.
func TestOtherServersAreNotSentThePassword(t *testing.T) {
	cfg := Default()
	cfg.Embedded.Dir = t.TempDir()
	_, err := WritePassword(cfg.Embedded.PasswordFile("127.0.0.1:8123"))
	require.NoError(t, err)
	for _, addr := range [][]string{{"127.0.0.1:8124"}, {"clickhouse.example:8123"}, {"127.0.0.1:8123", "127.0.0.1:8124"}} {
		cfg.ClickHouse.Addr = addr
		if from := cfg.ClickHouseOptions(zerolog.Nop()).PasswordFrom; from != nil {
			password, err := from()
			require.NoError(t, err)
			require.Empty(t, password, addr)
		}
	}
}
