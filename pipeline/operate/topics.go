package operate

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
)

// repositoryModels lists the models of the repository, also those of which every version is a draft
// yet; none where there is no repository.
func repositoryModels(cfg config.Config) ([]string, error) {
	if _, err := os.Stat(cfg.Models.Repository); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	models, err := catalog.Open(cfg.Models)
	if err != nil {
		return nil, err
	}
	router, err := models.Router()
	if err != nil {
		return nil, err
	}
	return append(router.Models(), router.Drafts()...), nil
}

// withTopics gives what is done the topics that the configuration and the models need.
func withTopics(ctx context.Context, cfg config.Config, do func(ctx context.Context, admin *consumers.Admin, specs []schemas.TopicSpec) error) error {
	models, err := repositoryModels(cfg)
	if err != nil {
		return err
	}
	specs := cfg.Topics.Specs(models, cfg.Topics.TopicSettings)
	events := slices.IndexFunc(specs, func(s schemas.TopicSpec) bool { return s.Name == cfg.Topics.Events })
	for _, s := range cfg.Alerts {
		if s.Kafka != nil {
			copied := specs[events] // it takes the same events, and is kept as long
			copied.Name = s.Kafka.Topic
			specs = append(specs, copied)
		}
	}
	return withReachableKafka(ctx, cfg, func(ctx context.Context, admin *consumers.Admin) error { return do(ctx, admin, specs) })
}

// ApplyTopics makes the topics of the configuration and of the models in the repository,
// and returns what it changed.
func ApplyTopics(ctx context.Context, cfg config.Config) (done []string, err error) {
	err = withTopics(ctx, cfg, func(ctx context.Context, admin *consumers.Admin, specs []schemas.TopicSpec) (err error) {
		done, err = admin.ApplyTopics(ctx, specs)
		return err
	})
	return done, err
}

// CheckTopics returns what differs.
func CheckTopics(ctx context.Context, cfg config.Config) (problems []consumers.Problem, err error) {
	err = withTopics(ctx, cfg, func(ctx context.Context, admin *consumers.Admin, specs []schemas.TopicSpec) (err error) {
		problems, err = admin.CheckTopics(ctx, specs)
		return err
	})
	return problems, err
}
