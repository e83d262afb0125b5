//go:build linux && amd64

package embedded

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// settings are how a server process of a test is confined.
type settings struct {
	Sandbox  Sandbox
	Password string
	External bool // Config.AllowExternal
}

// childConfig is the Config of this process, which a test has started.
func childConfig(dir string) (Config, error) {
	cfg := Config{Dir: dir, Library: os.Getenv(childLibrary)}
	if text := os.Getenv(childSettings); text != "" {
		var s settings
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return cfg, err
		}
		digest := PasswordDigest(s.Password)
		cfg.Sandbox, cfg.Password, cfg.AllowExternal = s.Sandbox, &digest, s.External
		return cfg, Harden(3)
	}
	return cfg, nil
}

// confined is a server process of its own, and its password.
type confined struct {
	*exec.Cmd
	addr, password string
}

// startConfined starts one with the environment that the supervisor leaves it.
func startConfined(t *testing.T, dir string, s settings) *confined {
	t.Helper()
	text, err := json.Marshal(s)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{childDir + "=" + dir, childSettings + "=" + string(text), childLibrary + "=" + os.Getenv(childLibrary)}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return &confined{cmd, strings.TrimSpace(line), s.Password}
}

// send sends a query by POST, with the password or without.
func (c *confined) send(t *testing.T, password, params, query string) (status int, answer string) {
	t.Helper()
	header := http.Header{}
	if password != "" {
		header.Set("X-ClickHouse-User", "default")
		header.Set("X-ClickHouse-Key", password)
	}
	status, answer, _ = do(t, http.MethodPost, "http://"+c.addr+"/?"+params, strings.NewReader(query), header)
	return status, answer
}

// escape is a line of testdata/escapes.sql.
type escape struct {
	line                int
	kind, params, query string
}

func (e escape) String() string {
	return fmt.Sprintf("escapes.sql:%d (%s): %s", e.line, e.kind, e.query)
}

func readEscapes(t *testing.T, values ...string) (all []escape) {
	t.Helper()
	file, err := os.ReadFile("testdata/escapes.sql")
	require.NoError(t, err)
	kind, n := "", 0
	for line := range strings.Lines(string(file)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if k, ok := strings.CutPrefix(line, "-- kind: "); ok {
			kind = k
		}
		if line == "" || strings.HasPrefix(line, "--") {
			continue
		}
		params, query := "", line
		if strings.HasPrefix(line, "?") {
			params, query, _ = strings.Cut(line[1:], "\t")
		}
		with := strings.NewReplacer(append(slices.Clone(values), "{n}", strconv.Itoa(n))...)
		escaped, err := url.ParseQuery(with.Replace(params))
		require.NoError(t, err)
		all = append(all, escape{n, kind, escaped.Encode(), with.Replace(query)})
	}
	return all
}

// outside is what a query that leaves the engine would find or change.
type outside struct {
	dir, data, canary string
	pid               int // of a process with the canary in its environment
	port              int
	connections       atomic.Int64
}

func newOutside(t *testing.T, data string) *outside {
	t.Helper()
	o := &outside{dir: t.TempDir(), data: data, canary: "canary" + rand.Text()}
	write := func(name, text string, mode fs.FileMode) {
		require.NoError(t, os.WriteFile(filepath.Join(o.dir, name), []byte(text), mode))
	}
	write("secret.csv", "1,"+o.canary+"\n", 0o644)
	write("other.csv", "2,"+o.canary+"\n", 0o644)
	write("escape.sh", "#!/bin/sh\ntouch "+o.dir+"/escaped-by-program\necho "+o.canary+"\n", 0o755)
	require.NoError(t, os.Mkdir(filepath.Join(o.dir, "backup"), 0o755))

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o.port = ln.Addr().(*net.TCPAddr).Port
	socket, err := net.Listen("unix", filepath.Join(o.dir, "socket"))
	require.NoError(t, err)
	for _, ln := range []net.Listener{ln, socket} {
		go func() { // ends with the listener
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				o.connections.Add(1)
				_ = conn.Close()
			}
		}()
		t.Cleanup(func() { _ = ln.Close() })
	}

	other := exec.Command("cat")
	other.Env = []string{"SECRET=" + o.canary}
	stdin, err := other.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, other.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = other.Wait()
	})
	o.pid = other.Process.Pid
	return o
}

