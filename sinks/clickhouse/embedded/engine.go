//go:build linux && amd64

package embedded

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/millrace/millrace/deploy/native"
)

const (
	// maxQueries is how many queries run at a time, and maxReaders how many more of those that have
	// no password; others wait for their turn, for so long. The engine shares the machine with
	// the rest of a development setup.
	maxQueries = 16
	maxReaders = 4
	queryWait  = 2 * time.Minute // as long as the pipeline waits for an insert
	readerWait = 15 * time.Second
	// readerOverdue is when a query without the password that still runs ends the process. The
	// engine looks at its limit of time, and at KILL QUERY, only while it executes: there are texts
	// of a few hundred bytes that it would plan for years, with all that they take.
	readerOverdue = 2 * time.Minute
	// maxConnections bounds the connections; more wait to be accepted.
	maxConnections = 256
	// maxHeaderBytes bounds a request's headers and URL, which may hold a query.
	maxHeaderBytes = 1 << 20
	// drainTimeout is how long Serve lets requests end by themselves, killTimeout how long it then
	// waits for the queries that it has killed.
	drainTimeout = 15 * time.Second
	killTimeout  = 5 * time.Second
)

// opened says that this process has an engine: libchdb holds one data directory at a time.
var opened atomic.Bool

// Engine is the embedded ClickHouse, open on its data directory until Serve or Close ends it.
type Engine struct {
	lib      *library
	args     []string
	keeper   *connection // runs no requests; while it is open the engine runs
	lock     *os.File
	dir      string
	listen   string
	allow    bool               // see Config.AllowExternal
	password *[sha256.Size]byte // see Config.Password
	lacking  []string           // see Lacking
	version  string             // of ClickHouse
	zone     string             // the engine's time zone
	slots    slots              // of queries
	readers  slots              // of queries without the password
	overdue  time.Duration      // see readerOverdue
	end      func(why string)   // ends the process
	pace     pace
	closed   atomic.Bool
}

// Open loads libchdb and opens the data directory. The caller ends the engine by Serve or Close.
// A process has at most one engine at a time.
func Open(cfg Config) (_ *Engine, err error) {
	if cfg.Listen != "" {
		if err := checkLoopback(cfg.Listen); err != nil {
			return nil, err
		}
	}
	if cfg.Dir == "" {
		return nil, errors.New("the embedded ClickHouse needs a data directory")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", cfg.Dir, err)
	}
	path := cfg.Library
	if path == "" {
		if path, err = native.ClickHouse.Find(); err != nil {
			return nil, err
		}
	}
	if !opened.CompareAndSwap(false, true) {
		return nil, errors.New("this process has an embedded ClickHouse already: libchdb opens one data directory at a time")
	}
	defer func() {
		if err != nil {
			opened.Store(false)
		}
	}()
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()
	file, err := configFile(dir)
	if err != nil {
		return nil, err
	}
	var lacking []string
	if cfg.Sandbox.on() {
		if lacking, err = confineFiles(dir, path); err != nil {
			return nil, err
		}
	}
	lib, err := loadLibrary(path)
	if err != nil {
		return nil, err
	}
	// Without an explicit file the engine would read config.xml of the working or home directory.
	args := []string{"clickhouse", "--path=" + dir, "--config-file=" + file}
	keeper, err := lib.boot(args)
	if err != nil {
		return nil, err
	}
	if cfg.Sandbox.on() {
		more, err := confineCalls()
		if err != nil {
			return nil, err
		}
		lacking = append(lacking, more...)
		if cfg.Sandbox == SandboxRequired && len(lacking) > 0 {
			return nil, fmt.Errorf("embedded.sandbox is required, and this kernel cannot keep queries from %s: set it to auto to run without", strings.Join(lacking, ", nor from "))
		}
	}
	version, zone, err := about(lib, keeper)
	if err != nil {
		return nil, err
	}
	return &Engine{
		lacking: lacking, version: version, zone: zone,
		lib: lib, args: args, keeper: keeper, lock: lock, listen: cfg.Listen, allow: cfg.AllowExternal,
		dir: dir, slots: newSlots(maxQueries, queryWait), readers: newSlots(maxReaders, readerWait), password: cfg.Password, pace: defaultPace,
		overdue: readerOverdue, end: endProcess,
	}, nil
}

