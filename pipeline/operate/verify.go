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
	if there, err := tables.HasDatabase(ctx); err != nil {
		return nil, err
	} else if !there && !o.Repair { // a repair makes it
		return nil, fmt.Errorf("database %s (clickhouse.database) is not there, or this user may not see it; a recorder makes it", tables.Database())
	}
	o.Answers = true
	err = withAdmin(cfg, func(admin *consumers.Admin) error {
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
