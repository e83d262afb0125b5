package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/config"
)

// roleSpec says how a worker or a recorder is configured.
type roleSpec struct {
	Set     []string `json:"set"`     // configuration keys with values
	Profile string   `json:"profile"` // file names of profiles begin so; empty: none are written
	Beside  bool     `json:"beside"`  // a model that is failed keeps it from being ready
}

// serves tells whether of the models that lie beside each other the one that is measured serves, and
// the broken one is known to be failed.
func (s roleSpec) serves(app *pipeline.App) bool {
	if !s.Beside {
		return false
	}
	families, err := app.Metrics.Registry.Gather()
	if err != nil {
		return false
	}
	failed := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "millrace_model_failed" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "model" {
					failed[l.GetValue()] = m.GetGauge().GetValue()
				}
			}
		}
	}
	serving, known := failed[modelName]
	return known && serving == 0 && failed[brokenName] == 1
}

// roleStats are what a role's process says about itself, when it is ready and when it is
// asked.
type roleStats struct {
	Observations int64         `json:"observations"` // rows stored
	Batches      int64         `json:"batches"`      // that were scored
	Rows         int64         `json:"rows"`         // that were scored
	Mallocs      int64         `json:"mallocs"`
	AllocBytes   int64         `json:"alloc_bytes"`
	CPU          time.Duration `json:"cpu"` // user and system
}

// runRole is `millrace run`.
func runRole(ctx context.Context, c *child) error {
	var spec roleSpec
	if err := c.read(&spec); err != nil {
		return err
	}
	cfg, err := config.Load("", nil, spec.Set)
	if err != nil {
		return err
	}
	app := pipeline.New(cfg, zerolog.New(os.Stderr).Level(zerolog.WarnLevel).With().Timestamp().Logger())
	run := new(errgroup.Group)
	ended := make(chan struct{})
	run.Go(func() error { // ends with ctx
		defer close(ended)
		return app.Run(ctx)
	})
	for !app.Ready() && !spec.serves(app) {
		select {
		case <-ended:
			return run.Wait()
		case <-time.After(time.Millisecond):
		}
	}
	writeProfiles, err := profile(spec.Profile)
	if err != nil {
		return err
	}
	err = c.answerUntil(run.Wait, func() (roleStats, error) { return statsOf(app) })
	return errors.Join(err, writeProfiles())
}

// processStats are those that every process has.
func processStats() (roleStats, error) {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	cpu, err := ownCPU()
	return roleStats{Mallocs: int64(mem.Mallocs), AllocBytes: int64(mem.TotalAlloc), CPU: cpu}, err
}

func statsOf(app *pipeline.App) (roleStats, error) {
	s, err := processStats()
	if err != nil {
		return s, err
	}
	s.Observations = app.Done.Observations.Load()
	families, err := app.Metrics.Registry.Gather()
	if err != nil {
		return s, fmt.Errorf("read metrics: %w", err)
	}
	for _, f := range families {
		switch f.GetName() {
		case "millrace_inference_executions_total":
			s.Batches = sum(f)
		case "millrace_inference_rows_total":
			s.Rows = sum(f)
		}
	}
	return s, nil
}

func sum(f *dto.MetricFamily) int64 {
	total := 0.0
	for _, m := range f.GetMetric() {
		total += m.GetCounter().GetValue()
	}
	return int64(total)
}

// profile starts profiling the CPU. The function that it returns writes the profiles of CPU
// and of allocations; without a name both do nothing.
func profile(name string) (write func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	cpu, err := os.Create(name + ".cpu.pprof") //nolint:gosec // the user chooses the folder
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		allocs, err := os.Create(name + ".allocs.pprof") //nolint:gosec // the user chooses the folder
		if err != nil {
			return errors.Join(fmt.Errorf("profile: %w", err), cpu.Close())
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close(), cpu.Close())
	}, nil
}
