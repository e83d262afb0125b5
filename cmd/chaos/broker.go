package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/millrace/millrace/consumers/kafkatest"
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
	Failure() error // which ended though nobody asked it to
	Close() error
}

// Kinds of Kafka that a run can use.
const (
	EmbeddedKafka = "embedded"
	RealKafka     = "real"
)

// openBroker starts the Kafka that the options ask for, with its data and logs in dir.
func openBroker(ctx context.Context, o Options, dir string, ports *ports, secured *security) (broker, error) {
	if o.Kafka == RealKafka {
		return openReal(ctx, o.Brokers, dir, secured)
	}
	return openEmbedded(ctx, dir, ports, secured)
}

// embeddedBroker is the embedded Kafka, in a process of its own.
type embeddedBroker struct {
	*process
	front *proxy
}

func openEmbedded(ctx context.Context, dir string, ports *ports, secured *security) (broker, error) {
	addr, err := ports.next()
	if err != nil {
		return nil, err
	}
	front, err := newProxy(addr, kafkaClient)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, kafka)
	args := []string{"embedded-kafka", "--retention-bytes", "-1"}
	if secured != nil {
		args = []string{childKafka, "--security", secured.dir}
	}
	err = os.MkdirAll(data, 0o750)
	var p *process
	if err == nil {
		p, err = newProcess(dir, named(kafka, 0), false, append(args, "--dir", data, "--addr", addr, "--advertise", front.Addr())...)
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

func (b *embeddedBroker) Failure() error {
	if b.Ended() {
		return fmt.Errorf("%s ended by itself; see its log", b.name)
	}
	return nil
}

func (b *embeddedBroker) Close() error {
	b.front.Close()
	return b.process.Close()
}

// realBroker is Apache Kafka.
type realBroker struct {
	*kafkatest.Cluster
	fronts []*proxy
}

func openReal(ctx context.Context, brokers int, dir string, secured *security) (broker, error) {
	b := &realBroker{}
	var err error
	b.Cluster, err = kafkatest.Start(ctx, kafkatest.Config{
		Nodes: brokers, Dir: filepath.Join(dir, kafka), Logs: dir, Security: secured.real(),
		Front: func(_ int, addr string) (string, error) {
			front, err := newProxy(addr, kafkaClient)
			if err != nil {
				return "", err
			}
			b.fronts = append(b.fronts, front)
			return front.Addr(), nil
		},
	})
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *realBroker) Proxies() []*proxy { return b.fronts }

func (b *realBroker) Kill(_ context.Context, i int) error { return b.Cluster.Kill(i) }

// Start returns when the replicas of the broker have caught up: else the
// next fault could leave too few in sync, and only waiting would be tested.
func (b *realBroker) Start(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return b.Restart(ctx, i)
}

func (b *realBroker) Signal(i int, signal syscall.Signal) error {
	if signal == syscall.SIGSTOP {
		return b.Stop(i)
	}
	return b.Cont(i)
}

func (b *realBroker) Close() error {
	err := b.Cluster.Close()
	for _, front := range b.fronts {
		front.Close()
	}
	return err
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
