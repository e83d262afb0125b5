package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// orphanMaker is the argument that has a test's process make an orphan.
const orphanMaker = "make-orphan"

// makeOrphan starts a broker, tells its process id, and waits to be killed.
func makeOrphan() int {
	p, err := start(context.Background(), partKafka, serviceSpec{Dir: os.Getenv("ORPHAN_DIR")})
	if err == nil {
		var s served
		if err = p.hear(context.Background(), &s); err == nil {
			fmt.Println(p.cmd.Process.Pid)
			time.Sleep(time.Hour)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestFrozenChildDiesWithItsParent: it cannot see the end of its stdin. The test becomes its
// parent then: to a child that init inherits the kernel sends SIGHUP and SIGCONT.
func TestFrozenChildDiesWithItsParent(t *testing.T) {
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	defer func() { require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)) }()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, orphanMaker)
	cmd.Env = append(os.Environ(), "ORPHAN_DIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pid int
	_, err = fmt.Fscanln(stdout, &pid)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	var status syscall.WaitStatus
	reaped := false
	defer func() {
		if !reaped {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}()
	require.Eventually(t, func() bool {
		ended, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		reaped = err == nil && ended == pid
		return reaped
	}, 20*time.Second, 5*time.Millisecond, "it is still there")
	require.Equal(t, syscall.SIGKILL, status.Signal())
}
