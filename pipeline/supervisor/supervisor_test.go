package supervisor_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/millrace/millrace/pipeline/supervisor"
)

const patience = 20 * time.Second

// TestMain runs one of roles in a process that a test, or a role, started.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "role" {
		if err := roles[os.Args[2]](os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

var roles map[string]func(args []string) error

func init() { // the role parent refers to roles
	roles = map[string]func(args []string) error{
		"serve": serve, "parent": parent, "hard-parent": hardParent,
		"fail": func([]string) error {
			fmt.Println("said on stdout")
			return errors.New("no such model")
		},
		"silent": func([]string) error {
			<-supervisor.ParentGone()
			return nil
		},
		"deaf": func(args []string) error {
			fmt.Fprintln(os.Stderr, "not listening")
			return errors.Join(supervisor.Ready(args[0]), block())
		},
	}
}

func block() error {
	time.Sleep(time.Hour)
	return nil
}

// serve answers connections on an address with its process id, until the parent is gone;
// then it writes a last line to stderr and creates a file. It fails while another file exists.
func serve(args []string) error {
	ctx := supervisor.WithParent(context.Background())
	addr, ended, broken := args[0], args[1], args[2]
	if _, err := os.Stat(broken); err == nil {
		return fmt.Errorf("%s exists", broken)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	if err := supervisor.Ready(l.Addr().String()); err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			break
		}
		_, _ = fmt.Fprintln(conn, os.Getpid())
		_ = conn.Close()
	}
	fmt.Fprintln(os.Stderr, "stopping")
	return os.WriteFile(ended, []byte(context.Cause(ctx).Error()), 0o600)
}

// parent supervises the role in args and prints the child's process id.
func parent(args []string) error { return supervise(false, args) }

func hardParent(args []string) error { return supervise(true, args) }

func supervise(diesWithParent bool, args []string) error {
	p, err := supervisor.Start(context.Background(), supervisor.Child{
		Name: "child", Args: append([]string{"role"}, args...), DiesWithParent: diesWithParent,
	})
	if err != nil {
		return err
	}
	fmt.Println(p.Pid())
	return block()
}

// ask returns the process id of whoever serves on addr.
func ask(ctx context.Context, addr string) (int, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// logs is a concurrent buffer.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type fixture struct {
	*supervisor.Process
	logs                *logs
	addr, ended, broken string
}

func child(role string, args ...string) (supervisor.Child, *logs) {
	l := new(logs)
	return supervisor.Child{
		Name: "broker", Args: append([]string{"role", role}, args...),
		Env:        []string{"GORACE=atexit_sleep_ms=0"},
		Log:        zerolog.New(l),
		MinBackoff: time.Millisecond, MaxBackoff: 50 * time.Millisecond,
	}, l
}

func startServe(t *testing.T) fixture {
	t.Helper()
	addr, _, err := supervisor.FreePort("127.0.0.1:0")
	require.NoError(t, err)
	f := fixture{addr: addr, ended: filepath.Join(t.TempDir(), "ended"), broken: filepath.Join(t.TempDir(), "broken")}
	c, l := child("serve", f.addr, f.ended, f.broken)
	c.Health = func(ctx context.Context) error {
		_, err := ask(ctx, f.addr)
		return err
	}
	c.HealthInterval, c.HealthTimeout, c.HealthFailures = 20*time.Millisecond, 200*time.Millisecond, 2
	f.logs = l
	f.Process, err = supervisor.Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, f.Process) })
	require.Equal(t, f.addr, f.Addr())
	return f
}

func stop(t *testing.T, p *supervisor.Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, p.Stop(ctx))
}

// replaced waits until another process than pid serves on the same address.
func (f fixture) replaced(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		now, err := ask(ctx, f.addr)
		return err == nil && now != pid && now == f.Pid()
	}, patience, 5*time.Millisecond, f.logs)
}

