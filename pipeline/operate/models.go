package operate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
)

// CheckModels loads every version of the repository, runs it once, and returns a line for
// each that is good. The faults of all others are in the error.
func CheckModels(ctx context.Context, cfg config.Config) ([]string, error) {
	models, err := catalog.Open(cfg.Models)
	if err != nil {
		return nil, err
	}
	refs, err := models.Models()
	if err != nil {
		return nil, err
	}
	router, err := models.Router()
	if err != nil {
		return nil, err
	}
	// Limits that Validate refuses would refuse every model as well.
	if cfg.Models.LoadTimeout < config.LeastLoadTimeout {
		cfg.Models.LoadTimeout = config.Default().Models.LoadTimeout
	}
	if cfg.Models.LoadMemory < config.LeastLoadMemory {
		cfg.Models.LoadMemory = config.Default().Models.LoadMemory
	}
	var lines []string
	errs := []error{cfg.CheckCodecs(router.Models())}
	for _, ref := range refs {
		m, err := models.Load(ctx, ref.Name, ref.Version)
		if err == nil {
			err = catalog.Try(ctx, cfg.Models, ref)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		line := fmt.Sprintf("model %s: %d features, %d outputs", ref, len(m.Manifest.Features), len(m.Manifest.Outputs))
		if version, ok := router.Route(ref.Name); ok && version == ref.Version {
			line += ", serves"
		}
		lines = append(lines, line)
	}
	return lines, errors.Join(errs...)
}

// modelNameOf makes a model name of a file name.
func modelNameOf(path string) string {
	base := strings.ToLower(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	name := strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '_'
	}, base)
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		name = "m" + name
	}
	return name[:min(len(name), 60)]
}
