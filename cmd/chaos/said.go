package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"time"

	"github.com/rs/zerolog"
)

// mark is how much each process has logged by some moment.
type mark map[string]int64

// mark returns how much the processes of the roles have logged so far.
func (c *cluster) mark() mark {
	m := mark{}
	for name, p := range c.roles {
		if info, err := p.logs.Stat(); err == nil {
			m[name] = info.Size()
		}
	}
	return m
}

// saidSince returns the first line that a process has logged since a mark, at that level or
// above, in which the words stand.
func (p *process) saidSince(from int64, least zerolog.Level, words *regexp.Regexp) (line string, err error) {
	file, err := os.Open(p.logs.Name())
	if err != nil {
		return "", fmt.Errorf("read the log of %s: %w", p.name, err)
	}
	defer file.Close() // it was only read
	text, err := io.ReadAll(io.NewSectionReader(file, from, 1<<40))
	if err != nil {
		return "", fmt.Errorf("read the log of %s: %w", p.name, err)
	}
	for raw := range bytes.Lines(text) {
		if !words.Match(raw) {
			continue
		}
		var of struct {
			Level zerolog.Level `json:"level"`
		}
		if json.Unmarshal(raw, &of) == nil && of.Level >= least {
			return string(bytes.TrimSpace(raw)), nil
		}
	}
	return "", nil
}

// demand is what one of some processes must say about an incident.
type demand struct {
	of      []string // names of processes; one of them is enough
	words   *regexp.Regexp
	level   zerolog.Level // of the line, at the least
	refuses bool          // it is unready too, and says the words there, or has ended
	lives   bool          // it must not have ended
	within  time.Duration // of hearing; 0 is saidWithin
}

// saidWithin is how long a process may take to say what it must. A lane asks Kafka for new
// topics every 10 s, and a recorder that waits for a member that is gone takes longer.
const saidWithin = 45 * time.Second

// hear waits until one of the processes says what is demanded, since the mark, and returns the
// line of its log. That none does is a finding, and "".
func (c *cluster) hear(ctx context.Context, in Incident, since mark, d demand) (said string, err error) {
	c.mu.Lock()
	c.demanded++
	c.mu.Unlock()
	waiting, cancel := context.WithTimeout(ctx, cmp.Or(d.within, saidWithin))
	defer cancel()
	for {
		for _, name := range d.of {
			p := c.roles[name]
			line, err := p.saidSince(since[name], d.level, d.words)
			if err != nil {
				return "", err
			}
			if line == "" || d.refuses && !c.refuses(waiting, p, d) {
				continue
			}
			c.log.Info().Str("incident", in.String()).Str("process", name).Str("said", line).Msg("it was said")
			return line, nil
		}
		if sleep(waiting, 50*time.Millisecond) != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	how := "said"
	if d.refuses {
		how = "said, by a role that is not ready,"
	}
	c.find(Finding{What: fmt.Sprintf("unsaid: after %q none of %q has %s %q", in, d.of, how, d.words), At: time.Now()})
	return "", nil
}

// refuses tells whether a process is not ready and says the words there, or has ended where that is allowed.
func (c *cluster) refuses(ctx context.Context, p *process, d demand) bool {
	running := p.current()
	if running == nil || p.Ended() {
		return !d.lives
	}
	ready, why, err := readiness(ctx, running.Addr())
	return err == nil && !ready && d.words.Match(why)
}

// readiness asks an admin port whether its process is ready, and if not why.
func readiness(ctx context.Context, addr string) (ready bool, why []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return false, nil, fmt.Errorf("ask %s whether it is ready: %w", addr, err)
	}
	req.Close = true // an idle connection would count
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, nil, fmt.Errorf("ask %s whether it is ready: %w", addr, err)
	}
	why, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode == http.StatusOK, why, errors.Join(err, resp.Body.Close())
}
