package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/sinks/kafka"
)

// NewLogger returns the logger that the configuration asks for.
func NewLogger(cfg LogConfig, out io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(cfg.Level)
	if err != nil {
		level = zerolog.InfoLevel // Validate has refused other words
	}
	if cfg.Format == "console" {
		out = zerolog.ConsoleWriter{Out: out, TimeFormat: time.TimeOnly, NoColor: !isTerminal(out)}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Dev runs the embedded services until ctx ends. ready is called once with their
// addresses.
func Dev(ctx context.Context, cfg Config, reset bool, log zerolog.Logger, ready func(kafka, clickhouse string)) error {
	if reset {
		if err := ResetServices(cfg); err != nil {
			return err
		}
	}
	services, err := StartServices(ctx, &cfg, -1, log)
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
func repositoryModels(cfg Config) ([]string, error) {
	if _, err := os.Stat(cfg.Models.Repository); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	repo, err := inference.OpenRepository(cfg.Models.Repository)
	if err != nil {
		return nil, err
	}
	router, err := inference.NewRouter(repo, cfg.Models.Versions)
	if err != nil {
		return nil, err
	}
	return router.Models(), nil
}

func withAdmin(cfg Config, do func(admin *consumers.Admin) error) error {
	admin, err := consumers.NewAdmin(consumers.Connection{Brokers: cfg.Kafka.Brokers, ClientID: cfg.Kafka.ClientID})
	if err != nil {
		return err
	}
	defer admin.Close()
	return do(admin)
}

// reach bounds how long a command waits for Kafka.
const reach = 30 * time.Second

func withTopics(ctx context.Context, cfg Config, do func(ctx context.Context, admin *consumers.Admin, specs []schemas.TopicSpec) error) error {
	models, err := repositoryModels(cfg)
	if err != nil {
		return err
	}
	specs := cfg.Topics.Specs(models, cfg.Topics.TopicSettings)
	for _, s := range cfg.Alerts {
		if s.Kafka != nil {
			copied := specs[len(specs)-2] // sized as the events topic
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
func ApplyTopics(ctx context.Context, cfg Config) (done []string, err error) {
	err = withTopics(ctx, cfg, func(ctx context.Context, admin *consumers.Admin, specs []schemas.TopicSpec) (err error) {
		done, err = admin.ApplyTopics(ctx, specs)
		return err
	})
	return done, err
}

// CheckTopics returns what differs.
func CheckTopics(ctx context.Context, cfg Config) (problems []consumers.Problem, err error) {
	err = withTopics(ctx, cfg, func(ctx context.Context, admin *consumers.Admin, specs []schemas.TopicSpec) (err error) {
		problems, err = admin.CheckTopics(ctx, specs)
		return err
	})
	return problems, err
}

// CheckModels loads every version of the repository, runs it once, and returns a line for
// each that is good. The faults of all others are in the error.
func CheckModels(ctx context.Context, cfg Config) ([]string, error) {
	repo, err := inference.OpenRepository(cfg.Models.Repository)
	if err != nil {
		return nil, err
	}
	refs, err := repo.Models()
	if err != nil {
		return nil, err
	}
	router, err := inference.NewRouter(repo, cfg.Models.Versions)
	if err != nil {
		return nil, err
	}
	rt := onnx.Runtime{Log: zerolog.Nop()}
	var lines []string
	errs := []error{cfg.checkCodecs(router.Models())}
	for _, ref := range refs {
		m, err := repo.Load(ctx, ref.Name, ref.Version)
		if err == nil {
			var instance inference.Instance
			if instance, err = inference.NewInstance(ctx, rt, m, memory.NewGoAllocator()); err == nil {
				err = instance.Close()
			}
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
func InitModel(ctx context.Context, cfg Config, path, name, version string) (InitResult, error) {
	if name == "" {
		name = modelNameOf(path)
	}
	manifest, err := onnx.Init(path, name, version)
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
	repo, err := inference.OpenRepository(cfg.Models.Repository)
	if err != nil {
		return InitResult{}, err
	}
	m, err := repo.Load(ctx, ref.Name, ref.Version)
	if err != nil {
		return InitResult{}, err
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

// LetterID names a dead letter by its place in the dead-letter topic.
type LetterID struct {
	Partition int32
	Offset    int64
}

// LetterFilter chooses dead letters; zero values choose all.
type LetterFilter struct {
	Model string
	Class string
	Only  []LetterID
	Limit int
}

func (f LetterFilter) matches(rec *schemas.Record) bool {
	return (f.Model == "" || headerText(rec, schemas.HeaderModel) == f.Model) &&
		(f.Class == "" || headerText(rec, schemas.HeaderErrorClass) == f.Class) &&
		(len(f.Only) == 0 || slices.Contains(f.Only, LetterID{rec.Partition, rec.Offset}))
}

func headerText(rec *schemas.Record, key string) string {
	v, _ := rec.Header(key)
	return string(v)
}

var errEnough = errors.New("enough")

// eachLetter visits the dead letters that match, oldest first.
func eachLetter(ctx context.Context, cfg Config, admin *consumers.Admin, filter LetterFilter, visit func(rec *schemas.Record) error) error {
	n := 0
	err := admin.Read(ctx, cfg.Topics.DeadLetters, func(rec *schemas.Record) error {
		if !filter.matches(rec) {
			return nil
		}
		if n++; filter.Limit > 0 && n > filter.Limit {
			return errEnough
		}
		return visit(rec)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// ListDeadLetters writes one line a letter.
func ListDeadLetters(ctx context.Context, cfg Config, filter LetterFilter, out io.Writer) error {
	return withAdmin(cfg, func(admin *consumers.Admin) error {
		return eachLetter(ctx, cfg, admin, filter, func(rec *schemas.Record) error {
			request := headerText(rec, schemas.HeaderPartition) + "/" + headerText(rec, schemas.HeaderOffset)
			if row, ok := rec.Header(schemas.HeaderRow); ok {
				request += "/" + string(row)
			}
			_, err := fmt.Fprintf(out, "%d/%d\t%s\t%s\t%s\t%s\t%s\n", rec.Partition, rec.Offset,
				headerText(rec, schemas.HeaderFailedAt), headerText(rec, schemas.HeaderErrorClass), request,
				headerText(rec, schemas.HeaderTopic), headerText(rec, schemas.HeaderReason))
			return err
		})
	})
}

// ShowDeadLetter writes one letter whole: its headers as lines, then its key and value.
// What is no printable text is quoted.
func ShowDeadLetter(ctx context.Context, cfg Config, partition int32, offset int64, out io.Writer) error {
	return withAdmin(cfg, func(admin *consumers.Admin) error {
		return admin.FindRecord(ctx, cfg.Topics.DeadLetters, partition, offset, func(rec *schemas.Record) error {
			for _, h := range rec.Headers {
				fmt.Fprintf(out, "%s: %s\n", h.Key, printable(h.Value))
			}
			_, err := fmt.Fprintf(out, "key: %s\n\n%s\n", printable(rec.Key), printable(rec.Value))
			return err
		})
	})
}

// printable returns text as it is, and anything else quoted.
func printable(b []byte) string {
	if !utf8.Valid(b) {
		return strconv.Quote(string(b))
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return strconv.Quote(string(b))
		}
	}
	return string(b)
}

// ReplayDeadLetters produces the requests of the letters that match again, and returns how
// many. It works on what the topic holds now, so that a replay that fails again is not
// replayed in the same call.
func ReplayDeadLetters(ctx context.Context, cfg Config, filter LetterFilter) (n int, err error) {
	producer, err := kafka.NewProducer(cfg.Kafka.Brokers, cfg.Kafka.ClientID, 10_000, cfg.Topics.MaxBytes)
	if err != nil {
		return 0, err
	}
	defer producer.Close()
	var passed []error // letters that cannot be replayed; they must not keep the others from it
	pass := func(rec *schemas.Record, format string, args ...any) error {
		passed = append(passed, fmt.Errorf("dead letter %d/%d: "+format, append([]any{rec.Partition, rec.Offset}, args...)...))
		return nil
	}
	err = withAdmin(cfg, func(admin *consumers.Admin) error {
		return eachLetter(ctx, cfg, admin, filter, func(rec *schemas.Record) error {
			if headerText(rec, schemas.HeaderErrorClass) == string(schemas.ErrorClassUnreadableBatch) {
				return pass(rec, "it stands for a record batch that could not be read, of which nothing was kept: its producer has to send the records again")
			}
			if _, ok := rec.Header(schemas.HeaderCut); ok {
				return pass(rec, "the request was too large to be kept whole, and cannot be replayed")
			}
			m := kafka.Replay(rec)
			if _, ok := cfg.Topics.ModelOf(m.Topic); !ok {
				return pass(rec, "%q is no requests topic", m.Topic)
			}
			if err := producer.Send(ctx, m); err != nil {
				return err
			}
			n++
			return nil
		})
	})
	if missing := len(filter.Only) - n - len(passed); err == nil && missing > 0 {
		err = fmt.Errorf("%d of the %d dead letters named were not found", missing, len(filter.Only))
	}
	return n, errors.Join(append(passed, err)...)
}

// Predict sends requests to a model's topic, waits for all results and writes them, a line
// each. Requests that became dead letters are named in the error.
func Predict(ctx context.Context, cfg Config, model string, requests [][]byte, timeout time.Duration, out io.Writer) error {
	if c := cfg.Worker.codec(model); c != codec.JSON {
		return fmt.Errorf("predict sends JSON, and worker.codecs says that requests of %s are %s: send those by a Kafka client", model, c)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s; is a worker running? (`millrace run`)", timeout))
	defer cancel()
	return withAdmin(cfg, func(admin *consumers.Admin) error {
		var refused []error
		err := admin.Ask(ctx, cfg.Topics.RequestsOf(model), requests, []string{cfg.Topics.ResultsOf(model), cfg.Topics.DeadLetters},
			func(rec *schemas.Record) error {
				if rec.Topic == cfg.Topics.DeadLetters {
					refused = append(refused, fmt.Errorf("%s: %s", headerText(rec, schemas.HeaderErrorClass), headerText(rec, schemas.HeaderReason)))
					return nil
				}
				_, err := fmt.Fprintf(out, "%s\n", rec.Value)
				return err
			})
		return errors.Join(append(refused, err)...)
	})
}
