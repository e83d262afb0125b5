package bench

import (
	"context"
	"fmt"
	"time"
)

// reading is one look at a run.
type reading struct {
	at   time.Time
	done int64 // requests
	cpu  time.Duration
}

// window is what lies between two readings of a run: the steady part of it.
type window struct {
	perSecond float64       // requests
	cpu       time.Duration // of the process, per request
	took      time.Duration
}

// The window's ends, in shares of all requests. A recorder's last insert waits for more, so
// its window ends earlier.
const (
	windowFrom       = 0.2
	windowTo         = 0.9
	windowToRecorder = 0.7
)

// look is the time between two readings.
const look = 20 * time.Millisecond

// watch follows a process until progress says that all requests are done, and returns the
// window, which ends at the share to. A run that no reading falls into is taken as a whole.
func watch(ctx context.Context, p *process, total int64, to float64, progress func(ctx context.Context) (int64, error)) (window, error) {
	var readings []reading
	moved := time.Now()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		done, err := progress(ctx)
		if err != nil {
			return window{}, err
		}
		cpu, err := cpuOf(p.cmd.Process.Pid)
		if err != nil {
			return window{}, fmt.Errorf("%s: %w%s", p.part, err, p.stderr)
		}
		now := time.Now()
		if n := len(readings); n == 0 || readings[n-1].done < done {
			readings = append(readings, reading{now, done, cpu})
			moved = now
		}
		if done >= total {
			return steady(readings, total, to)
		}
		if time.Since(moved) > patience {
			return window{}, fmt.Errorf("%s is stuck at %d of %d requests%s", p.part, done, total, p.stderr)
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return window{}, fmt.Errorf("%s ended by itself (%s)%s", p.part, p.cmd.ProcessState, p.stderr)
		case <-ctx.Done():
			return window{}, context.Cause(ctx)
		}
	}
}

// steady returns the window of the readings, which ascend and of which the last is the end.
func steady(readings []reading, total int64, end float64) (window, error) {
	reached := func(share float64) int {
		for i, r := range readings {
			if float64(r.done) >= share*float64(total) {
				return i
			}
		}
		return len(readings) - 1
	}
	from, to := reached(windowFrom), reached(end)
	if from == to {
		from = 0
	}
	a, b := readings[from], readings[to]
	requests, took := b.done-a.done, b.at.Sub(a.at)
	if requests <= 0 || took <= 0 {
		return window{}, fmt.Errorf("%d requests were done before the first look: they are too few to be measured", total)
	}
	return window{
		perSecond: float64(requests) / took.Seconds(),
		cpu:       (b.cpu - a.cpu) / time.Duration(requests),
		took:      took,
	}, nil
}
