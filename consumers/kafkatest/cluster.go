package kafkatest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/schemas"
)

// Config says what Start runs.
type Config struct {
	Nodes int      // each is a broker and a controller; a single one is a broker, with a controller beside it
	Dir   string   // for the data, which stays; "": a temporary one, deleted by Close
	Logs  string   // for what each node says, in kafka-<id>.log, kept; "": nowhere
	Java  []string // options of each JVM, behind those of this package
	// Front returns the address that a node tells clients, of a proxy to addr. Brokers and
	// controllers reach each other without it. nil: addr itself.
	Front    func(id int, addr string) (string, error)
	Security *Security // what clients are asked for; nil: nothing
}

// Variable is the environment variable that says what tests run against: the number of
// Apache Kafka's brokers, or "embedded", which is also the default.
const Variable = "MILLRACE_TEST_KAFKA"

// Asked returns how many nodes Variable asks for; 0 is the embedded broker.
func Asked() (nodes int, err error) {
	text := os.Getenv(Variable)
	if text == "" || text == "embedded" {
		return 0, nil
	}
	if nodes, err = strconv.Atoi(text); err != nil || nodes < 1 {
		return 0, fmt.Errorf("%s must be embedded or a number of brokers, got %q", Variable, text)
	}
	return nodes, nil
}

// Selected starts the cluster that Variable asks for. It returns nil, which may be closed,
// too, when that is the embedded broker.
func Selected(ctx context.Context) (*Cluster, error) {
	nodes, err := Asked()
	if nodes == 0 || err != nil {
		return nil, err
	}
	return Start(ctx, Config{Nodes: nodes})
}

// Cluster is a running Kafka. Its nodes are numbered from 0, as brokers are by their id.
// Its processes are killed when this process ends, however it ends. It is safe for
// concurrent use, but what is done to one node must not overlap. Close it.
type Cluster struct {
	dir   string
	keep  bool // dir
	nodes []*node
	alone *node // the controller of a single broker, else nil
}

