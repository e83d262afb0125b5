package catalog

import (
	"context"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
)

// Runtimes are what this program executes models with.
func Runtimes(log zerolog.Logger) inference.Runtimes {
	return inference.Runtimes{schemas.RuntimeONNX: onnx.Runtime{Log: log}}
}

// Catalog is the model repository of a configuration. Every role and command opens models by it.
type Catalog struct {
	*inference.Repository
	cfg config.Models
}

// Open opens the repository.
func Open(cfg config.Models) (*Catalog, error) {
	repo, err := inference.OpenRepository(cfg.Repository)
	return &Catalog{repo, cfg}, err
}

// Router says which versions serve.
func (c *Catalog) Router() (*inference.Router, error) {
	return inference.NewRouter(c.Repository, c.cfg.Versions)
}

// Serving loads the version of a model that serves.
func (c *Catalog) Serving(ctx context.Context, model string) (*inference.Model, error) {
	router, err := c.Router()
	if err != nil {
		return nil, err
	}
	ref, err := c.route(router, model)
	if err != nil {
		return nil, err
	}
	return c.Load(ctx, ref.Name, ref.Version)
}

// route returns the version of a model that is to serve, or why there is none.
func (c *Catalog) route(router *inference.Router, model string) (inference.Ref, error) {
	version, ok := router.Route(model)
	ref := inference.Ref{Name: model, Version: version}
	switch {
	case ok:
		return ref, router.Fault(model)
	case slices.Contains(router.Drafts(), model):
		return ref, fmt.Errorf("every version of %s is a draft: remove draft: true from the manifest of one, or name one in models.versions", model)
	default:
		return ref, fmt.Errorf("no version of %s is in models.repository %s", model, c.cfg.Repository)
	}
}

// Ready loads the version of a model that is to serve, and has a child process run it first. The
// version is known as soon as there is one, also with an error.
func Ready(ctx context.Context, cfg config.Models, model string) (ref inference.Ref, m *inference.Model, err error) {
	ref.Name = model
	models, err := Open(cfg)
	if err != nil {
		return ref, nil, err
	}
	router, err := models.Router()
	if err != nil {
		return ref, nil, err
	}
	if ref, err = models.route(router, model); err != nil {
		return ref, nil, err
	}
	if m, err = models.Load(ctx, ref.Name, ref.Version); err != nil {
		return ref, nil, err
	}
	return ref, m, Try(ctx, cfg, ref)
}

// Routed returns which versions are to serve. No model is an error, and so is a codec of a model that
// the repository does not have.
func Routed(cfg config.Config) (*inference.Router, error) {
	models, err := Open(cfg.Models)
	if err != nil {
		return nil, err
	}
	router, err := models.Router()
	if err != nil {
		return nil, err
	}
	if err := cfg.CheckCodecs(append(router.Models(), router.Drafts()...)); err != nil {
		return nil, err
	}
	if len(router.Models()) == 0 {
		if drafts := router.Drafts(); len(drafts) > 0 {
			_, err := models.route(router, drafts[0])
			return nil, err
		}
		return nil, fmt.Errorf("models.repository %s holds no model; `millrace init MODEL.onnx` makes one", cfg.Models.Repository)
	}
	return router, nil
}

// Served loads the version of each model that serves; none is an error, and so is one that cannot be
// loaded.
func Served(ctx context.Context, cfg config.Config) ([]*inference.Model, error) {
	router, err := Routed(cfg)
	if err != nil {
		return nil, err
	}
	models, err := Open(cfg.Models)
	if err != nil {
		return nil, err
	}
	var loaded []*inference.Model
	for _, name := range router.Models() {
		m, err := models.Serving(ctx, name)
		if err != nil {
			return nil, err
		}
		loaded = append(loaded, m)
	}
	return loaded, nil
}
