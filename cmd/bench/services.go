package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers/embedded"
	"github.com/millrace/millrace/consumers/kafkatest"
	engine "github.com/millrace/millrace/sinks/clickhouse/embedded"
)

// serviceSpec says where a service keeps its data.
type serviceSpec struct {
	Dir string `json:"dir"`
}

// served tells where a service listens.
type served struct {
	Addr string `json:"addr"`
}

// brokers is a Kafka that was started for the measurement.
type brokers struct {
	addrs   []string
	version string // as the report says it
	stop    func(ctx context.Context) error
}

// KafkaEmbedded and KafkaReal are what Options.Kafka may be.
const (
	KafkaEmbedded = "embedded"
	KafkaReal     = "real"
)

// javaOptions let a broker run as in production: a test's options, which they follow, trade its
// speed for a quick start.
var javaOptions = []string{"-Xmx1g", "-XX:TieredStopAtLevel=4"}

// startKafka starts the Kafka that kind names, with its data in dir.
func startKafka(ctx context.Context, kind, dir string) (*brokers, error) {
	if kind == KafkaReal {
		version, err := kafkatest.Version()
		if err != nil {
			return nil, fmt.Errorf("--kafka real: %w", err)
		}
		c, err := kafkatest.Start(ctx, kafkatest.Config{Nodes: 1, Dir: dir, Java: javaOptions})
		if err != nil {
			return nil, fmt.Errorf("--kafka real: %w", err)
		}
		return &brokers{addrs: c.Brokers(), version: version, stop: func(context.Context) error { return c.Close() }}, nil
	}
	p, addr, err := startService(ctx, partKafka, dir)
	if err != nil {
		return nil, err
	}
	return &brokers{addrs: []string{addr}, version: KafkaEmbedded, stop: p.stop}, nil
}

// startService starts a service and waits for its address.
func startService(ctx context.Context, part, dir string) (*process, string, error) {
	p, err := start(ctx, part, serviceSpec{Dir: dir})
	if err != nil {
		return nil, "", err
	}
	var at served
	if err := p.hear(ctx, &at); err != nil {
		return nil, "", errors.Join(err, p.stop(ctx))
	}
	return p, at.Addr, nil
}

// serveKafka is the broker of `millrace dev`, on a free port.
func serveKafka(ctx context.Context, c *child) error {
	var spec serviceSpec
	if err := c.read(&spec); err != nil {
		return err
	}
	cfg := embedded.DefaultConfig()
	cfg.Dir, cfg.Listen, cfg.RetentionBytes = spec.Dir, "127.0.0.1:0", -1
	var err error
	if cfg.Security, err = brokerSecurity(); err != nil {
		return err
	}
	cfg.Log = zerolog.New(os.Stderr).Level(zerolog.ErrorLevel)
	var said error
	return errors.Join(embedded.Serve(ctx, cfg, func(addr string) { said = c.say(served{addr}) }), said)
}

// serveClickHouse is the engine of `millrace dev`, on a free port. Unlike there, its queries
// may read files, which is what the recorder is compared with.
func serveClickHouse(ctx context.Context, c *child) error {
	var spec serviceSpec
	if err := c.read(&spec); err != nil {
		return err
	}
	e, err := engine.Open(engine.Config{Dir: spec.Dir, AllowExternal: true})
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, e.Close())
	}
	if err := c.say(served{ln.Addr().String()}); err != nil {
		return errors.Join(err, ln.Close(), e.Close())
	}
	return e.Serve(ctx, ln)
}
