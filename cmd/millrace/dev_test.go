package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/config"
)

// Where a port was in use, run would reach whatever uses it, or nothing.
func TestDevSaysHowToReachIt(t *testing.T) {
	cfg := config.Default()
	kafka, clickhouse := cfg.Embedded.KafkaAddr, cfg.Embedded.ClickHouseAddr
	require.Empty(t, elsewhere(cfg, kafka, clickhouse))
	require.Equal(t, "The configuration names other addresses: give run, predict and other commands --set kafka.brokers=127.0.0.1:9093\n",
		elsewhere(cfg, "127.0.0.1:9093", clickhouse))
	require.Contains(t, elsewhere(cfg, "127.0.0.1:9093", "127.0.0.1:8124"), " --set kafka.brokers=127.0.0.1:9093 --set clickhouse.addr=127.0.0.1:8124\n")
}
