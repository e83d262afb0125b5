package operate

import (
	"context"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/services"
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
