package monitor

import (
	"context"
	"sync"
	"time"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/role"
)

// watch loads the versions that are judged: those of the repository with monitoring, also ones that
// no longer serve, whose last windows and labels may still be to come. Their manifests and references
// are read, and nothing that runs. One that cannot be loaded is failed and tried again, and the
// others are judged. It is safe for concurrent use.
type watch struct {
	env    *role.Env
	models *catalog.Catalog

	mu     sync.Mutex
	refs   []inference.Ref // of the repository when the role began
	loaded map[inference.Ref]*inference.Model
	failed map[inference.Ref]string // why
	tried  time.Time
}

func newWatch(env *role.Env) (*watch, error) {
	models, err := catalog.Open(env.Config.Models)
	if err != nil {
		return nil, err
	}
	refs, err := models.Models()
	if err != nil {
		return nil, err
	}
	return &watch{env: env, models: models, refs: refs, loaded: map[inference.Ref]*inference.Model{}, failed: map[inference.Ref]string{}}, nil
}

// versions returns what is judged now. Those that are failed are tried again after
// models.retry_interval.
func (w *watch) versions(ctx context.Context, now time.Time) []drift.Version {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.loaded) < len(w.refs) && (w.tried.IsZero() || now.Sub(w.tried) >= w.env.Config.Models.RetryInterval) {
		w.tried = now
		for _, ref := range w.refs {
			if w.loaded[ref] == nil && ctx.Err() == nil {
				w.load(ctx, ref)
			}
		}
	}
	var versions []drift.Version
	for _, ref := range w.refs {
		if m := w.loaded[ref]; m != nil && m.Manifest.Monitoring != nil {
			versions = append(versions, drift.Version{Manifest: m.Manifest, Reference: m.Reference})
		}
	}
	return versions
}

func (w *watch) load(ctx context.Context, ref inference.Ref) {
	part := "monitor of " + ref.String()
	m, err := w.models.LoadReference(ctx, ref.Name, ref.Version)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		if w.models.Unfinished(ref) && w.env.Config.Models.Versions[ref.Name] != ref.Version { // it is being edited, and does not serve
			return
		}
		if reason := err.Error(); w.failed[ref] != reason {
			w.failed[ref] = reason
			w.env.Ready.Set(part, "failed: "+reason+"; its windows are not judged, and it is tried again")
			w.env.Log.Error().Err(err).Str("model", ref.Name).Str("version", ref.Version).Msg("the version is failed: its windows are not judged; those of the others are")
		}
		return
	}
	w.loaded[ref] = m
	if _, was := w.failed[ref]; was {
		delete(w.failed, ref)
		w.env.Ready.Set(part, "")
	}
}
