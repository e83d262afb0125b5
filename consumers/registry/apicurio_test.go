package registry_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// registryDirEnv names the folder of an Apicurio Registry: `make test-registry` sets it.
const registryDirEnv = "MILLRACE_TEST_REGISTRY_DIR"

// apicurio starts a registry that ends with the test, and returns the URL of its Confluent-compatible interface.
func apicurio(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(registryDirEnv)
	if dir == "" {
		t.Skip(registryDirEnv + " is not set; make test-registry sets it")
	}
	jars, err := filepath.Glob(filepath.Join(dir, "apicurio-registry-app-*-runner.jar"))
	require.NoError(t, err)
	require.Len(t, jars, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	var log bytes.Buffer
	cmd := exec.Command("java", "-Xmx512m", "-Dquarkus.http.host=127.0.0.1", fmt.Sprintf("-Dquarkus.http.port=%d", port), "-jar", jars[0])
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }() // ends with the process, which the cleanup kills
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		http.DefaultClient.CloseIdleConnections()
	})
	url := fmt.Sprintf("http://127.0.0.1:%d/apis/ccompat/v7", port)
	deadline := time.After(2 * time.Minute)
	for {
		resp, err := http.Get(url + "/subjects")
		if err == nil {
			require.NoError(t, resp.Body.Close())
			if resp.StatusCode == http.StatusOK {
				return url
			}
		}
		select {
		case <-ended:
			t.Fatalf("Apicurio Registry ended: %v\n%s", cmd.ProcessState, log.String())
		case <-deadline:
			t.Fatalf("Apicurio Registry does not answer\n%s", log.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// The codecs and the client work with a registry that is not made for tests.
func TestCodecsWithApicurio(t *testing.T) {
	url := apicurio(t)
	exercise(t, url, uuid.NewString())
}
