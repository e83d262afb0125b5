package main

import (
	"context"
	"fmt"
	"time"
)

// reading is one look at a run.
type reading struct {
	at   time.Time
	done int64 // requests, or rows
}

// The ends of what counts as steady, in shares of all. A recorder's last insert waits for more,
// so that what is stored counts for less long, whoever stores it.
const (
	windowFrom     = 0.2
	windowTo       = 0.9
	windowToStored = 0.7
)

// look is the time between two readings.
const look = 10 * time.Millisecond

// watch follows a process until progress says that all requests are done, and returns what
// it saw.
func watch(ctx context.Context, p *process, total int64, progress func(ctx context.Context) (int64, error)) ([]reading, error) {
	var readings []reading
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		done, err := progress(ctx)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		if n := len(readings); n == 0 || readings[n-1].done < done {
			readings = append(readings, reading{now, done})
		}
		if done >= total {
			return readings, nil
		}
		if now.Sub(readings[len(readings)-1].at) > patience {
			return nil, fmt.Errorf("%s is stuck at %d of %d requests%s", p.part, done, total, p.stderr)
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return nil, fmt.Errorf("%s ended by itself (%s)%s", p.part, p.cmd.ProcessState, p.stderr)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// steady returns the rate between the readings at the shares windowFrom and end of the total.
// A run that no reading falls into is taken as a whole.
func steady(readings []reading, total int64, end float64) (perSecond float64, err error) {
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
	if b.done <= a.done || !b.at.After(a.at) {
		return 0, fmt.Errorf("%d were done before the first look: they are too few to be measured", total)
	}
	return float64(b.done-a.done) / b.at.Sub(a.at).Seconds(), nil
}
