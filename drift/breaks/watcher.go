package breaks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Store has the values of versions, and keeps how far their detectors are. Times at which labels and
// rows were stored are those of the server's clock.
type Store interface {
	Now(ctx context.Context) (time.Time, error)
	// Started returns when the oldest row of a version was scored that is kept; zero: there is none.
	Started(ctx context.Context, m *schemas.Manifest) (time.Time, error)
	LabelledSince(ctx context.Context, m *schemas.Manifest, want profile.LabelsAfter) ([]profile.Labelled, error)
	RowsSince(ctx context.Context, m *schemas.Manifest, columns []string, want profile.RowsAfter) ([]profile.Item, error)
	// BreakState returns what was written last; false where nothing was.
	BreakState(ctx context.Context, m *schemas.Manifest) (schemas.BreakState, bool, error)
	WriteBreakState(ctx context.Context, b schemas.BreakState) error
}

// Publisher puts events on the events topic. It returns when Kafka has acknowledged.
type Publisher interface {
	Publish(ctx context.Context, e schemas.Event) error
}

// Config bounds a Watcher's work. No key of the configuration sets it: programs take DefaultConfig.
type Config struct {
	Limit  int // labels, and rows, of a partition that one query reads
	Rounds int // queries of a feed, of one version, in a pass; the next pass goes on

	// Requests of labels are looked for among the rows that were scored no longer than Near ago, at
	// first. Requests that are not found are looked for among all rows, by one pass in FarPause and
	// FarShare times as long as it took.
	Near, FarPause time.Duration
	FarShare       int
	// Wait is how long a label of an unknown request holds up its partition. After it the label
	// counts for no detector.
	Wait time.Duration
	// Settle is how long rows are left that were stored by now, so that rows of the same request
	// partition that came through another lane are taken in order.
	Settle time.Duration
	// Overlap is how long after its stored_at a label or row may become visible: longer than an
	// insert that a recorder's lease allows takes.
	Overlap time.Duration
	// Save is the least time between two states that are written where no break was found: after a crash
	// the values since the last one are read again.
	Save time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Limit: 20_000, Rounds: 16, Near: time.Minute, FarPause: time.Minute, FarShare: 20, Wait: 30 * time.Second,
		Settle: 2 * time.Second, Overlap: 10 * time.Minute, Save: 5 * time.Second,
	}
}

// Watcher takes the values of versions as they are stored, and publishes the breaks that they show.
// Its methods are for one goroutine.
//
// The order is: the state after a break is written together with its event, the event is published,
// and the state is written without it. Whoever goes on from a state with events publishes them
// again, with the same ids, so that no crash loses a break or finds another one in its place.
type Watcher struct {
	cfg      Config
	store    Store
	pub      Publisher
	log      zerolog.Logger
	versions map[string]*watched
}

// watched is a version. What it has in memory is in the store too, but for the values since the last save.
type watched struct {
	manifest *schemas.Manifest
	runner   *Runner
	kept     schemas.BreakState // as it was last written; Number 0: it was not
	saved    time.Time          // when, by the monitor's clock
	changed  bool               // since

	labelsFrom, rowsFrom time.Time
	far                  time.Time // before it, requests are looked for nearby only; by the monitor's clock
	server               time.Time // the server's clock when the pass began; zero: in none
}

// NewWatcher returns a watcher. It starts nothing.
func NewWatcher(cfg Config, store Store, pub Publisher, log zerolog.Logger) *Watcher {
	return &Watcher{cfg: cfg, store: store, pub: pub, log: log, versions: map[string]*watched{}}
}

