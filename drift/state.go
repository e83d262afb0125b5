package drift

import (
	"context"
	"slices"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// versionState is what the monitor remembers of a version. All of it is in the store too: a
// restarted monitor reads it back.
type versionState struct {
	jobs map[schemas.Job]*jobState
	// raised holds, by window start, the windows that asked for retraining, once the job that
	// did has finished them; last is the one that ends last.
	raised map[int64]bool
	last   *schemas.FinishedWindow
	labels labelState
	// lateAt and lateRequests are when late rows were last looked for, and the version's
	// rows then. Before the first look lateAt is zero.
	lateAt       time.Time
	lateRequests uint64
	learning     learning
	estimating   estimating
	alarm        alarmState
}

// jobState is how far a job of a version has come.
type jobState struct {
	next time.Time        // start of the first window that is not finished; zero: none is
	done map[int64]uint64 // rows judged, by window start in microseconds; the last LateWindows and more
}

// grown returns the finished windows that have more rows by now than they were judged with.
func (j *jobState) grown(counts []profile.WindowRows) []profile.WindowRows {
	var grown []profile.WindowRows
	for _, c := range counts {
		if c.Start.Before(j.next) && c.Rows > j.done[c.Start.UnixMicro()] {
			grown = append(grown, c)
		}
	}
	return grown
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
	state := &versionState{jobs: map[schemas.Job]*jobState{}, raised: map[int64]bool{}}
	length := v.Manifest.Monitoring.Window.Std()
	jobs := v.jobs()
	if v.Learns() && v.binaryTarget() {
		jobs = append(jobs, schemas.JobEstimate) // once the labels of what is learned from have come
	}
	for _, job := range jobs {
		state.jobs[job] = &jobState{done: map[int64]uint64{}}
	}
	last, err := m.store.LastFinished(ctx, v.Manifest)
	if err != nil {
		return nil, err
	}
	for job, start := range last {
		if js := state.jobs[job]; js != nil {
			js.next = start.Add(v.step())
		}
	}
	from := state.keepFrom(m.cfg.LateWindows, length)
	done, err := m.store.FinishedWindows(ctx, v.Manifest, from)
	if err != nil {
		return nil, err
	}
	for _, r := range done {
		if js := state.jobs[schemas.Job(r.Job)]; js != nil {
			js.done[r.WindowStart.UnixMicro()] = r.Rows
		}
	}
	state.raise(done)
	if state.last, err = m.store.LastRetraining(ctx, v.Manifest); err != nil {
		return nil, err
	}
	if state.jobs[schemas.JobAccuracy] != nil {
		if state.labels.noted, err = m.store.LabelsNoted(ctx, v.Manifest); err != nil {
			return nil, err
		}
		state.labels.kept = state.labels.noted
	}
	return state, nil
}

// does tells whether there is a state for each of the jobs.
func (s *versionState) does(jobs []schemas.Job) bool {
	return !slices.ContainsFunc(jobs, func(job schemas.Job) bool { return s.jobs[job] == nil })
}

// raise notes which of the finished windows have asked for retraining.
func (s *versionState) raise(finished []schemas.FinishedWindow) {
	for _, w := range finished {
		if w.Retraining {
			s.raised[w.WindowStart.UnixMicro()] = true
		}
	}
}

// keepFrom is the start of the windows that may still be judged, or judged again; zero
// when a job has not finished any.
func (s *versionState) keepFrom(lateWindows int, length time.Duration) time.Time {
	var least time.Time
	for job, js := range s.jobs {
		if js.next.IsZero() {
			if job == schemas.JobEstimate {
				continue // whose estimator may never come
			}
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