func (o *outside) escapes(t *testing.T) []escape {
	t.Helper()
	return readEscapes(t, "{secret}", o.dir+"/secret.csv", "{out}", o.dir, "{data}", o.data, "{port}", strconv.Itoa(o.port),
		"{socket}", o.dir+"/socket", "{pid}", strconv.Itoa(o.pid))
}

// state is everything outside, and what lies beside the data directory.
func (o *outside) state(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(o.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var text []byte
		if info.Mode().IsRegular() {
			if text, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		files[path] = fmt.Sprintf("%s %d %s %x", info.Mode(), info.Size(), info.ModTime(), sha256.Sum256(text))
		return nil
	}))
	for _, glob := range []string{filepath.Dir(o.data) + "/*", "/dev/shm/escape*", "/tmp/escape*"} {
		names, err := filepath.Glob(glob)
		require.NoError(t, err)
		for _, name := range names {
			files[name] = "is there"
		}
	}
	return files
}

// left says how the query with this answer has left the engine, or nothing.
func (o *outside) left(t *testing.T, answer string, before map[string]string) string {
	t.Helper()
	switch after := o.state(t); {
	case strings.Contains(answer, o.canary), strings.Contains(answer, "root:x:0"):
		return "it read a file or an environment: " + answer
	case o.connections.Load() > 0:
		return "it reached a host"
	case !maps.Equal(before, after):
		return fmt.Sprintf("it changed files: %v, before %v", after, before)
	}
	return ""
}

