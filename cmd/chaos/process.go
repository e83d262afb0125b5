package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/pipeline/supervisor"
)

// process is one program of the run, which is started again and again at the same address.
// It is safe for concurrent use, but its faults must not overlap.
type process struct {
	name    string
	child   supervisor.Child
	logs    *os.File
	signals bool // SIGTERM drains it; without, only the end of its pipe does

	mu       sync.Mutex
	running  *supervisor.Process // nil while it is down on purpose
	settings map[string]string   // of the configuration, beside its arguments; from the next start
}

// newProcess prepares a program; its output goes to a file of its own in dir. Close it.
func newProcess(dir, name string, signals bool, args ...string) (*process, error) {
	logs, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // the run's own directory
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	const never = 24 * time.Hour // only the run starts it again
	return &process{name: name, logs: logs, signals: signals, child: supervisor.Child{
		Name: name, Args: args, Log: zerolog.New(logs).With().Timestamp().Logger(), MinBackoff: never, MaxBackoff: 2 * never,
		ReadyTimeout: time.Minute, DiesWithParent: true, // it may be frozen then
	}}, nil
}

// Start starts it and waits until it says that it runs.
func (p *process) Start(ctx context.Context) error {
	child := p.child
	child.Args = p.arguments()
	running, err := supervisor.Start(ctx, child)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = running
	return nil
}

// set gives a key of the configuration another value; "" is the one that it had first.
func (p *process) set(key, value string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settings == nil {
		p.settings = map[string]string{}
	}
	if p.settings[key] = value; value == "" {
		delete(p.settings, key)
	}
}

func (p *process) arguments() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	args := slices.Clone(p.child.Args)
	for _, key := range slices.Sorted(maps.Keys(p.settings)) {
		args = append(args, key+"="+p.settings[key])
	}
	return args
}

func (p *process) current() *supervisor.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// down forgets the running program and returns it.
func (p *process) down() *supervisor.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	running := p.running
	p.running = nil
	return running
}

var errNotRunning = errors.New("it does not run")

// Ended tells whether it has ended though nobody asked it to.
func (p *process) Ended() bool {
	running := p.current()
	return running != nil && running.Pid() == 0
}

// Signal sends a signal.
func (p *process) Signal(signal syscall.Signal) error { return p.signal(p.current(), signal) }

func (p *process) signal(running *supervisor.Process, signal syscall.Signal) error {
	if running == nil || running.Pid() == 0 {
		return fmt.Errorf("send %s to %s: %w", signal, p.name, errNotRunning)
	}
	if err := syscall.Kill(running.Pid(), signal); err != nil {
		return fmt.Errorf("send %s to %s: %w", signal, p.name, err)
	}
	return nil
}

// Kill ends it at once, and returns when it is gone.
func (p *process) Kill(ctx context.Context) error {
	running := p.down()
	err := p.signal(running, syscall.SIGKILL)
	if running != nil {
		_ = running.Stop(ctx) // killed, as it says
	}
	return err
}

// Terminate lets it end in order. It is killed when ctx is done first, which is an error,
// as is an exit code.
func (p *process) Terminate(ctx context.Context) error {
	running := p.down()
	var err error
	switch {
	case running == nil || running.Pid() == 0:
		err = fmt.Errorf("terminate %s: %w", p.name, errNotRunning)
	case p.signals:
		err = p.signal(running, syscall.SIGTERM)
	}
	if running != nil {
		err = errors.Join(err, running.Stop(ctx))
	}
	return err
}

// Frozen tells whether SIGSTOP has had its effect.
func (p *process) Frozen() bool {
	running := p.current()
	if running == nil {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(running.Pid()), "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ") // behind the name
	return strings.HasPrefix(state, "T")
}

// Close kills what still runs.
func (p *process) Close() error {
	if running := p.down(); running != nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = running.Stop(now) // killed, as it says
	}
	return p.logs.Close()
}

// vitals are what a process takes of the machine.
type vitals struct {
	pid        int
	goroutines int // 0 where it has no admin port
	files      int
	heap       int64 // bytes that are allocated; 0 where it has no admin port
	rss        int64 // bytes
}

// Vitals measures it, perhaps after a garbage collection. A process that does not answer is
// an error.
func (p *process) Vitals(ctx context.Context, collect bool) (vitals, error) {
	running := p.current()
	if running == nil || running.Pid() == 0 {
		return vitals{}, fmt.Errorf("measure %s: %w", p.name, errNotRunning)
	}
	v := vitals{pid: running.Pid()}
	if p.signals && collect {
		for range 2 { // the second frees what pools hold
			if err := get(ctx, running.Addr(), "/debug/pprof/heap?gc=1", func(string) {}); err != nil {
				return v, err
			}
		}
	}
	dir := filepath.Join("/proc", strconv.Itoa(v.pid))
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return v, fmt.Errorf("count the files of %s: %w", p.name, err)
	}
	v.files = len(files)
	status, err := os.ReadFile(filepath.Join(dir, "status")) //nolint:gosec // of a child
	if err != nil {
		return v, fmt.Errorf("measure the memory of %s: %w", p.name, err)
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 10, 64)
			if err != nil {
				return v, fmt.Errorf("measure the memory of %s: %w", p.name, err)
			}
			v.rss = n << 10
		}
	}
	if !p.signals {
		return v, nil
	}
	err = get(ctx, running.Addr(), "/metrics", func(line string) {
		name, text, _ := strings.Cut(line, " ")
		n, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil: // a comment, or a metric with labels
		case name == "go_goroutines":
			v.goroutines = int(n)
		case name == "go_memstats_heap_alloc_bytes":
			v.heap = int64(n)
		}
	})
	if err == nil && (v.goroutines == 0 || v.heap == 0) {
		err = fmt.Errorf("measure %s: its metrics do not tell", p.name)
	}
	return v, err
}

// get reads an answer of an admin port, line by line.
func get(ctx context.Context, addr, path string, line func(line string)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return fmt.Errorf("get %s of %s: %w", path, addr, err)
	}
	req.Close = true // an idle connection would count
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("get %s of %s: %w", path, addr, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s of %s: %s", path, addr, resp.Status)
	}
	in := bufio.NewReader(resp.Body)
	for {
		text, err := in.ReadString('\n')
		if text != "" {
			line(strings.TrimSuffix(text, "\n"))
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("get %s of %s: %w", path, addr, err)
		}
	}
}
