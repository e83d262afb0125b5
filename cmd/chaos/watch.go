package main

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

	// At rest after the run, more than at rest before the faults.
	Goroutines, Files int
	Heap, RSS         int64 // bytes, after a garbage collection; of a process that has lived through the run
}

// Rest is what a process took at rest, before the faults and after the run.
type Rest struct {
	Goroutines [2]int   `json:"goroutines"`
	Files      [2]int   `json:"files"`
	Heap       [2]int64 `json:"heap_bytes"`
	RSS        [2]int64 `json:"rss_bytes"`
}

// watch measures the workers and recorders all the time. Close it.
type watch struct {
	cluster *cluster
	spared  []string // processes that live through the run
	stop    context.CancelFunc
	done    chan struct{}

	before, after map[string]vitals // at rest, by process

	mu   sync.Mutex
	peak map[string]int64 // RSS by role, and of the services
}

func watchCluster(ctx context.Context, c *cluster, spared []string) *watch {
	ctx, stop := context.WithCancel(ctx)
	w := &watch{cluster: c, spared: spared, stop: stop, done: make(chan struct{}), peak: map[string]int64{}}
	go func() { // ends with Close
		defer close(w.done)
		for sleep(ctx, time.Second) == nil {
			for name, v := range w.measure(ctx, false) {
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

// measure returns the vitals of all that answers, of workers and recorders perhaps after a
// garbage collection. What is frozen or dying does not answer.
func (w *watch) measure(ctx context.Context, collect bool) map[string]vitals {
	patience := 2 * time.Second
	if collect {
		patience = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var mu sync.Mutex
	var open sync.WaitGroup
	all := map[string]vitals{}
	for _, p := range append(slices.Collect(maps.Values(w.cluster.roles)), w.cluster.clickHouse) {
		open.Go(func() {
			v, err := p.Vitals(ctx, collect)
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

// Begin remembers what the roles take at rest, when each has done its work and no fault
// has happened.
func (w *watch) Begin(ctx context.Context) { w.before = w.measure(ctx, true) }

// Peak returns the most memory that a process of the role has taken, in bytes.
func (w *watch) Peak(role string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peak[role]
}

// Rests returns what the processes took that have lived through the run.
func (w *watch) Rests() map[string]Rest {
	rests := map[string]Rest{}
	for _, name := range w.spared {
		b, a := w.before[name], w.after[name]
		rests[name] = Rest{
			[2]int{b.goroutines, a.goroutines}, [2]int{b.files, a.files}, [2]int64{b.heap, a.heap}, [2]int64{b.rss, a.rss},
		}
	}
	return rests
}

// Judge finds what has grown. It gives what was in use at the end some time to be given back.
func (w *watch) Judge(ctx context.Context, b Bounds) []Finding {
	var grown []string
	for range 30 {
		w.after = w.measure(ctx, true)
		if grown = growth(w.before, w.after, w.spared, b); len(grown) == 0 || sleep(ctx, time.Second) != nil {
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

// growth tells what workers and recorders take more after the run than before it. Those that
// were started meanwhile are compared with the others of their role. The spared must not have
// been: what leaks is seen there, and memory is compared nowhere else.
func growth(before, after map[string]vitals, spared []string, b Bounds) []string {
	most := map[string]vitals{} // before, by role
	for name, v := range before {
		m := most[roleOf(name)]
		most[roleOf(name)] = vitals{goroutines: max(m.goroutines, v.goroutines), files: max(m.files, v.files)}
	}
	var grown []string
	tell := func(format string, args ...any) { grown = append(grown, fmt.Sprintf(format, args...)) }
	for _, name := range spared {
		switch was, is := before[name], after[name]; {
		case was.pid == 0 || is.pid == 0:
			tell("%s: it did not answer before the faults, or does not after them", name)
		case was.pid != is.pid:
			tell("%s: it was process %d and is %d: its growth cannot be seen", name, was.pid, is.pid)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		role := roleOf(name)
		if role != "worker" && role != "recorder" {
			continue
		}
		is, was := after[name], most[role]
		same := before[name].pid == is.pid
		if same {
			was = before[name]
		}
		if is.goroutines == 0 {
			tell("%s: its admin port does not answer", name)
		}
		if is.goroutines > was.goroutines+b.Goroutines {
			tell("goroutines: %s has %d, before the faults %d", name, is.goroutines, was.goroutines)
		}
		if is.files > was.files+b.Files {
			tell("files: %s has %d open, before the faults %d", name, is.files, was.files)
		}
		if same && is.heap > was.heap+b.Heap {
			tell("heap: %s has %d kB in use, before the faults %d kB", name, is.heap>>10, was.heap>>10)
		}
		if same && is.rss > was.rss+b.RSS {
			tell("memory: %s has %d MB at rest, before the faults %d MB", name, is.rss>>20, was.rss>>20)
		}
	}
	return grown
}
