package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// Child describes one supervised process. Zero durations and counts take the defaults.
type Child struct {
	Name string   // in logs and errors
	Args []string // arguments to this process's own binary; must fix the port, see Start
	Env  []string // "key=value", added to the environment of this process
	// Environment, unless nil, is all that the child's environment has of this process's:
	// names of variables; an empty one counts as none. Env comes on top.
	Environment []string

	// Health returns nil when the child is well. It must end when ctx does. Nil is no check.
	Health func(ctx context.Context) error
	Log    zerolog.Logger // gets the child's output, deaths and restarts

	// DiesWithParent has the child killed when this process ends, however that ends and even
	// where the child is frozen. Otherwise it drains then.
	DiesWithParent bool

	ReadyTimeout   time.Duration // from start to ready; default 30 s
	HealthInterval time.Duration // between two health checks; default 1 s
	HealthTimeout  time.Duration // of one health check; default 2 s
	HealthFailures int           // consecutive ones, after which the child is killed and replaced; default 3
	MinBackoff     time.Duration // before the first restart; doubles; default 100 ms
	MaxBackoff     time.Duration // bound of the backoff; a child that lives longer resets it; default 10 s
}

func (c Child) withDefaults() Child {
	c.ReadyTimeout = orDefault(c.ReadyTimeout, 30*time.Second)
	c.HealthInterval = orDefault(c.HealthInterval, time.Second)
	c.HealthTimeout = orDefault(c.HealthTimeout, 2*time.Second)
	c.HealthFailures = orDefault(c.HealthFailures, 3)
	c.MinBackoff = orDefault(c.MinBackoff, 100*time.Millisecond)
	c.MaxBackoff = orDefault(c.MaxBackoff, 10*time.Second)
	c.Log = c.Log.With().Str("child", c.Name).Logger()
	return c
}

func orDefault[T int | time.Duration](v, byDefault T) T {
	if v <= 0 {
		return byDefault
	}
	return v
}

// inherited returns what of this process's environment the child gets.
func (c Child) inherited(environ []string) []string {
	if c.Environment == nil {
		return environ
	}
	return slices.DeleteFunc(environ, func(variable string) bool {
		name, value, _ := strings.Cut(variable, "=")
		return value == "" || !slices.Contains(c.Environment, name)
	})
}

// Process is a supervised child and its replacements. Its methods are safe for concurrent use.
type Process struct {
	child    Child
	addr     string
	pid      atomic.Int64
	restarts atomic.Uint64

	stopping context.Context //nolint:containedctx // done when Stop was called; it outlives the call that made it
	stop     context.CancelFunc
	hard     context.Context //nolint:containedctx // done when Stop has waited long enough; it outlives the call too
	kill     context.CancelFunc

	done chan struct{} // closed at the end of run
	err  error         // of the last child's end, nil where its replacement did not start; after done
}

// Start starts the child and waits until it is ready, for at most ReadyTimeout or until ctx
// is done. A child that did not get ready is gone when Start returns, and the error has its
// last lines of output.
//
// After Start ctx has no effect: the child is supervised until Stop, which the caller must
// call. A replacement gets the same arguments and must serve on the same address.
func Start(ctx context.Context, child Child) (*Process, error) {
	p := &Process{child: child.withDefaults(), done: make(chan struct{})}
	p.stopping, p.stop = context.WithCancel(context.Background())
	p.hard, p.kill = context.WithCancel(context.Background())
	in, err := p.start(ctx)
	if err != nil {
		p.stop()
		p.kill()
		return nil, err
	}
	p.addr = in.addr
	go p.run(in) // ends after Stop
	return p, nil
}

// Addr returns the address that the child reported, the same for its replacements.
func (p *Process) Addr() string { return p.addr }

// Pid returns the process id of the current child, or 0 while there is none.
func (p *Process) Pid() int { return int(p.pid.Load()) }

// Restarts returns how many times a replacement was started, successfully or not.
func (p *Process) Restarts() uint64 { return p.restarts.Load() }

// Stop closes the child's pipe, so that it drains and ends, and waits for its end. When ctx
// is done first it kills the child. It returns an error, with an *exec.ExitError, when the
// child was killed or failed. Calling it again waits for the same end.
func (p *Process) Stop(ctx context.Context) error {
	defer context.AfterFunc(ctx, p.kill)()
	p.stop()
	<-p.done
	p.kill() // releases hard
	return p.err
}

// run replaces children until Stop, then ends the last one.
func (p *Process) run(in *instance) {
	defer close(p.done)
	log := p.child.Log
	backoff := p.child.MinBackoff
	for {
		if in != nil {
			why := p.watch(in)
			if why == nil {
				p.err = p.end(p.hard, in)
				return
			}
			p.err = p.failure(in) // for a Stop before there is another
			if time.Since(in.since) > p.child.MaxBackoff {
				backoff = p.child.MinBackoff
			}
			log.Error().Err(why).Dur("backoff", backoff).Msg("child lost, starting it again")
		}
		select {
		case <-time.After(backoff):
		case <-p.stopping.Done():
			return
		}
		backoff = min(2*backoff, p.child.MaxBackoff)

		p.restarts.Add(1)
		p.err = nil
		var err error
		in, err = p.start(p.stopping)
		switch {
		case err == nil:
			log.Info().Int("pid", p.Pid()).Str("addr", in.addr).Msg("child started again")
		case p.stopping.Err() == nil:
			log.Error().Err(err).Dur("backoff", backoff).Msg("child not started again, trying later")
		}
	}
}

