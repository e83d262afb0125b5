package main

import (
	"context"
	"io"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/services"
	"github.com/millrace/millrace/pipeline/supervisor"
)

// childRole is the hidden command that roles are started with: configuration keys with
// values follow.
const childRole = "chaos-role"

// RunChild runs an embedded service or roles if args (without the program's name) ask for
// them, and tells whether they did. A process that calls Run calls it first: its program is
// started again for each process of the run.
func RunChild(args []string, stderr io.Writer) (isChild bool, code int) {
	if isChild, code := services.RunChild(args, stderr); isChild {
		return true, code
	}
	switch {
	case len(args) > 0 && args[0] == childKafka:
		return true, runKafka(args[1:], stderr)
	case len(args) == 0 || args[0] != childRole:
		return false, 0
	}
	ctx, stop := pipeline.UntilSignal(supervisor.WithParent(context.Background()))
	defer stop()
	log := zerolog.New(stderr).With().Timestamp().Logger()
	cfg, err := config.Load("", nil, args[1:])
	if err == nil {
		err = supervisor.Ready(cfg.HTTP.Addr) // that it runs: Kafka may be away
	}
	if err == nil {
		err = pipeline.New(cfg, log).Run(ctx)
	}
	if err != nil {
		log.Error().Err(err).Msg("roles ended")
		return true, 1
	}
	return true, 0
}
