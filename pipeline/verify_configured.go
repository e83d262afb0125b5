package pipeline

import (
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/verify"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// verifyParts returns what is compared by the configuration.
func verifyParts(cfg config.Config, log *consumers.Admin, tables *clickhouse.Client, logger zerolog.Logger) verify.Parts {
	return verify.Parts{
		Log: log, Tables: tables, Topics: cfg.Topics.Topics, Group: cfg.Recorder.Group, Workers: cfg.Worker.Group, TTLDays: cfg.ClickHouse.TTLDays, Logger: logger,
	}
}

// repairing returns how it is repaired by the configuration.
func repairing(cfg config.Config, mem memory.Allocator) verify.Repairing {
	return verify.Repairing{
		Connection: cfg.Kafka.Connection(), Session: cfg.Kafka.SessionTimeout,
		Deadline: cfg.Recorder.InsertDeadline, Memory: mem,
	}
}
