package inference

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Router says which version of a model serves. It is a fixed table, safe for concurrent use.
type Router struct{ versions map[string]string }

// NewRouter routes every model of the repository to its newest version, or to the version
// that pinned names for it. A pin on a version that is not there is an error.
func NewRouter(r *Repository, pinned map[string]string) (*Router, error) {
	refs, err := r.Models()
	if err != nil {
		return nil, err
	}
	versions := make(map[string]string)
	for _, ref := range refs {
		versions[ref.Name] = ref.Version // the newest comes last
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(pinned)) {
		if !slices.Contains(refs, Ref{name, pinned[name]}) {
			errs = append(errs, fmt.Errorf("route model %s: version %s is not in the repository", name, pinned[name]))
		}
		versions[name] = pinned[name]
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Router{versions: versions}, nil
}

// Route returns the version that serves the model; ok is false where there is none.
func (r *Router) Route(model string) (version string, ok bool) {
	version, ok = r.versions[model]
	return version, ok
}

// Models returns the names that have a version, sorted.
func (r *Router) Models() []string { return slices.Sorted(maps.Keys(r.versions)) }
