package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/services"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/schemas/printable"
)

// Dev runs the embedded services until ctx ends. ready is called once with their
// addresses.
func Dev(ctx context.Context, cfg config.Config, reset bool, log zerolog.Logger, ready func(kafka, clickhouse string)) error {
	if reset {
		if err := services.Reset(cfg); err != nil {
			return err
		}
	}
	services, err := services.Start(ctx, &cfg, -1, log)
	if err != nil {
		return err
	}
	defer services.Stop(context.WithoutCancel(ctx), cfg.DrainTimeout, log)
	done, err := ApplyTopics(ctx, cfg)
	if err != nil {
		return err
	}
	for _, line := range done {
		log.Info().Msg("topic " + line)
	}
	ready(services.Kafka.Addr(), services.ClickHouse.Addr())
	<-ctx.Done()
	return nil
}

// repositoryModels lists the models of the repository; none where there is no repository
// yet.
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
	return router.Models(), nil
}

func withAdmin(cfg config.Config, do func(admin *consumers.Admin) error) error {
	admin, err := consumers.NewAdmin(cfg.Kafka.Connection())
	if err != nil {
		return err
	}
	defer admin.Close()
	return do(admin)
}

// reach bounds how long a command waits for Kafka.
const reach = 30 * time.Second

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
	return withAdmin(cfg, func(admin *consumers.Admin) error {
		ctx, cancel := context.WithTimeout(ctx, reach)
		defer cancel()
		if err := admin.Ping(ctx); err != nil {
			return err
		}
		return do(ctx, admin, specs)
	})
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

// InitResult says what InitModel made.
type InitResult struct {
	Manifest string // path
	Requests string // topic
	Results  string // topic
	Example  string // a request that the manifest accepts
}

// InitModel copies an ONNX model into the repository with a manifest made from its graph.
// An empty name is taken from the file's.
func InitModel(ctx context.Context, cfg config.Config, path, name, version string) (InitResult, error) {
	if name == "" {
		name = modelNameOf(path)
	}
	manifest, err := catalog.Init(ctx, cfg.Models, path, name, version)
	if err != nil {
		return InitResult{}, err
	}
	if err := os.MkdirAll(cfg.Models.Repository, 0o750); err != nil {
		return InitResult{}, fmt.Errorf("make the model repository: %w", err)
	}
	ref, err := inference.InstallModel(cfg.Models.Repository, path, manifest)
	if err != nil {
		return InitResult{}, err
	}
	models, err := catalog.Open(cfg.Models)
	if err != nil {
		return InitResult{}, err
	}
	m, err := models.Load(ctx, ref.Name, ref.Version)
	if err == nil {
		err = catalog.Try(ctx, cfg.Models, ref)
	}
	if err != nil { // the version is there whole, and able to serve, or not at all
		return InitResult{}, errors.Join(err, os.RemoveAll(filepath.Join(cfg.Models.Repository, ref.Name, ref.Version)))
	}
	return InitResult{
		Manifest: filepath.Join(m.Dir, schemas.ManifestFile), Requests: cfg.Topics.RequestsOf(ref.Name),
		Results: cfg.Topics.ResultsOf(ref.Name), Example: string(codec.ExampleRequest(m.Manifest)),
	}, nil
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

// Predict sends requests to a model's topic, waits for all results and writes them, a line
// each; what does not print is escaped as JSON does it. Requests that became dead letters are
// named in the error.
func Predict(ctx context.Context, cfg config.Config, model string, requests [][]byte, timeout time.Duration, out io.Writer) error {
	if c := cfg.Worker.Codec(model); c != codec.JSON {
		return fmt.Errorf("predict sends JSON, and worker.codecs says that requests of %s are %s: send those by a Kafka client", model, c)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s; is a worker running? (`millrace run`)", timeout))
	defer cancel()
	return withAdmin(cfg, func(admin *consumers.Admin) error {
		var refused []error
		err := admin.Ask(ctx, cfg.Topics.RequestsOf(model), requests, []string{cfg.Topics.ResultsOf(model), cfg.Topics.DeadLetters},
			func(rec *schemas.Record) error {
				if rec.Topic == cfg.Topics.DeadLetters {
					refused = append(refused, errors.New(printable.Text(rec.HeaderText(schemas.HeaderErrorClass)+": "+rec.HeaderText(schemas.HeaderReason))))
					return nil
				}
				_, err := fmt.Fprintf(out, "%s\n", printable.JSON(rec.Value))
				return err
			})
		return errors.Join(append(refused, err)...)
	})
}