// Tick takes what was stored since the last pass for the versions of these manifests that name
// detectors; now is the monitor's clock. A version whose pass fails begins again from what is kept, and does not keep the
// others from theirs. Nothing is asked where no version has a detector.
func (w *Watcher) Tick(ctx context.Context, now time.Time, manifests []*schemas.Manifest) error {
	var errs []error
	var server time.Time
	for _, m := range manifests {
		if m.Monitoring == nil || len(m.Monitoring.Breaks) == 0 {
			continue
		}
		if server.IsZero() {
			var err error
			if server, err = w.store.Now(ctx); err != nil {
				return err
			}
		}
		if err := w.version(ctx, now, server, m); err != nil {
			delete(w.versions, m.Name+"/"+m.Version) // whether something was written is not known
			errs = append(errs, fmt.Errorf("breaks of %s/%s: %w", m.Name, m.Version, err))
		}
	}
	return errors.Join(errs...)
}

func (w *Watcher) version(ctx context.Context, now, server time.Time, m *schemas.Manifest) error {
	key := m.Name + "/" + m.Version
	v := w.versions[key]
	if v == nil {
		var err error
		if v, err = w.begin(ctx, m, now); err != nil || v == nil {
			return err
		}
		w.versions[key] = v
	}
	v.server = server
	far := !now.Before(v.far)
	for range w.cfg.Rounds {
		labels, moreLabels, err := w.labels(ctx, v, now, server, far)
		if err != nil {
			return err
		}
		rows, moreRows, err := w.rows(ctx, v, server)
		if err != nil {
			return err
		}
		if found := slices.Concat(labels, rows); len(found) > 0 {
			if err := w.tell(ctx, v, now, found); err != nil {
				return err
			}
		}
		if !moreLabels && !moreRows {
			break
		}
	}
	if v.changed && now.Sub(v.saved) >= w.cfg.Save {
		return w.save(ctx, v, now, nil)
	}
	return nil
}

