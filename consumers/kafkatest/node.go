package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// node is one JVM.
type node struct {
	id         int
	roles      string
	dir        string
	logs       string // the file that its stderr goes to, too; "": none
	addr       string // for clients
	advertised string // what it tells them that it is
	broker     string // its address for other brokers
	controller string // and for controllers
	mutual     string // for clients with a certificate, where Security is asked for
	java       []string
	stderr     Tail

	mu     sync.Mutex
	cmd    *exec.Cmd     // of the last start
	ended  chan struct{} // closed at its end
	asked  bool          // to end, by this package
	frozen bool
}

// portsEach is how many ports a node takes.
const portsEach = 4

// newNode prepares a node, which takes the first ports.
func newNode(id int, cfg Config, dir string, ports, java []string) (*node, error) {
	n := &node{id: id, dir: dir, addr: ports[0], advertised: ports[0], broker: ports[1], controller: ports[2], mutual: ports[3], java: java}
	if cfg.Logs != "" {
		n.logs = filepath.Join(cfg.Logs, fmt.Sprintf("kafka-%d.log", id))
	}
	if cfg.Front != nil {
		var err error
		if n.advertised, err = cfg.Front(id, n.addr); err != nil {
			return nil, fmt.Errorf("front of node %d: %w", id, err)
		}
	}
	return n, nil
}

// leastJava is the oldest version of Java that runs Kafka 4.
const leastJava = 17

// jvmOptions make it start fast and stay small.
var jvmOptions = []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

// findJava returns the command that runs a class of Kafka's.
func findJava(ctx context.Context) ([]string, error) {
	lib, err := findJars()
	if err != nil {
		return nil, err
	}
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	said, err := exec.CommandContext(ctx, java, "-version").CombinedOutput() //nolint:gosec // the Java of whoever runs the tests
	if err != nil {
		return nil, fmt.Errorf("start Kafka: Java %d or newer is needed: %w", leastJava, err)
	}
	if version := javaVersion.FindSubmatch(said); version == nil || atoi(version[1]) < leastJava {
		return nil, fmt.Errorf("start Kafka: Java %d or newer is needed, this is %s", leastJava, bytes.TrimSpace(said))
	}
	return append(append([]string{java}, jvmOptions...), "-cp", filepath.Join(lib, "*")), nil
}

func atoi(text []byte) int {
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return 0
	}
	return n
}

// findJars returns the folder that `make kafka` fills, in the project that the working
// directory lies in.
func findJars() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			lib := filepath.Join(dir, "deploy", "kafka", "lib")
			if jars, err := filepath.Glob(filepath.Join(lib, "kafka_*.jar")); err != nil || len(jars) != 1 {
				return "", fmt.Errorf("start Kafka: its jars are not in %s: run `make kafka`", lib)
			}
			return lib, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("start Kafka: the working directory lies outside of the project, where its jars are")
		}
		dir = parent
	}
	return "", fmt.Errorf("start Kafka: %w", err)
}

// freePorts returns loopback addresses where nothing listens. They lie below those that
// the kernel lends to clients, which could take them while a node is down.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(22_000))) //nolint:gosec // no secret
		var lc net.ListenConfig
		l, err := lc.Listen(context.Background(), "tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) || slices.Contains(addrs, addr) {
			continue
		}
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		if addrs = append(addrs, addr); len(addrs) == n {
			return addrs, nil
		}
	}
	return nil, errors.New("find a free port: all are in use")
}

func (n *node) properties() string { return filepath.Join(n.dir, "server.properties") }

// configure writes server.properties.
func (n *node) configure(properties map[string]string) error {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&text, "%s=%s\n", key, properties[key])
	}
	err := os.MkdirAll(n.dir, 0o750)
	if err == nil {
		err = os.WriteFile(n.properties(), []byte(text.String()), 0o600)
	}
	if err != nil {
		return fmt.Errorf("configure node %d: %w", n.id, err)
	}
	return nil
}

// format makes the data directory.
func (n *node) format(ctx context.Context, clusterID string) error {
	args := append(slices.Clone(n.java[1:]), "kafka.tools.StorageTool", "format", "-t", clusterID, "-c", n.properties())
	if said, err := exec.CommandContext(ctx, n.java[0], args...).CombinedOutput(); err != nil { //nolint:gosec // findJava's
		return fmt.Errorf("format node %d: %w: %s", n.id, err, said)
	}
	return nil
}

// start starts the JVM. A goroutine waits for its end.
func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running() {
		return fmt.Errorf("start node %d: it runs already", n.id)
	}
	cmd := exec.Command(n.java[0], append(slices.Clone(n.java[1:]), "kafka.Kafka", n.properties())...) //nolint:gosec,noctx // findJava's; Close ends it
	cmd.Stderr = &n.stderr
	var logs *os.File
	if n.logs != "" {
		var err error
		if logs, err = os.OpenFile(n.logs, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
			return fmt.Errorf("open the log of node %d: %w", n.id, err)
		}
		cmd.Stderr = io.MultiWriter(&n.stderr, logs)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() { // ends with the process
		defer close(ended)
		// The kernel sends the signal when the thread has ended that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the result is cmd.ProcessState
		}
		if logs != nil {
			_ = logs.Close() // what counts is kept in stderr
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start node %d: %w", n.id, err)
	}
	n.cmd, n.ended, n.asked, n.frozen = cmd, ended, false, false
	return nil
}

// running needs mu.
func (n *node) running() bool {
	if n.ended == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// serves tells whether it runs and is not frozen.
func (n *node) serves() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running() && !n.frozen
}

func (n *node) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Pid
}

func (n *node) signal(s syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() {
		return fmt.Errorf("send %s to node %d: it does not run", s, n.id)
	}
	if err := n.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s to node %d: %w", s, n.id, err)
	}
	switch s {
	case syscall.SIGSTOP, syscall.SIGCONT:
		n.frozen = s == syscall.SIGSTOP
	default:
		n.asked = true
	}
	return nil
}

func (n *node) kill() error {
	err := n.signal(syscall.SIGKILL)
	if err == nil {
		<-n.ended
	}
	return err
}

func (n *node) terminate(ctx context.Context) error {
	if err := n.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-n.ended:
	case <-ctx.Done():
		_ = n.kill() // it may have ended now
	}
	return nil
}

// failure tells that the node has ended by itself.
func (n *node) failure() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended == nil || n.asked || n.running() {
		return nil
	}
	return fmt.Errorf("node %d has ended by itself, %s%s", n.id, n.cmd.ProcessState, &n.stderr)
}

// said returns what the nodes wrote to stderr.
func (c *Cluster) said() error {
	var all []error
	for _, n := range c.all() {
		all = append(all, fmt.Errorf("node %d was waited for%s", n.id, &n.stderr))
	}
	return errors.Join(all...)
}

// Tail keeps the end of what a process writes to its stderr. It is safe for concurrent use.
type Tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer.
func (t *Tail) Write(p []byte) (int, error) {
	const most = 16 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	t.buf = t.buf[max(0, len(t.buf)-most):]
	return len(p), nil
}

// String returns it as the end of an error message, "" where nothing was written.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.buf) == 0 {
		return ""
	}
	return "; its last words:\n" + string(bytes.TrimSpace(t.buf))
}
