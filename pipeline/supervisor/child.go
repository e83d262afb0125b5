package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

const (
	// supervisedEnv is set in the environment of a supervised child.
	supervisedEnv = "MILLRACE_SUPERVISED"
	// parentFd and readyFd are the child's ends of the two pipes: the order of
	// exec.Cmd.ExtraFiles, which follow stdin, stdout and stderr.
	parentFd = 3
	readyFd  = 4

	// Files is how many open files a child is given: those, stdin, stdout and stderr.
	Files = readyFd + 1
)

// ErrParentGone is the cause of a context that ended because the parent ended, or closed
// the pipe to stop this process.
var ErrParentGone = errors.New("supervisor: parent is gone or asks to stop")

// parent is the child's side of the pipes.
type parent struct {
	gone  chan struct{} // closed at the end of the parent's pipe; nil when not supervised
	ready *os.File      // nil when not supervised
}

// inherited finds the pipes, once. Its goroutine ends with the parent.
var inherited = sync.OnceValue(func() parent {
	if os.Getenv(supervisedEnv) == "" {
		return parent{}
	}
	// Children of this process inherit neither the claim nor the pipes.
	_ = os.Unsetenv(supervisedEnv)
	syscall.CloseOnExec(parentFd)
	syscall.CloseOnExec(readyFd)
	// The parent read our stderr. Without it the next log line would be a deadly SIGPIPE,
	// in the middle of a clean stop.
	signal.Ignore(syscall.SIGPIPE)

	p := parent{gone: make(chan struct{}), ready: os.NewFile(readyFd, "ready")}
	go func() {
		defer close(p.gone)
		_, _ = io.Copy(io.Discard, os.NewFile(parentFd, "parent"))
	}()
	return p
})

// ParentGone returns a channel that is closed when the parent ended or closed the pipe to
// stop this process. It never is in a process that is not supervised. A supervised child
// must call it, or WithParent, before it writes to stderr.
func ParentGone() <-chan struct{} { return inherited().gone }

// WithParent returns a copy of ctx that is also done, with the cause ErrParentGone, when
// ParentGone is closed. The goroutine behind it ends when ctx is done.
func WithParent(ctx context.Context) context.Context {
	gone := ParentGone()
	if gone == nil {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-gone:
			cancel(ErrParentGone)
		case <-ctx.Done():
			cancel(nil)
		}
	}()
	return ctx
}

// Ready tells the parent that this process serves on addr. It is to be called once, and
// does nothing in a process that is not supervised.
func Ready(addr string) error {
	p := inherited()
	if p.ready == nil {
		return nil
	}
	_, err := fmt.Fprintln(p.ready, addr)
	if err = errors.Join(err, p.ready.Close()); err != nil {
		return fmt.Errorf("tell the parent to use %s: %w", addr, err)
	}
	return nil
}