// begin goes on from what is kept of a version, or begins with its oldest row; nil: it has none yet.
func (w *Watcher) begin(ctx context.Context, m *schemas.Manifest, now time.Time) (*watched, error) {
	v := &watched{manifest: m, saved: now}
	kept, ok, err := w.store.BreakState(ctx, m)
	if err != nil {
		return nil, err
	}
	if !ok {
		started, err := w.store.Started(ctx, m)
		if err != nil || started.IsZero() {
			return nil, err
		}
		v.labelsFrom, v.rowsFrom = started, started
		v.runner, err = New(m)
		return v, err
	}
	v.kept, v.labelsFrom, v.rowsFrom = kept, kept.LabelsFrom.UTC(), kept.RowsFrom.UTC()
	if v.runner, err = Restore(m, []byte(kept.State)); err != nil {
		return nil, fmt.Errorf("%w; delete its row in break_states, and its detectors begin anew, with the oldest row", err)
	}
	if len(kept.Events) > 0 {
		if err := w.publish(ctx, kept.Events); err != nil {
			return nil, err
		}
		if err := w.save(ctx, v, now, nil); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// labels takes labels, and tells whether there are more. far: requests may be looked for among all rows.
func (w *Watcher) labels(ctx context.Context, v *watched, now, server time.Time, far bool) ([]Break, bool, error) {
	if len(v.runner.Columns(FeedLabels)) == 0 {
		return nil, false, nil
	}
	want := profile.LabelsAfter{StoredFrom: v.labelsFrom, ScoredFrom: server.Add(-w.cfg.Near), Position: v.runner.Position(FeedLabels), Limit: w.cfg.Limit}
	labels, err := w.store.LabelledSince(ctx, v.manifest, want)
	if err != nil {
		return nil, false, err
	}
	waitFrom := time.Time{} // all that is unknown waits
	if far && unknown(labels) {
		began := time.Now()
		want.ScoredFrom = time.Unix(0, 0)
		if labels, err = w.store.LabelledSince(ctx, v.manifest, want); err != nil {
			return nil, false, err
		}
		v.far = later(v.far, now.Add(w.cfg.FarPause)).Add(time.Duration(w.cfg.FarShare) * time.Since(began))
		waitFrom = server.Add(-w.cfg.Wait)
	}
	found, waiting, err := v.runner.TakeLabels(labels, waitFrom)
	if err != nil {
		return nil, false, err
	}
	v.changed = v.changed || len(labels) > waiting
	more := full(labels, w.cfg.Limit, func(l profile.Labelled) schemas.Coordinates { return l.At })
	if !more {
		from := server.Add(-w.cfg.Overlap)
		for _, l := range labels {
			if l.Fate == profile.LabelUnknown && l.StoredAt.Before(from) {
				from = l.StoredAt
			}
		}
		v.labelsFrom = later(v.labelsFrom, from)
	}
	return found, more && len(labels) > waiting, nil
}

// rows takes rows, and tells whether there are more.
func (w *Watcher) rows(ctx context.Context, v *watched, server time.Time) ([]Break, bool, error) {
	columns := v.runner.Columns(FeedRows)
	if len(columns) == 0 {
		return nil, false, nil
	}
	rows, err := w.store.RowsSince(ctx, v.manifest, columns, profile.RowsAfter{
		StoredFrom: v.rowsFrom, StoredTo: server.Add(-w.cfg.Settle), Position: v.runner.Position(FeedRows), Limit: w.cfg.Limit,
	})
	if err != nil {
		return nil, false, err
	}
	found, err := v.runner.Take(FeedRows, rows)
	if err != nil {
		return nil, false, err
	}
	v.changed = v.changed || len(rows) > 0
	more := full(rows, w.cfg.Limit, func(r profile.Item) schemas.Coordinates { return r.At })
	if !more {
		v.rowsFrom = later(v.rowsFrom, server.Add(-w.cfg.Overlap))
	}
	return found, more, nil
}

func unknown(labels []profile.Labelled) bool {
	for _, l := range labels {
		if l.Fate == profile.LabelUnknown {
			return true
		}
	}
	return false
}

// full tells whether a partition has as many of the items as one query reads: it may have more.
func full[T any](items []T, limit int, at func(T) schemas.Coordinates) bool {
	of := map[partition]int{}
	for _, i := range items {
		p, _ := split(at(i))
		if of[p]++; of[p] >= limit {
			return true
		}
	}
	return false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// tell keeps the state with the events of the breaks, publishes them, and keeps it without.
func (w *Watcher) tell(ctx context.Context, v *watched, now time.Time, found []Break) error {
	texts := make([]string, len(found))
	for i, b := range found {
		text, err := json.Marshal(b.Event(now))
		if err != nil {
			return fmt.Errorf("encode the event of a break: %w", err)
		}
		texts[i] = string(text)
		w.log.Info().Str("model", b.Model).Str("version", b.Version).Str("on", b.On).Str("detector", b.Detector).
			Time("event_time", b.EventTime).Float64("before", b.Before).Float64("after", b.After).Msg("sudden break")
	}
	if err := w.save(ctx, v, now, texts); err != nil {
		return err
	}
	if err := w.publish(ctx, texts); err != nil {
		return err
	}
	return w.save(ctx, v, now, nil)
}

func (w *Watcher) publish(ctx context.Context, texts []string) error {
	for _, text := range texts {
		var e schemas.Event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return fmt.Errorf("an event in break_states: %w", err)
		}
		if err := w.pub.Publish(ctx, e); err != nil {
			return fmt.Errorf("publish the event of a break: %w", err)
		}
	}
	return nil
}

// save writes the state. Its number is above those before, also where a replica that is behind has
// told of an older one. Where an error is returned, it may have been written.
func (w *Watcher) save(ctx context.Context, v *watched, now time.Time, events []string) error {
	state, err := v.runner.MarshalBinary()
	if err != nil {
		return err
	}
	if events == nil {
		events = []string{}
	}
	v.kept = schemas.BreakState{
		Model: v.manifest.Name, Version: v.manifest.Version, Number: max(v.kept.Number+1, uint64(max(v.server.UnixMicro(), 0))), State: string(state), Events: events,
		LabelsFrom: v.labelsFrom, RowsFrom: v.rowsFrom,
	}
	if err := w.store.WriteBreakState(ctx, v.kept); err != nil {
		return err
	}
	v.saved, v.changed = now, false
	return nil
}
