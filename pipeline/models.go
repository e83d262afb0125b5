package pipeline

import (
	"context"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
)

// runtimes are what this program executes models with.
func runtimes(log zerolog.Logger) inference.Runtimes {
	return inference.Runtimes{schemas.RuntimeONNX: onnx.Runtime{Log: log}}
}

// catalog is the model repository of a configuration. Every role and command opens models by it.
type catalog struct {
	*inference.Repository
	cfg config.Models
}

func openModels(cfg config.Models) (*catalog, error) {
	repo, err := inference.OpenRepository(cfg.Repository)
	return &catalog{repo, cfg}, err
}

// router says which versions serve.
func (c *catalog) router() (*inference.Router, error) {
	return inference.NewRouter(c.Repository, c.cfg.Versions)
}

// serving loads the version of a model that serves.
func (c *catalog) serving(ctx context.Context, model string) (*inference.Model, error) {
	router, err := c.router()
	if err != nil {
		return nil, err
	}
	version, ok := router.Route(model)
	if !ok {
		return nil, fmt.Errorf("no version of %s is in models.repository %s", model, c.cfg.Repository)
	}
	return c.Load(ctx, model, version)
}

// loadModels loads the version of each model that serves.
func loadModels(ctx context.Context, cfg config.Config) ([]*inference.Model, error) {
	models, err := openModels(cfg.Models)
	if err != nil {
		return nil, err
	}
	router, err := models.router()
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

func modelNames(models []*inference.Model) []string {
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = m.Manifest.Name
	}
	return names
}
