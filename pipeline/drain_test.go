package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
)

// rows of TestDrain: what one role does when it is to end, beside others that end at once.
func TestDrain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		worker func(soft, hard context.Context, never <-chan struct{}) error
		failed bool // instead of a shutdown
		after  time.Duration
		want   string
	}{
		"orderly": {
			worker: func(context.Context, context.Context, <-chan struct{}) error {
				time.Sleep(29 * time.Second)
				return nil
			},
			after: 29 * time.Second,
		},
		"cut off in its work": {
			worker: func(_, hard context.Context, _ <-chan struct{}) error {
				<-hard.Done()
				return fmt.Errorf("end the transaction of 7 records: %w", hard.Err())
			},
			after: 30 * time.Second,
			want: "pipeline: drain_timeout passed before everything in hand was finished (30s): " +
				"worker: end the transaction of 7 records: context canceled; what was in hand comes again after the restart",
		},
		"cut off with nothing in hand": {
			worker: func(_, hard context.Context, _ <-chan struct{}) error { <-hard.Done(); return nil },
			after:  30 * time.Second,
			want: "pipeline: drain_timeout passed before everything in hand was finished (30s): " +
				"worker: it had nothing in hand, but could not take its leave; what was in hand comes again after the restart",
		},
		"does not end": {
			worker: func(_, _ context.Context, never <-chan struct{}) error { <-never; return nil },
			after:  30*time.Second + pipeline.EndGrace,
			want: "pipeline: drain_timeout passed before everything in hand was finished (30s): " +
				"[worker]: did not end within 5s of being cut off; what was in hand comes again after the restart",
		},
		"does not end when another fails": {
			worker: func(_, _ context.Context, never <-chan struct{}) error { <-never; return nil },
			failed: true,
			after:  pipeline.EndGrace,
			want:   "recorder: no more disks\n[worker]: did not end within 5s of being cut off",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := config.Default()
				cfg.HTTP.Addr, cfg.Roles = "", []config.Role{config.RoleWorker, config.RoleRecorder}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				never := make(chan struct{})
				began := time.Now()
				if !tc.failed {
					stop()
				}
				err := pipeline.New(cfg, zerolog.Nop()).RunRoles(ctx, map[config.Role]func(soft, hard context.Context) error{
					config.RoleWorker: func(soft, hard context.Context) error {
						<-soft.Done()
						return tc.worker(soft, hard, never)
					},
					config.RoleRecorder: func(soft, _ context.Context) error {
						if tc.failed {
							return errors.New("no more disks")
						}
						<-soft.Done()
						return nil
					},
				})
				require.Equal(t, tc.after, time.Since(began))
				close(never)
				if tc.want == "" {
					require.NoError(t, err)
					return
				}
				require.EqualError(t, err, tc.want)
				require.Equal(t, !tc.failed, errors.Is(err, pipeline.ErrDrainTimeout))
			})
		})
	}
}

// TestDrainWithoutKafka: the broker stands still when the roles are to end, and has them in
// the middle of their work. Each says what it could not finish, and ends.
func TestDrainWithoutKafka(t *testing.T) {
	parallel(t)
	if cluster != nil {
		t.Skip("stops the embedded broker")
	}
	hook := newWebhook(t)
	h := newHarness(t, []catalogtest.Model{catalogtest.Fares}, "recorder.flush_rows=100", "worker.max_batch_rows=64", "drain_timeout=1s",
		`alerts=[{name: hook, webhook: {url: "`+hook.URL+`"}}]`)
	tr := newTraffic(h, seeded(t), 2000)
	processes := map[string]*process{
		"exactly once":  h.spawn("worker", "worker.group=first", "instance=first", "worker.start=earliest"),
		"at least once": h.spawn("worker", "worker.group=second", "worker.delivery=at_least_once", "instance=second", "worker.start=earliest"),
		"recorder":      h.spawn("recorder"),
		"monitor":       h.spawn("monitor"),
	}
	tr.sendHour()
	requests := h.cfg.Topics.RequestsOf("fares")
	h.eventually("everything is answered and stored", func() (string, bool) {
		first, second, stored := h.lag("first", requests), h.lag("second", requests), h.lag(h.cfg.Recorder.Group, h.cfg.Topics.Observations)
		return fmt.Sprint(first, second, stored), first == 0 && second == 0 && stored == 0
	})
	h.joined("millrace-alerts-hook", "")
	tr.sendHour()
	kafka := h.services.Kafka.Pid()
	h.freeze(kafka)
	defer func() { require.NoError(t, syscall.Kill(kafka, syscall.SIGCONT)) }()
	for _, p := range processes {
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	}
	for name, p := range processes {
		require.Equal(t, 1, p.wait(), name)
	}
	logs := h.logs.all()
	require.Equal(t, len(processes), strings.Count(logs, "drain_timeout passed before everything in hand was finished (1s)"))
	require.NotContains(t, logs, "did not end within")
}
