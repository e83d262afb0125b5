package verify

import (
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// SourcesOf returns what is compared by the configuration.
func SourcesOf(cfg config.Config, log *consumers.Admin, tables *clickhouse.Client, logger zerolog.Logger) Sources {
	return Sources{
		Log: log, Tables: tables, Topics: cfg.Topics.Topics, Group: cfg.Recorder.Group, Workers: cfg.Worker.Group, TTLDays: cfg.ClickHouse.TTLDays, Logger: logger,
	}
}

// RepairingOf returns how it is repaired by the configuration.
func RepairingOf(cfg config.Config, mem memory.Allocator) Repairing {
	return Repairing{
		Connection: cfg.Kafka.Connection(), Session: cfg.Kafka.SessionTimeout,
		Deadline: cfg.Recorder.InsertDeadline, Memory: mem,
	}
}