// watch returns why the child must be replaced; it is dead then. Nil is Stop.
func (p *Process) watch(in *instance) error {
	tick := time.NewTicker(p.child.HealthInterval)
	defer tick.Stop()
	failed := 0
	for {
		select {
		case <-in.exited:
			_ = in.parent.Close()
			p.pid.Store(0)
			return fmt.Errorf("%s ended by itself (%s)", p.child.Name, in.cmd.ProcessState)
		case <-p.stopping.Done():
			return nil
		case <-tick.C:
		}
		if p.child.Health == nil {
			continue
		}
		err := p.health(in)
		if err == nil {
			failed = 0
			continue
		}
		if failed++; failed >= p.child.HealthFailures && p.stopping.Err() == nil {
			now, cancel := context.WithCancel(context.Background())
			cancel()
			_ = p.end(now, in) // killed, of course
			return fmt.Errorf("%s failed %d health checks in a row and was killed: %w", p.child.Name, failed, err)
		}
	}
}

// health does one check; the end of the child and Stop cut it short.
func (p *Process) health(in *instance) error {
	ctx, cancel := context.WithTimeout(p.stopping, p.child.HealthTimeout)
	defer cancel()
	go func() { // ends with the check
		select {
		case <-in.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	return p.child.Health(ctx)
}

// instance is one child process.
type instance struct {
	cmd    *exec.Cmd
	parent *os.File // write end of the pipe that ends with this process
	out    *output
	addr   string
	since  time.Time
	exited chan struct{} // closed when the process is gone and its output read
}

// start starts a child and waits until it is ready.
func (p *Process) start(ctx context.Context) (*instance, error) {
	in, ready, err := p.spawn()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.child.Name, err)
	}
	defer ready.Close()

	_ = ready.SetReadDeadline(in.since.Add(p.child.ReadyTimeout)) // pipes have deadlines
	defer context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })()
	line, err := bufio.NewReader(ready).ReadString('\n')
	in.addr = strings.TrimSpace(line)
	if err == nil && (p.addr == "" || p.addr == in.addr) {
		return in, nil
	}

	limit, cancel := context.WithTimeout(p.hard, p.child.ReadyTimeout)
	defer cancel()
	switch {
	case err == nil:
		err = fmt.Errorf("start %s: it moved from %s to %s: its arguments must fix the port", p.child.Name, p.addr, in.addr)
	case ctx.Err() != nil: // nothing is wrong with the child: let it end by itself
		err = fmt.Errorf("start %s: not ready yet: %w", p.child.Name, context.Cause(ctx))
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("start %s: not ready after %s", p.child.Name, p.child.ReadyTimeout)
		cancel() // kill
	default: // it closed its pipe: it ended, or is about to
		err = nil
	}
	_ = p.end(limit, in) // err, or the state below, says why
	if err == nil {
		err = fmt.Errorf("start %s: it ended before it was ready (%s)", p.child.Name, in.cmd.ProcessState)
	}
	return nil, fmt.Errorf("%w%s", err, in.out.tail())
}

// spawn starts the process. The caller closes ready, and ends the instance.
func (p *Process) spawn() (in *instance, ready *os.File, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	parentRead, parentWrite, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer parentRead.Close()
	readyRead, readyWrite, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(err, parentWrite.Close())
	}
	defer readyWrite.Close()

	in = &instance{
		cmd:    exec.Command(exe, p.child.Args...), //nolint:gosec,noctx // our own binary, ended by end
		parent: parentWrite,
		out:    &output{log: p.child.Log},
		since:  time.Now(),
		exited: make(chan struct{}),
	}
	in.cmd.Env = append(append(p.child.inherited(os.Environ()), p.child.Env...), supervisedEnv+"=1")
	in.cmd.Stdout, in.cmd.Stderr = in.out, in.out
	in.cmd.ExtraFiles = []*os.File{parentRead, readyWrite} // parentFd, readyFd
	in.cmd.WaitDelay = time.Second                         // a process that it left behind may hold its output open
	// A Ctrl-C in the terminal is for this process, which drains before its children end.
	in.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.child.DiesWithParent {
		in.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	err = Spawn(in.cmd, func() {
		defer close(in.exited)
		_ = in.cmd.Wait() // the result is cmd.ProcessState
	})
	if err != nil {
		return nil, nil, errors.Join(err, parentWrite.Close(), readyRead.Close())
	}
	p.pid.Store(int64(in.cmd.Process.Pid))
	return in, readyRead, nil
}

// Spawn starts cmd and then runs wait in a goroutine, which ends with wait. Where cmd asks for a
// signal at the death of its parent (Pdeathsig), that means this process and no thread of it, as
// long as wait runs.
func Spawn(cmd *exec.Cmd, wait func()) error {
	started := make(chan error, 1)
	go func() {
		if cmd.SysProcAttr != nil && cmd.SysProcAttr.Pdeathsig != 0 {
			// The kernel sends the signal when the thread has ended that started the process.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
		}
		err := cmd.Start()
		started <- err
		if err == nil {
			wait()
		}
	}()
	return <-started
}

// end closes the pipe, waits for the child to end, and kills it and its process group when
// hard is done first. The child is gone when it returns. The error says that it was killed
// or failed.
func (p *Process) end(hard context.Context, in *instance) error {
	defer p.pid.Store(0)
	_ = in.parent.Close()
	select {
	case <-in.exited:
	case <-hard.Done():
		_ = syscall.Kill(-in.cmd.Process.Pid, syscall.SIGKILL) // gone already is as good
		<-in.exited
	}
	return p.failure(in)
}

// failure is how a child ended that was killed or failed, with an *exec.ExitError.
func (p *Process) failure(in *instance) error {
	if in.cmd.ProcessState.Success() {
		return nil
	}
	return fmt.Errorf("stop %s: %w%s", p.child.Name, &exec.ExitError{ProcessState: in.cmd.ProcessState}, in.out.tail())
}
