package operate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
)

// CheckModels loads every version of the repository, runs it once, and returns a line for
// each, which says whether it serves, is a draft or failed. The faults are in the error.
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
	names := append(router.Models(), router.Drafts()...)
	errs := []error{cfg.CheckCodecs(names), cfg.CheckAlerts(names)}
	for _, name := range router.Models() {
		if err := router.Fault(name); err != nil {
			errs = append(errs, err)
		}
	}
	compare := newVersions(ctx, cfg)
	for _, ref := range refs {
		m, err := models.Load(ctx, ref.Name, ref.Version)
		if err == nil {
			err = catalog.Try(ctx, cfg.Models, ref)
		}
		var departures []string
		if err == nil {
			departures, err = compare.add(ctx, m.Manifest)
		}
		if err != nil {
			lines = append(lines, fmt.Sprintf("model %s: failed", ref))
			errs = append(errs, err)
			continue
		}
		line := fmt.Sprintf("model %s: %d features, %d outputs", ref, len(m.Manifest.Features), len(m.Manifest.Outputs))
		version, routed := router.Route(ref.Name)
		_, pinned := cfg.Models.Versions[ref.Name]
		switch {
		case routed && version == ref.Version:
			line += ", serves"
		case m.Manifest.Draft && pinned:
			line += ", draft: serves when models.versions names it, as it names " + version + " now"
		case m.Manifest.Draft && routed && slices.Index(refs, ref) < slices.Index(refs, inference.Ref{Name: ref.Name, Version: version}):
			line += ", draft: serves when models.versions names it; to remove the line draft: true is not enough, since " + version + " is newer by its name"
		case m.Manifest.Draft:
			line += ", draft: serves when the line draft: true is removed, or models.versions names it"
		}
		lines = append(append(lines, line), departures...)
	}
	return append(lines, compare.close()...), errors.Join(errs...)
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