// Start returns when all brokers serve, groups and transactions too, or with ctx's cause.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Nodes < 1 {
		return nil, fmt.Errorf("start Kafka: want at least 1 node, got %d", cfg.Nodes)
	}
	java, err := findJava(ctx)
	if err != nil {
		return nil, err
	}
	dir := cfg.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "millrace-kafka-"); err != nil {
			return nil, fmt.Errorf("start Kafka: %w", err)
		}
	}
	c := &Cluster{dir: dir, keep: cfg.Dir != ""}
	if err := c.start(ctx, cfg, java); err != nil {
		return nil, errors.Join(fmt.Errorf("start Kafka with %d nodes: %w", cfg.Nodes, err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, cfg Config, java []string) error {
	ports, err := freePorts(portsEach * (cfg.Nodes + 1))
	if err != nil {
		return err
	}
	add := func(id int, cfg Config) (*node, error) {
		return newNode(id, cfg, filepath.Join(c.dir, strconv.Itoa(id)), ports[portsEach*id:], append(slices.Clone(java), cfg.Java...))
	}
	for id := range cfg.Nodes {
		n, err := add(id, cfg)
		if err != nil {
			return err
		}
		n.roles = "broker,controller"
		c.nodes = append(c.nodes, n)
	}
	if cfg.Nodes == 1 {
		cfg.Front = nil
		if c.alone, err = add(1, cfg); err != nil {
			return err
		}
		c.nodes[0].roles, c.alone.roles = "broker", "controller"
	}
	var voters []string
	for _, n := range c.all() {
		if n.roles != "broker" {
			voters = append(voters, fmt.Sprintf("%d@%s", n.id, n.controller))
		}
	}
	clusterID := newClusterID(uuid.New)
	formatting, formatCtx := errgroup.WithContext(ctx)
	for _, n := range c.all() {
		p := properties(n, voters, cfg.Nodes)
		if cfg.Security != nil {
			if err := cfg.Security.secure(n, p); err != nil {
				return err
			}
		}
		if err := n.configure(p); err != nil {
			return err
		}
		formatting.Go(func() error { return n.format(formatCtx, clusterID) })
	}
	if err := formatting.Wait(); err != nil {
		return err
	}
	for _, n := range c.all() {
		if err := n.start(); err != nil {
			return err
		}
	}
	if err := c.Ready(ctx); err != nil || cfg.Security == nil {
		return err
	}
	for user, password := range cfg.Security.Users {
		if err := c.SetPassword(ctx, user, password); err != nil {
			return err
		}
	}
	return nil
}

// newClusterID returns a random UUID in Kafka's writing, which has no dash in front: the tool
// that formats a node would take it for an option.
func newClusterID(random func() uuid.UUID) string {
	for {
		id := random()
		if text := base64.RawURLEncoding.EncodeToString(id[:]); text[0] != '-' {
			return text
		}
	}
}

// all returns the nodes, and the controller that is beside them.
func (c *Cluster) all() []*node {
	if c.alone == nil {
		return c.nodes
	}
	return append(slices.Clone(c.nodes), c.alone)
}

// properties are a node's server.properties. What takes seconds or megabytes by default is
// quick and small, and nothing is weaker than in production.
func properties(n *node, voters []string, brokers int) map[string]string {
	replicas, inSync := strconv.Itoa(min(brokers, 3)), strconv.Itoa(min(brokers, 2))
	p := map[string]string{
		"process.roles": n.roles, "node.id": strconv.Itoa(n.id), "log.dirs": filepath.Join(n.dir, "data"),
		"controller.quorum.voters":       strings.Join(voters, ","),
		"listeners":                      "CLIENT://" + n.addr + ",BROKER://" + n.broker + ",CONTROLLER://" + n.controller,
		"advertised.listeners":           "CLIENT://" + n.advertised + ",BROKER://" + n.broker,
		"listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":     "BROKER", "controller.listener.names": "CONTROLLER",

		"auto.create.topics.enable": "false", "default.replication.factor": replicas, "min.insync.replicas": inSync,
		"offsets.topic.replication.factor": replicas, "offsets.topic.num.partitions": "4",
		"transaction.state.log.replication.factor": replicas, "transaction.state.log.min.isr": inSync, "transaction.state.log.num.partitions": "4",
		"message.max.bytes": strconv.Itoa(schemas.MaxDeadLetterBytes + 64<<10),

		"group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "1000",
		"log.message.timestamp.after.max.ms":                          "9223372036854775807", // tests send times of all years
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
		"broker.heartbeat.interval.ms":                                "500", "broker.session.timeout.ms": "4000",
		// Requests to a broker or controller that was killed or frozen are made again sooner than after 30 s.
		"controller.socket.timeout.ms": "5000", "replica.socket.timeout.ms": "5000", "replica.fetch.backoff.ms": "200",
		"log.cleaner.dedupe.buffer.size": strconv.Itoa(4 << 20), "log.index.size.max.bytes": strconv.Itoa(1 << 20),
		"num.network.threads": "2", "num.io.threads": "4",
	}
	switch n.roles {
	case "broker":
		p["listeners"] = "CLIENT://" + n.addr + ",BROKER://" + n.broker
	case "controller":
		p["listeners"] = "CONTROLLER://" + n.controller
		delete(p, "advertised.listeners")
		delete(p, "inter.broker.listener.name")
	}
	return p
}

// Brokers returns the addresses that clients use, of all nodes, whether they run or not.
func (c *Cluster) Brokers() []string {
	brokers := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		brokers[i] = n.advertised
	}
	return brokers
}

// Pid returns the process of a node; that of one that was killed is another's by now.
func (c *Cluster) Pid(i int) int { return c.nodes[i].pid() }

// Kill ends a node with SIGKILL, and returns when it has ended.
func (c *Cluster) Kill(i int) error { return c.nodes[i].kill() }

// Terminate ends a node in order, and returns when it has ended. It is killed when ctx is
// done first.
func (c *Cluster) Terminate(ctx context.Context, i int) error { return c.nodes[i].terminate(ctx) }

// Restart starts a node that was ended, and returns when it serves and its replicas have
// caught up. A single broker is started when the controller knows that it was away: Apache
// Kafka 4.4.0 forgets to mark the ends of transactions in partitions that lose their leader,
// and here that would be at the start, when transactions that had been committed are finished.
func (c *Cluster) Restart(ctx context.Context, i int) error {
	if c.alone != nil && !c.nodes[i].serves() {
		if err := c.leaderless(ctx); err != nil {
			return err
		}
	}
	if err := c.nodes[i].start(); err != nil {
		return err
	}
	return c.Ready(ctx)
}

// Stop freezes a node with SIGSTOP.
func (c *Cluster) Stop(i int) error { return c.nodes[i].signal(syscall.SIGSTOP) }

// Cont lets a frozen node go on.
func (c *Cluster) Cont(i int) error { return c.nodes[i].signal(syscall.SIGCONT) }

// Failure tells which node has ended by itself, and what it said.
func (c *Cluster) Failure() error {
	for _, n := range c.all() {
		if err := n.failure(); err != nil {
			return err
		}
	}
	return nil
}

// Close kills the nodes, and deletes their data if its directory is a temporary one.
func (c *Cluster) Close() error {
	if c == nil {
		return nil
	}
	var killing sync.WaitGroup
	for _, n := range c.all() {
		killing.Go(func() { _ = n.kill() }) // it may have ended
	}
	killing.Wait()
	if c.keep {
		return nil
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("delete Kafka's data: %w", err)
	}
	return nil
}

// alive returns the nodes that run and are not frozen.
func (c *Cluster) alive() []*node {
	var nodes []*node
	for _, n := range c.nodes {
		if n.serves() {
			nodes = append(nodes, n)
		}
	}
	return nodes
}
