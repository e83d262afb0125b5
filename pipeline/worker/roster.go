package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
)

// roster brings the models of the repository into service, each by itself: one that cannot be loaded,
// or lacks its topics, is failed and tried again, and the others serve.
type roster struct {
	env   *role.Env
	parts workerParts
	admin *consumers.Admin
	lanes []servingLane

	mu      sync.Mutex
	told    map[string]string // of each model that is failed, what was last told of it
	refs    map[string]inference.Ref
	awaited map[int][]consumers.Awaited // by lane
	unready map[string]bool             // models that wait, by what readiness was told last
}

// servingLane is a lane with its handler.
type servingLane struct {
	*laneHandler
	lane *consumers.Lane
}

// notYetError is of what a model needs beside its files: topics, the Schema Registry. To look for
// that again costs little.
type notYetError struct{ error }

func (e *notYetError) Unwrap() error { return e.error }

// Waits between two looks at what a model needs beside its files.
const (
	leastLook = 100 * time.Millisecond
	mostLook  = 5 * time.Second
)

// loaded is what came of loading a model.
type loaded struct {
	ref   inference.Ref
	model *inference.Model
	err   error
}

// loadAll loads models and runs them once, in processes of their own, several at a time.
func (r *roster) loadAll(ctx context.Context, names []string) []loaded {
	all := make([]loaded, len(names))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		g.Go(func() error { // ends with its child
			l := &all[i]
			l.ref, l.model, l.err = catalog.Ready(ctx, r.env.Config.Models, name)
			return nil
		})
	}
	_ = g.Wait()
	return all
}

// begin brings all models into service that can be, and returns the others. Where none can be
// loaded, it is an error: nothing would be served by going on.
func (r *roster) begin(ctx context.Context, all []loaded) (failed []loaded, err error) {
	lacking := false
	for i := range all {
		l := &all[i]
		if l.err == nil {
			l.err = r.serve(ctx, l.ref, l.model)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		_, notYet := errors.AsType[*notYetError](l.err)
		lacking = lacking || notYet
	}
	if err := allFailed(all); err != nil && !lacking {
		return nil, err
	}
	for _, l := range all {
		if l.err != nil {
			r.fail(l.ref, l.err)
			failed = append(failed, l)
		}
	}
	return failed, nil
}

// serve makes an instance of a version for each lane, and has the lanes take it between two batches.
func (r *roster) serve(ctx context.Context, ref inference.Ref, m *inference.Model) error {
	if err := r.needs(ctx, m); err != nil {
		return err
	}
	versions := make([]*version, 0, len(r.lanes))
	for _, l := range r.lanes {
		v, err := l.load(ctx, l.topics[ref.Name], m, r.parts)
		if err != nil {
			err = fmt.Errorf("lane %d: %w", l.laneHandler.lane, err)
			for _, v := range versions {
				err = errors.Join(err, v.close())
			}
			return err
		}
		versions = append(versions, v)
	}
	for i, l := range r.lanes {
		l.topics[ref.Name].offered.Store(versions[i])
		l.lane.Resume(r.env.Config.Topics.RequestsOf(ref.Name))
	}
	r.serves(ref)
	return nil
}

// needs checks what a model needs beside its files.
func (r *roster) needs(ctx context.Context, m *inference.Model) error {
	name := m.Manifest.Name
	requests, results := r.env.Config.Topics.RequestsOf(name), r.env.Config.Topics.ResultsOf(name)
	specs := r.env.Config.Topics.Specs([]string{name}, r.env.Config.Topics.TopicSettings)
	own := slices.DeleteFunc(specs, func(s schemas.TopicSpec) bool { return s.Name != requests && s.Name != results })
	if err := r.env.CheckTopics(ctx, r.admin, own); err != nil {
		return &notYetError{err}
	}
	n, err := r.admin.Partitions(ctx, requests, results)
	if err != nil {
		return &notYetError{err}
	}
	if n[results] < n[requests] {
		return &notYetError{fmt.Errorf("topic %s has %d partitions and %s has %d: results take their request's partition number; "+
			"`millrace topics apply` adds them", results, n[results], requests, n[requests])}
	}
	encoding := r.env.Config.Worker.Codec(name)
	if encoding != codec.Avro && encoding != codec.Protobuf {
		return nil
	}
	// The Schema Registry is to take the schema of the results.
	decoder, _, err := codec.New(ctx, encoding, m.Manifest, codec.Options{Registry: r.parts.registry, Subject: results + "-value"}, r.env.Memory)
	if err != nil {
		return &notYetError{err}
	}
	decoder.Release()
	return nil
}

// mend tries to bring a failed model into service until it serves or ctx ends.
func (r *roster) mend(ctx context.Context, failed loaded) {
	took := time.Duration(0)
	for look := leastLook; ; {
		wait := look
		if _, notYet := errors.AsType[*notYetError](failed.err); notYet {
			look = min(2*look, mostLook)
		} else { // to load a model can take a core and much memory, which those that serve need
			look, wait = leastLook, max(r.env.Config.Models.RetryInterval, 10*took)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		began := time.Now()
		failed.ref, failed.model, failed.err = catalog.Ready(ctx, r.env.Config.Models, failed.ref.Name)
		if failed.err == nil {
			failed.err = r.serve(ctx, failed.ref, failed.model)
		}
		if failed.err == nil || ctx.Err() != nil {
			return
		}
		took = time.Since(began)
		r.fail(failed.ref, failed.err)
	}
}

// fail tells that a model does not serve, and why.
func (r *roster) fail(ref inference.Ref, err error) {
	cfg := r.env.Config
	then := "its requests wait, and it is tried again"
	if cfg.Models.Failed == config.FailedDeadLetter {
		then = "its requests become dead letters, and it is tried again"
	}
	reason := err.Error()
	for _, l := range r.lanes {
		l.topics[ref.Name].fault.Store(&reason)
		if cfg.Models.Failed != config.FailedDeadLetter {
			l.lane.Wait(cfg.Topics.RequestsOf(ref.Name), fmt.Errorf("model %s is failed", ref.Name))
		}
	}
	r.env.Ready.Set(partOf(ref.Name), fmt.Sprintf("failed: %s; %s", reason, then))
	if r.changed(ref, reason) {
		r.env.Log.Error().Err(err).Str("model", ref.Name).Str("version", ref.Version).Msg("the model is failed: " + then + "; the others serve")
	}
	r.parts.metrics.failed.WithLabelValues(ref.Name, ref.Version).Set(1)
}

// serves tells that a model serves.
func (r *roster) serves(ref inference.Ref) {
	if r.changed(ref, "") { // it was failed
		r.env.Ready.Set(partOf(ref.Name), "")
	}
	r.mu.Lock()
	r.tellWaits()
	r.mu.Unlock()
	r.parts.metrics.failed.WithLabelValues(ref.Name, ref.Version).Set(0)
	r.env.Log.Info().Str("model", ref.Name).Str("version", ref.Version).Int("lanes", len(r.lanes)).Msg("model ready")
}

// changed notes what is told of a model, and whether that is news.
func (r *roster) changed(ref inference.Ref, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, ok := r.refs[ref.Name]; ok && was != ref { // another version is to serve now
		r.parts.metrics.failed.DeleteLabelValues(was.Name, was.Version)
	}
	news := r.told[ref.Name] != reason
	r.told[ref.Name], r.refs[ref.Name] = reason, ref
	return news
}

// partOf is what readiness calls a model.
func partOf(model string) string { return "model " + model }