// hadChildren tells whether a process has, or had, children.
func hadChildren(t *testing.T, pid int) bool {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	require.NotEmpty(t, tasks)
	for _, task := range tasks {
		// A thread may have ended since they were listed.
		if children, err := os.ReadFile(task); err == nil && len(bytes.TrimSpace(children)) > 0 {
			return true
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, fields, _ := strings.Cut(string(stat), ") ")
	// Page faults of children that have ended; every program that was started has some.
	return strings.Fields(fields)[8] != "0"
}

func TestNoQueryLeavesTheSandbox(t *testing.T) {
	parent := t.TempDir()
	data := filepath.Join(parent, "data")
	o := newOutside(t, data)
	// The worst case: a program lies where the engine starts them from.
	scripts := filepath.Join(data, "user_scripts")
	require.NoError(t, os.MkdirAll(scripts, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(scripts, "escape.sh"), []byte("#!/bin/sh\ntouch "+o.dir+"/escaped-by-program\n"), 0o700))
	// The list of refused words is not in force here: it is the sandbox that is to hold.
	server := startConfined(t, data, settings{Sandbox: SandboxRequired, Password: rand.Text(), External: true})
	for _, sql := range []string{
		"CREATE DATABASE d", "CREATE TABLE d.t (a Int32) ENGINE = MergeTree ORDER BY a", "INSERT INTO d.t VALUES (1), (2)",
		"CREATE TABLE d.lines (a String) ENGINE = Memory",
	} {
		status, answer := server.send(t, server.password, "", sql)
		require.Equal(t, http.StatusOK, status, answer)
	}
	tables := "SELECT (SELECT groupArray(a) FROM d.t), (SELECT count() FROM d.lines), (SELECT groupArray((database, name)) FROM system.tables WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema')), " +
		"(SELECT groupArray(name) FROM system.databases), (SELECT count() FROM system.functions WHERE origin != 'System')"
	_, want := server.send(t, server.password, "", tables)
	before := o.state(t)
	all := o.escapes(t)
	require.GreaterOrEqual(t, len(all), 150)
	ran, stopped := map[bool]int{}, map[bool]int{}
	for _, known := range []bool{false, true} {
		password, params := "", ""
		if known {
			password, params = server.password, "max_execution_time=10&http_max_tries=1&http_connection_timeout=1&connect_timeout=1&connections_with_failover_max_tries=1&s3_retry_attempts=0&azure_sdk_max_retries=0"
		}
		for _, e := range all {
			if known && e.kind == "table" {
				continue // it may
			}
			status, answer := server.send(t, password, strings.Trim(params+"&"+e.params, "&"), e.query)
			if status == http.StatusOK {
				ran[known]++
			}
			if strings.Contains(answer, "ermission denied") || strings.Contains(answer, "not permitted") || strings.Contains(answer, "I/O error") {
				stopped[known]++
			}
			require.Empty(t, o.left(t, answer, before), "password %t: %s", known, e)
		}
		if !known {
			_, got := server.send(t, server.password, "", tables)
			require.Equal(t, want, got, "tables after all queries without a password")
			require.NoError(t, filepath.WalkDir(data, func(path string, _ fs.DirEntry, err error) error {
				if strings.Contains(filepath.Base(path), "escape") && filepath.Dir(path) != scripts {
					return fmt.Errorf("a query without a password wrote %s", path)
				}
				return err
			}))
		}
	}
	t.Logf("%d queries; answered without an error: %d without the password, %d with it; stopped by the kernel: %d and %d", len(all), ran[false], ran[true], stopped[false], stopped[true])
	require.Greater(t, stopped[true], 50, "the corpus reaches no further than the parser")
	require.False(t, hadChildren(t, server.Process.Pid))
	// What the engine does in the background ends with it.
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait())
	require.Empty(t, o.left(t, "", before))
}

// The kernel itself says what the process may do, and what it has open.
func TestConfinedProcessHasNothingOfItsParents(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	defer write.Close()
	// A descriptor that a shell left open reaches its children, which is what fcntl does here.
	leaked, err := syscall.Dup(int(read.Fd()))
	require.NoError(t, err)
	defer syscall.Close(leaked)
	inode := func(path string) string {
		target, err := os.Readlink(path)
		require.NoError(t, err)
		return target
	}
	dir := filepath.Join(t.TempDir(), "data")
	server := startConfined(t, dir, settings{Sandbox: SandboxRequired, Password: "right"})
	proc := fmt.Sprintf("/proc/%d/", server.Process.Pid)
	fds, err := filepath.Glob(proc + "fd/*")
	require.NoError(t, err)
	require.NotEmpty(t, fds)
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil {
			require.NotEqual(t, inode(fmt.Sprintf("/proc/self/fd/%d", leaked)), target)
		}
	}
	_, answer := server.send(t, "right", "", "CREATE TABLE default.t (a Int32) ENGINE = MergeTree ORDER BY a")
	require.Empty(t, answer)
	_, answer = server.send(t, "right", "", "INSERT INTO default.t VALUES (1)")
	require.Empty(t, answer)
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o077 != 0 {
			return fmt.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	}))
	threads, err := filepath.Glob(proc + "task/*/status")
	require.NoError(t, err)
	require.Greater(t, len(threads), 5)
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if os.IsNotExist(err) {
			continue // it has ended
		}
		require.NoError(t, err)
		require.Contains(t, string(status), "\nNoNewPrivs:\t1\n")
		require.Contains(t, string(status), "\nSeccomp:\t2\n")
	}
	limits, err := os.ReadFile(proc + "limits")
	require.NoError(t, err)
	require.Regexp(t, `Max core file size +0 +0 `, string(limits))
}

// A child process of the engine's is confined before the engine is there; a process without
// Landlock or seccomp says what it cannot.
func TestSandboxThatIsRequiredOrNotAtAll(t *testing.T) {
	require.True(t, SandboxAuto.on() && SandboxRequired.on())
	require.False(t, SandboxOff.on() || Sandbox("").on())
	e := Engine{lacking: []string{"files", "hosts"}}
	require.Equal(t, "files, nor from hosts", e.Lacking())
}
