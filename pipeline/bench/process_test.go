package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// orphanMaker is the argument that has a test's process make an orphan.
const orphanMaker = "make-orphan"

// makeOrphan starts a broker, tells its process id and address, and waits to be killed.
func makeOrphan() int {
	p, err := start(context.Background(), partKafka, serviceSpec{Dir: os.Getenv("ORPHAN_DIR")})
	if err == nil {
		var s served
		if err = p.hear(context.Background(), &s); err == nil {
			fmt.Println(p.cmd.Process.Pid, s.Addr)
			time.Sleep(time.Hour)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestFrozenChildDiesWithItsParent: it cannot see the end of its stdin.
func TestFrozenChildDiesWithItsParent(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, orphanMaker)
	cmd.Env = append(os.Environ(), "ORPHAN_DIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pid int
	var addr string
	_, err = fmt.Fscanln(stdout, &pid, &addr)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	served, err := net.Dial("tcp", addr) // the kernel accepts for it
	require.NoError(t, err)
	require.NoError(t, served.Close())
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, 20*time.Second, 5*time.Millisecond, "it still listens")
}