func TestKilledChildIsStartedAgainOnTheSamePort(t *testing.T) {
	f := startServe(t)
	for i := range 3 {
		pid := f.Pid()
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		f.replaced(t, pid)
		require.EqualValues(t, i+1, f.Restarts())
	}
	require.Contains(t, f.logs.String(), "broker ended by itself (signal: killed)")
}

func TestFrozenChildIsReplaced(t *testing.T) {
	f := startServe(t)
	pid := f.Pid()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	f.replaced(t, pid)
	require.Contains(t, f.logs.String(), "broker failed 2 health checks in a row and was killed")
}

func TestChildThatCannotStartAgainIsTriedUntilItCan(t *testing.T) {
	f := startServe(t)
	pid := f.Pid()
	require.NoError(t, os.WriteFile(f.broken, nil, 0o600))
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return f.Restarts() >= 3 }, patience, time.Millisecond)
	require.NoError(t, os.Remove(f.broken))
	f.replaced(t, pid)
	require.Contains(t, f.logs.String(), f.broken+" exists")
}

func TestChildThatMovesIsNotAccepted(t *testing.T) {
	dir := t.TempDir()
	c, l := child("serve", "127.0.0.1:0", filepath.Join(dir, "ended"), filepath.Join(dir, "broken"))
	p, err := supervisor.Start(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(p.Pid(), syscall.SIGKILL))
	require.Eventually(t, func() bool { return strings.Contains(l.String(), "must fix the port") }, patience, time.Millisecond)
	stop(t, p)
}

func TestStopLetsTheChildDrain(t *testing.T) {
	f := startServe(t)
	pgid, err := syscall.Getpgid(f.Pid())
	require.NoError(t, err)
	require.Equal(t, f.Pid(), pgid) // out of reach of a Ctrl-C in the terminal
	stop(t, f.Process)
	cause, err := os.ReadFile(f.ended)
	require.NoError(t, err)
	require.Equal(t, supervisor.ErrParentGone.Error(), string(cause))
	require.Zero(t, f.Pid())
	require.Zero(t, f.Restarts())
	require.Contains(t, f.logs.String(), `{"level":"info","child":"broker","line":"stopping","message":"child output"}`)
	stop(t, f.Process) // again
}

func TestStopKillsAChildThatDoesNotEnd(t *testing.T) {
	c, _ := child("deaf", "127.0.0.1:1")
	p, err := supervisor.Start(t.Context(), c)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = p.Stop(ctx)
	require.EqualError(t, err, "stop broker: signal: killed; it last wrote:\n\tnot listening")
}

func TestStartSaysWhyTheChildDidNotStart(t *testing.T) {
	c, _ := child("fail")
	_, err := supervisor.Start(t.Context(), c)
	require.EqualError(t, err, "start broker: it ended before it was ready (exit status 1); it last wrote:\n\tsaid on stdout\n\tno such model")

	c, _ = child("silent")
	c.ReadyTimeout = 50 * time.Millisecond
	_, err = supervisor.Start(t.Context(), c)
	require.EqualError(t, err, "start broker: not ready after 50ms; it wrote nothing")

	c, _ = child("silent")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = supervisor.Start(ctx, c)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "start broker: not ready yet")
}

func TestChildEndsCleanlyWhenItsParentIsKilled(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	addr, _, err := supervisor.FreePort("127.0.0.1:0")
	require.NoError(t, err)
	ended := filepath.Join(t.TempDir(), "ended")
	cmd := exec.Command(exe, "role", "parent", "serve", addr, ended, ended)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	if readErr == nil {
		var pid int
		pid, readErr = ask(t.Context(), addr)
		require.Equal(t, strconv.Itoa(pid), strings.TrimSpace(line))
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.NoError(t, readErr)
	// It writes to stderr, which nobody reads any more, before this file.
	require.Eventually(t, func() bool {
		_, err := os.Stat(ended)
		return err == nil
	}, patience, 5*time.Millisecond)
	_, err = ask(t.Context(), addr)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// TestFrozenChildDiesWithItsParent: it cannot see the end of its pipe. The test becomes its
// parent then: to a child that init inherits the kernel sends SIGHUP and SIGCONT.
func TestFrozenChildDiesWithItsParent(t *testing.T) {
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	defer func() { require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)) }()
	exe, err := os.Executable()
	require.NoError(t, err)
	addr, _, err := supervisor.FreePort("127.0.0.1:0")
	require.NoError(t, err)
	ended := filepath.Join(t.TempDir(), "ended")
	cmd := exec.Command(exe, "role", "hard-parent", "serve", addr, ended, ended)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
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
	}, patience, 5*time.Millisecond, "it is still there")
	require.Equal(t, syscall.SIGKILL, status.Signal())
	require.NoFileExists(t, ended, "it did not drain")
}

