package catalog

import (
	"context"
	"fmt"

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
	version, ok := router.Route(model)
	if !ok {
		return nil, fmt.Errorf("no version of %s is in models.repository %s", model, c.cfg.Repository)
	}
	return c.Load(ctx, model, version)
}

// Served loads the version of each model that serves; none is an error.
func Served(ctx context.Context, cfg config.Config) ([]*inference.Model, error) {
	models, err := Open(cfg.Models)
	if err != nil {
		return nil, err
	}
	router, err := models.Router()
	if err != nil {
		return nil, err
	}
	if err := cfg.CheckCodecs(router.Models()); err != nil {
		return nil, err
	}
	var loaded []*inference.Model
	for _, name := range router.Models() {
		version, _ := router.Route(name)
		m, err := models.Load(ctx, name, version)
		if err != nil {
			return nil, err
		}
		loaded = append(loaded, m)
	}
	if len(loaded) == 0 {
		return nil, fmt.Errorf("models.repository %s holds no model; `millrace init MODEL.onnx` makes one", cfg.Models.Repository)
	}
	return loaded, nil
}

// Names returns the models' names.
func Names(models []*inference.Model) []string {
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = m.Manifest.Name
	}
	return names
}
