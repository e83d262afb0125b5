//go:build linux && amd64

package embedded

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// clickhouse-connect, pandas and SQLAlchemy, the JDBC driver, and the client for Node.js connect,
// read and write with their defaults, with the password and without.
func TestForeignClients(t *testing.T) {
	clients := os.Getenv("MILLRACE_TEST_CLICKHOUSE_CLIENTS")
	if clients == "" {
		t.Skip("make test-clickhouse-clients fetches them")
	}
	scripts, err := filepath.Abs("testdata/clients")
	require.NoError(t, err)
	server := startConfined(t, t.TempDir()+"/data", settings{Sandbox: SandboxAuto, Password: "right"})
	host, port, err := net.SplitHostPort(server.addr)
	require.NoError(t, err)
	for name, command := range map[string][]string{
		"Python": {filepath.Join(clients, "python", "bin", "python"), filepath.Join(scripts, "clients.py"), host, port, server.password},
		"JDBC":   {"java", "-cp", filepath.Join(clients, "jdbc", "*"), filepath.Join(scripts, "Jdbc.java"), server.addr, server.password},
		"Node":   {"node", filepath.Join(scripts, "client.mjs"), server.addr, server.password},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
			cmd.Dir = filepath.Join(clients, "node")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
	}
}
