package inference

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/millrace/millrace/schemas"
)

// Router says which version of a model serves. It is a fixed table, safe for concurrent use.
type Router struct {
	versions map[string]string
	drafts   []string         // models of which every version is a draft, and none is pinned
	faults   map[string]error // of pins
}

// NewRouter routes every model of the repository to its newest version that is no draft, or to the
// version that pinned names for it, draft or not. A pin on a version that is not there is a Fault of
// its model. A folder without a manifest, as one for backups or one that is still being copied, does
// not take over from versions that have one.
func NewRouter(r *Repository, pinned map[string]string) (*Router, error) {
	refs, err := r.Models()
	if err != nil {
		return nil, err
	}
	router := &Router{versions: map[string]string{}, faults: map[string]error{}}
	for name, version := range pinned {
		router.versions[name] = version
		if !slices.Contains(refs, Ref{name, version}) {
			router.faults[name] = fmt.Errorf("route model %s: version %s, which models.versions names, is not in the repository", name, version)
		}
	}
	var drafts []string
	bare := map[string]string{}                 // of each model, the newest folder without a manifest
	for _, ref := range slices.Backward(refs) { // the newest of a model comes first
		_, known := router.versions[ref.Name]
		switch {
		case known:
		case !r.HasManifest(ref):
			if _, newer := bare[ref.Name]; !newer {
				bare[ref.Name] = ref.Version
			}
		case r.Draft(ref):
			drafts = append(drafts, ref.Name)
		default:
			router.versions[ref.Name] = ref.Version
		}
	}
	for name, version := range bare { // of a model without any manifest, what is wrong must be said
		if _, known := router.versions[name]; !known && !slices.Contains(drafts, name) {
			router.versions[name] = version
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(drafts))) {
		if _, serves := router.versions[name]; !serves {
			router.drafts = append(router.drafts, name)
		}
	}
	return router, nil
}

// Unfinished tells whether a version that cannot be loaded is none that serves: a draft, or a folder
// without a manifest.
func (r *Repository) Unfinished(ref Ref) bool { return r.Draft(ref) || !r.HasManifest(ref) }

// Draft tells whether the manifest of a version says draft: true, as far as it can be read.
func (r *Repository) Draft(ref Ref) bool {
	text, err := schemas.ReadManifestText(filepath.Join(r.root, ref.Name, ref.Version))
	return err == nil && schemas.IsDraft(text)
}

// HasManifest tells whether there is a manifest in a version's folder, of whatever contents.
func (r *Repository) HasManifest(ref Ref) bool {
	_, err := os.Lstat(filepath.Join(r.root, ref.Name, ref.Version, schemas.ManifestFile))
	return !errors.Is(err, fs.ErrNotExist)
}

// Route returns the version that is to serve the model; ok is false where there is none.
func (r *Router) Route(model string) (version string, ok bool) {
	version, ok = r.versions[model]
	return version, ok
}

// Fault says why the version that is to serve the model is none of the repository; nil if it is.
func (r *Router) Fault(model string) error { return r.faults[model] }

// Models returns the names that have a version to serve, sorted.
func (r *Router) Models() []string { return slices.Sorted(maps.Keys(r.versions)) }

// Drafts returns the names of which every version is a draft, so that none serves, sorted.
func (r *Router) Drafts() []string { return r.drafts }
