package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/millrace/millrace/pipeline/supervisor"
)

// broker is the Kafka of a run: one or several brokers, each of which tells clients the
// address of a proxy in front of it. Brokers are numbered from 0. It is safe for concurrent
// use, but the faults of a broker must not overlap.
type broker interface {
	Proxies() []*proxy // one per broker
	Terminate(ctx context.Context, i int) error
	Kill(ctx context.Context, i int) error
	Start(ctx context.Context, i int) error // after one of the two
	Signal(i int, signal syscall.Signal) error
	Ended() (names []string) // of those that ended though nobody asked them to
	Close() error
}

// Kinds of Kafka that a run can use.
const (
	EmbeddedKafka = "embedded"
	RealKafka     = "real"
)

// openBroker starts the Kafka that the options ask for, with its data and logs in dir.
func openBroker(ctx context.Context, o Options, dir string, ports *ports) (broker, error) {
	switch {
	case o.Kafka == RealKafka:
		return nil, errors.New("--kafka real: this build cannot start Apache Kafka; use --kafka embedded")
	case o.Kafka != EmbeddedKafka:
		return nil, fmt.Errorf("--kafka %q: it is embedded or real", o.Kafka)
	case o.Brokers != 1:
		return nil, fmt.Errorf("--brokers %d: the embedded Kafka has one broker", o.Brokers)
	}
	return openEmbedded(ctx, dir, ports)
}

// embeddedBroker is the embedded Kafka, in a process of its own.
type embeddedBroker struct {
	*process
	front *proxy
}

func openEmbedded(ctx context.Context, dir string, ports *ports) (broker, error) {
	addr, err := ports.next()
	if err != nil {
		return nil, err
	}
	front, err := newProxy(addr, kafkaClient)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, kafka)
	err = os.MkdirAll(data, 0o750)
	var p *process
	if err == nil {
		p, err = newProcess(dir, named(kafka, 0), false, "embedded-kafka", "--dir", data, "--addr", addr, "--advertise", front.Addr(), "--retention-bytes", "-1")
	}
	if err != nil {
		front.Close()
		return nil, err
	}
	b := &embeddedBroker{p, front}
	if err := b.process.Start(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *embeddedBroker) Proxies() []*proxy { return []*proxy{b.front} }

func (b *embeddedBroker) Terminate(ctx context.Context, _ int) error { return b.process.Terminate(ctx) }

func (b *embeddedBroker) Start(ctx context.Context, _ int) error { return b.process.Start(ctx) }

// Kill refuses: the embedded broker does not promise to survive it.
func (b *embeddedBroker) Kill(context.Context, int) error {
	return errors.New("kill the embedded Kafka: it can hide or repeat the results of its last transactions then")
}

func (b *embeddedBroker) Signal(_ int, signal syscall.Signal) error { return b.process.Signal(signal) }

func (b *embeddedBroker) Ended() []string {
	if b.process.Ended() {
		return []string{b.name}
	}
	return nil
}

func (b *embeddedBroker) Close() error {
	b.front.Close()
	return b.process.Close()
}

// ports gives each service an address that it keeps over restarts. They lie below those
// that the kernel lends to clients, which could take one while its service is down.
type ports struct{ last int }

func (p *ports) next() (string, error) {
	addr, _, err := supervisor.FreePort(fmt.Sprintf("127.0.0.1:%d", p.last+1))
	if err != nil {
		return "", err
	}
	if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &p.last); err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return addr, nil
}
