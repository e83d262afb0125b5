package operate

import (
	"context"
	"time"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
)

// withAdmin gives what is done a client of Kafka.
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

// withReachableKafka gives what is done with Kafka a bounded time.
func withReachableKafka(ctx context.Context, cfg config.Config, do func(ctx context.Context, admin *consumers.Admin) error) error {
	return withAdmin(cfg, func(admin *consumers.Admin) error {
		ctx, cancel := context.WithTimeout(ctx, reach)
		defer cancel()
		if err := admin.Ping(ctx); err != nil {
			return err
		}
		return do(ctx, admin)
	})
}
