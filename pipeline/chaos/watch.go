package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds are what processes may take of the machine.
type Bounds struct {
	WorkerRSS, RecorderRSS int64 // bytes, at any time
	Goroutines, Files      int   // at rest after the run, more than shortly after the start
}

// watch measures the workers and recorders all the time. Close it.
type watch struct {
	cluster *cluster
	stop    context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	started map[string]vitals // by role: the most of a process shortly after the start
	peak    map[string]int64  // RSS by role, and of the services
}

func watchCluster(ctx context.Context, c *cluster) *watch {
	ctx, stop := context.WithCancel(ctx)
	w := &watch{cluster: c, stop: stop, done: make(chan struct{}), started: map[string]vitals{}, peak: map[string]int64{}}
	go func() { // ends with Close
		defer close(w.done)
		for sleep(ctx, time.Second) == nil {
			for name, v := range w.measure(ctx) {
				w.mu.Lock()
				w.peak[roleOf(name)] = max(w.peak[roleOf(name)], v.rss)
				w.mu.Unlock()
			}
		}
	}()
	return w
}

// Close ends the measuring.
func (w *watch) Close() {
	w.stop()
	<-w.done
}

// roleOf returns the role of a process, or the service.
func roleOf(name string) string {
	role, _, _ := strings.Cut(name, "-")
	return role
}

// measure returns the vitals of all that answers. What is frozen or dying does not.
func (w *watch) measure(ctx context.Context) map[string]vitals {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var mu sync.Mutex
	var open sync.WaitGroup
	all := map[string]vitals{}
	for _, p := range append(slices.Collect(maps.Values(w.cluster.roles)), w.cluster.clickHouse) {
		open.Go(func() {
			v, err := p.Vitals(ctx)
			if err != nil && v.rss == 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all[p.name] = v
		})
	}
	open.Wait()
	return all
}

// Begin remembers what the roles take shortly after their start, at work.
func (w *watch) Begin(ctx context.Context) {
	for name, v := range w.measure(ctx) {
		s := w.started[roleOf(name)]
		w.started[roleOf(name)] = vitals{goroutines: max(s.goroutines, v.goroutines), files: max(s.files, v.files)}
	}
}

// Peak returns the most memory that a process of the role has taken, in bytes.
func (w *watch) Peak(role string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peak[role]
}

// Judge finds what has grown. It gives what was in use at the end some time to be given back.
func (w *watch) Judge(ctx context.Context, b Bounds) []Finding {
	var grown []string
	for range 30 {
		if grown = w.grown(ctx, b); len(grown) == 0 || sleep(ctx, time.Second) != nil {
			break
		}
	}
	for role, most := range map[string]int64{"worker": b.WorkerRSS, "recorder": b.RecorderRSS} {
		if peak := w.Peak(role); peak > most {
			grown = append(grown, fmt.Sprintf("memory: a %s took %d MB, of %d MB", role, peak>>20, most>>20))
		}
	}
	findings := make([]Finding, len(grown))
	for i, what := range grown {
		findings[i] = Finding{What: what}
	}
	return findings
}

func (w *watch) grown(ctx context.Context, b Bounds) []string {
	now := w.measure(ctx)
	var grown []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		role := roleOf(name)
		if role != "worker" && role != "recorder" {
			continue
		}
		v, s := now[name], w.started[role]
		w.cluster.log.Debug().Str("process", name).Int("goroutines", v.goroutines).Int("goroutines_at_start", s.goroutines).
			Int("files", v.files).Int("files_at_start", s.files).Int64("rss", v.rss).Msg("at rest")
		if v.goroutines == 0 {
			grown = append(grown, name+": its admin endpoint does not answer")
		}
		if v.goroutines > s.goroutines+b.Goroutines {
			grown = append(grown, fmt.Sprintf("goroutines: %s has %d, at the start %d", name, v.goroutines, s.goroutines))
		}
		if v.files > s.files+b.Files {
			grown = append(grown, fmt.Sprintf("files: %s has %d open, at the start %d", name, v.files, s.files))
		}
	}
	return grown
}
