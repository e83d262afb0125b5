package pipeline

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// UntilSignal returns a copy of ctx that is done at the first SIGTERM or Ctrl-C, so that
// what runs under it drains. A second signal ends the process at once, with exit code
// 128 + the signal's number. stop gives the signals back to their default action.
//
// Unlike signal.NotifyContext it has no gap after the first signal in which a second one
// would be swallowed.
func UntilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() { // ends with stop
		select {
		case <-signals:
			cancel()
		case <-done:
			return
		}
		select {
		case s := <-signals:
			os.Exit(exitCode(s))
		case <-done:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(done)
		cancel()
	})
}

// exitCode is what shells show for a process that a signal ended.
func exitCode(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return 1
}