// TestStopTellsHowAChildEndedByItself: also when that was before Stop.
func TestStopTellsHowAChildEndedByItself(t *testing.T) {
	addr, _, err := supervisor.FreePort("127.0.0.1:0")
	require.NoError(t, err)
	c, l := child("deaf", addr)
	c.MinBackoff, c.MaxBackoff = time.Hour, time.Hour
	p, err := supervisor.Start(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(p.Pid(), syscall.SIGQUIT))
	require.Eventually(t, func() bool { return strings.Contains(l.String(), "child lost") }, patience, time.Millisecond)
	err = p.Stop(t.Context())
	exit, ok := errors.AsType[*exec.ExitError](err)
	require.True(t, ok, err)
	require.Equal(t, 2, exit.ExitCode(), "as of a panic")
}

func TestProcessWithoutSupervisor(t *testing.T) {
	require.Nil(t, supervisor.ParentGone())
	require.Equal(t, t.Context(), supervisor.WithParent(t.Context()))
	require.NoError(t, supervisor.Ready("127.0.0.1:1"))
}

func TestOutput(t *testing.T) {
	var got bytes.Buffer
	w, tail := supervisor.NewOutput(zerolog.New(&got).With().Str("child", "x").Logger())
	_, _ = fmt.Fprint(w, "pl", "ain\r\n\n", `{"level":"fatal","time":1,"message":"m","n":12345678901234567890,"o":{"a":[1]}}`, "\n[1]\n{\"a\":")
	require.Contains(t, tail(), "\n\tplain\n\t{\"level\":\"fatal\"")
	require.Equal(t, `{"level":"info","child":"x","line":"plain","message":"child output"}`, strings.Split(got.String(), "\n")[0])
	event := strings.Split(got.String(), "\n")[1]
	require.Contains(t, event, `{"level":"fatal","child":"x",`)
	require.Contains(t, event, `"n":12345678901234567890`)
	require.Contains(t, event, `"o":{"a":[1]}`)
	require.Contains(t, event, `"message":"m"}`)
	require.NotContains(t, event, "time")
	require.Equal(t, 4, strings.Count(got.String(), "\n"))

	got.Reset()
	_, _ = fmt.Fprint(w, strings.Repeat("a", 150<<10), "\nlast\n")
	require.Equal(t, 4, strings.Count(got.String(), "\n")) // 64 + 64 + 22 KiB, and the last
	for range 100 {
		_, _ = fmt.Fprintln(w, "more")
	}
	require.Equal(t, 20, strings.Count(tail(), "more"))
}

func TestFreePort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	addr, taken, err := supervisor.FreePort(l.Addr().String())
	require.NoError(t, err)
	require.True(t, taken)
	require.NotEqual(t, l.Addr().String(), addr)

	addr, taken, err = supervisor.FreePort("localhost:0")
	require.NoError(t, err)
	require.False(t, taken)
	require.Regexp(t, `^127\.0\.0\.1:\d+$`, addr)
	again, taken, err := supervisor.FreePort(addr)
	require.NoError(t, err)
	require.False(t, taken)
	require.Equal(t, addr, again)

	for _, bad := range []string{"", "9092", "0.0.0.0:9092", "example.org:9092", "127.0.0.1:65536"} {
		_, _, err = supervisor.FreePort(bad)
		require.ErrorContains(t, err, "want a loopback address", bad)
	}
}
