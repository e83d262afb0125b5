package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/schemas/printable"
)

// Predict sends requests to a model's topic, waits for all results and writes them, a line
// each; what does not print is escaped as JSON does it. Requests that became dead letters are
// named in the error.
func Predict(ctx context.Context, cfg config.Config, model string, requests [][]byte, timeout time.Duration, out io.Writer) error {
	if c := cfg.Worker.Codec(model); c != codec.JSON {
		return fmt.Errorf("predict sends JSON, and worker.codecs says that requests of %s are %s: send those by a Kafka client", model, c)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s; is a worker running (`millrace run`), and what does its /readyz say?", timeout))
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
