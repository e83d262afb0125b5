package drift

import (
	"context"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// versionState is what the monitor remembers of a version. All of it is in the store too: a
// restarted monitor reads it back.
type versionState struct {
	jobs map[schemas.Job]*jobState
	// raised holds, by window start, the job that raised the retraining event, once that
	// job has finished the window.
	raised map[int64]schemas.Job
	// lateAt and lateRequests are when late rows were last looked for, and the version's
	// rows then. Before the first look lateAt is zero.
	lateAt       time.Time
	lateRequests uint64
	learning     learning
}

// jobState is how far a job of a version has come.
type jobState struct {
	next time.Time            // start of the first window that is not finished; zero: none is
	done map[int64]doneWindow // by window start, in microseconds; the last LateWindows and more
}

type doneWindow struct {
	rows     uint64
	revision uint32
}

// grown returns the finished windows that have more rows by now than they were judged with.
func (j *jobState) grown(counts []profile.WindowRows) []window {
	var windows []window
	for _, c := range counts {
		done, ok := j.done[c.Start.UnixMicro()]
		if !c.Start.Before(j.next) || c.Rows <= done.rows {
			continue
		}
		w := window{WindowRows: c}
		if ok {
			w.revision = done.revision + 1
		}
		windows = append(windows, w)
	}
	return windows
}

// next is how far the job has come that has come furthest.
func (s *versionState) next() time.Time {
	var next time.Time
	for _, js := range s.jobs {
		if js.next.After(next) {
			next = js.next
		}
	}
	return next
}

// recover reads back how far the jobs of a version have come.
func (m *Monitor) recover(ctx context.Context, v Version) (*versionState, error) {
	state := &versionState{jobs: map[schemas.Job]*jobState{}, raised: map[int64]schemas.Job{}}
	length := v.Manifest.Monitoring.Window.Std()
	for _, job := range v.jobs() {
		state.jobs[job] = &jobState{done: map[int64]doneWindow{}}
	}
	last, err := m.store.LastFinished(ctx, v.Manifest)
	if err != nil {
		return nil, err
	}
	for job, start := range last {
		if js := state.jobs[job]; js != nil {
			js.next = start.Add(length)
		}
	}
	from := state.keepFrom(m.cfg.LateWindows, length)
	done, err := m.store.FinishedWindows(ctx, v.Manifest, from)
	if err != nil {
		return nil, err
	}
	for _, r := range done {
		if js := state.jobs[schemas.Job(r.Job)]; js != nil {
			js.done[r.WindowStart.UnixMicro()] = doneWindow{r.Rows, r.Revision}
		}
	}
	raised, err := m.store.RetrainingBreaches(ctx, v.Manifest, from)
	if err != nil {
		return nil, err
	}
	for _, r := range raised { // drift first: where both breached, it was the one that raised it
		js, at := state.jobs[schemas.Job(r.Job)], r.WindowStart.UnixMicro()
		if js == nil {
			continue
		}
		if d, ok := js.done[at]; ok && d.revision >= r.Revision && state.raised[at] == "" {
			state.raised[at] = schemas.Job(r.Job)
		}
	}
	return state, nil
}

// keepFrom is the start of the windows that may still be judged, or judged again; zero
// when a job has not finished any.
func (s *versionState) keepFrom(lateWindows int, length time.Duration) time.Time {
	var least time.Time
	for _, js := range s.jobs {
		if js.next.IsZero() {
			return time.Time{}
		}
		if least.IsZero() || js.next.Before(least) {
			least = js.next
		}
	}
	return least.Add(-time.Duration(lateWindows) * length)
}

// forget drops the windows before a start, so that memory does not grow with time; none
// when it is zero.
func (s *versionState) forget(before time.Time) {
	if before.IsZero() {
		return
	}
	for _, js := range s.jobs {
		for at := range js.done {
			if at < before.UnixMicro() {
				delete(js.done, at)
			}
		}
	}
	for at := range s.raised {
		if at < before.UnixMicro() {
			delete(s.raised, at)
		}
	}
}
