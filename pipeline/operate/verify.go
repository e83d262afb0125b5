package operate

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/verify"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// ErrDifferent says that a verification found differences, and has not repaired them.
var ErrDifferent = verify.ErrDifferent

// VerifyOptions choose what Verify looks at, and whether it repairs.
type VerifyOptions struct {
	verify.Options
	Repair bool
	Logger zerolog.Logger
}

// Verify compares what ClickHouse holds with Kafka's log, by coordinates; see package verify.
// Differences are no error: they are in the report.
func Verify(ctx context.Context, cfg config.Config, o VerifyOptions) (report *verify.Report, err error) {
	tables, err := clickhouse.Open(cfg.ClickHouseOptions(o.Logger))
	if err != nil {
		return nil, err
	}
	defer tables.Close()
	o.Answers = true
	err = withAdmin(cfg, func(admin *consumers.Admin) error {
		if err := verifiable(ctx, admin, tables, o.Repair); err != nil {
			return err
		}
		sources := verify.SourcesOf(cfg, admin, tables, o.Logger)
		sources.Repeats = repeatedRequests(cfg, admin)
		if o.Repair {
			report, err = verify.RunRepair(ctx, sources, o.Options, verify.RepairingOf(cfg, memory.NewGoAllocator()))
		} else {
			report, err = verify.Run(ctx, sources, o.Options)
		}
		return err
	})
	return report, err
}

// verifiable checks that Kafka and the database can be asked; a repair makes a database that is not
// there.
func verifiable(ctx context.Context, admin *consumers.Admin, tables *clickhouse.Client, repair bool) error {
	ping, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	if err := admin.Ping(ping); err != nil {
		return err
	}
	there, err := tables.HasDatabase(ctx)
	if err != nil {
		return err
	}
	if !there && !repair {
		return fmt.Errorf("database %s (clickhouse.database) is not there, or this user may not see it; a recorder makes it, and `millrace verify --repair` where it was lost", tables.Database())
	}
	return nil
}