// about asks the engine what clients ask a server when they connect.
func about(lib *library, conn *connection) (version, zone string, err error) {
	r, err := lib.run(conn, "SELECT version(), timezone()", "TabSeparated", nil)
	if err != nil {
		return "", "", fmt.Errorf("ask the ClickHouse engine for its version: %w", err)
	}
	defer r.free()
	version, zone, _ = strings.Cut(strings.TrimSpace(string(r.data())), "\t")
	return version, zone, nil
}

// endProcess ends what nothing else ends, as kill -9 would: whoever started the process starts it
// again, and what was answered is stored.
func endProcess(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}

// Lacking says what the sandbox that Config.Sandbox asked for does not keep queries from, since
// the kernel has no means; nothing where it is complete or was not asked for.
func (e *Engine) Lacking() string { return strings.Join(e.lacking, ", nor from ") }

// defaults are the engine's configuration where the user gives none. Statistics of columns,
// which newer versions make by themselves, took 3 of 20 s of inserting and 3 of 9 s of
// planning queries in the demo (system.events), and what is read here is found by its sorting key.
const defaults = `<clickhouse>
    <merge_tree><auto_statistics_types></auto_statistics_types></merge_tree>
</clickhouse>
`

// configFile returns the file of the engine's configuration: the user's, or one of defaults.
func configFile(dir string) (string, error) {
	if own := filepath.Join(dir, "config.xml"); isFile(own) {
		return own, nil
	}
	file := filepath.Join(dir, "defaults.xml")
	if err := os.WriteFile(file, []byte(defaults), 0o600); err != nil {
		return "", fmt.Errorf("write the engine's configuration: %w", err)
	}
	return file, nil
}

// lockDir creates the directory and takes its lock, which ends with the file or the process.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "millrace.lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the user chooses the data directory
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(lock.Name()) // only for the message
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by process %s: stop that one, or choose another directory", dir, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock the data directory %s: %w", dir, err)
	}
	err = lock.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(lock, os.Getpid())
	}
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("write %s: %w", lock.Name(), err)
	}
	return lock, nil
}

// Serve answers requests on ln, or on Config.Listen when ln is nil, until ctx is done. It then
// stops listening, lets the requests in flight end for 15 s, kills those that are left, and closes
// the engine. It closes ln and the engine in any case.
func (e *Engine) Serve(ctx context.Context, ln net.Listener) error {
	if ln == nil {
		var err error
		if ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", e.listen); err != nil {
			return errors.Join(fmt.Errorf("embedded ClickHouse: %w", err), e.Close())
		}
	}
	if err := checkLoopback(ln.Addr().String()); err != nil {
		return errors.Join(err, ln.Close(), e.Close())
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(e.handle),
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(limitListener(ln, maxConnections)) }() // ended by Shutdown
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("embedded ClickHouse on %s: %w", ln.Addr(), err)
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if server.Shutdown(drain) != nil {
		err = errors.Join(err, fmt.Errorf("embedded ClickHouse: requests still ran after %s and were cut off", drainTimeout), e.killQueries(), server.Close())
	}
	return errors.Join(err, e.Close())
}

// killQueries ends all running queries with QUERY_WAS_CANCELLED; it does not wait for them.
func (e *Engine) killQueries() error {
	conn, err := e.lib.open(e.args)
	if err != nil {
		return err
	}
	defer e.lib.closeConn(conn)
	r, err := e.lib.run(conn, "KILL QUERY WHERE query_id != queryID() ASYNC FORMAT Null", "Null", nil)
	if err != nil {
		return err
	}
	r.free()
	return nil
}

// Close closes the engine once running queries have ended, for which it waits 5 s. Serve does it
// itself. Closing again does nothing.
func (e *Engine) Close() error {
	if !e.closed.CompareAndSwap(false, true) {
		return nil
	}
	timeout := time.After(killTimeout)
	for i := range maxQueries + maxReaders {
		taken := e.slots.taken
		if i >= maxQueries {
			taken = e.readers.taken
		}
		select {
		case taken <- struct{}{}: // kept, so that no query starts any more
		case <-timeout:
			// Closing under a running query would crash; the data is safe without it.
			return fmt.Errorf("embedded ClickHouse: queries still ran after %s, the engine is left to the end of the process", killTimeout)
		}
	}
	e.lib.closeConn(e.keeper)
	err := e.lock.Close()
	opened.Store(false)
	return err
}
