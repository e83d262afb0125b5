package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// segmentBytes bounds one file of a partition, and so how far a partition may
	// exceed Config.RetentionBytes on disk: whole files are deleted.
	segmentBytes = 16 << 20
	// groupsLogBytes bounds the file of committed offsets, and so for how long everything waits while
	// kfake writes it anew: 70 to 85 ms here, and 230 to 420 ms with its default of 10 MiB. Some
	// 8,000 offsets, each of a group and a partition, have room: with more it is written anew each time.
	groupsLogBytes = 2 << 20
	// yearMillis stands for never, see brokerConfigs.
	yearMillis = 365 * 24 * 3600 * 1000
)

// ErrDirInUse says that another process serves the same directory.
var ErrDirInUse = errors.New("embedded kafka: data directory is in use")

// Config says where the broker listens, where it keeps its data, and its bounds.
type Config struct {
	// Dir holds the data. It is created when missing, and belongs to one process at a time.
	Dir string
	// Listen is the host:port to listen on; the host must be a loopback address or
	// "localhost". Port 0 takes a free one, which changes with every start.
	Listen string
	// Advertise is the host:port that clients are told to connect to, where that is not
	// Listen: that of a proxy in front of the broker.
	Advertise string
	// Partitions is what a topic gets that is created without a number of partitions.
	Partitions int
	// RetentionBytes bounds each partition of a topic without retention.bytes of its own;
	// -1 is no bound. A start reads all of the log, so it bounds start time and memory too.
	// Retention by age (retention.ms) is not enforced, and compaction not done.
	RetentionBytes int64
	// RetentionCheckInterval is the time between two deletions of what exceeds the bounds.
	RetentionCheckInterval time.Duration
	// MaxMessageBytes bounds a record batch, as compressed, of a topic without
	// max.message.bytes of its own. A topic's own bound holds even when it is larger.
	MaxMessageBytes int
	// Security is what clients are asked for.
	Security Security
	// Log gets the broker's warnings and errors. The zero Logger drops them.
	Log zerolog.Logger
}

// DefaultConfig listens on Kafka's usual port and accepts records of 8 MiB. Dir is to be set.
func DefaultConfig() Config {
	return Config{
		Listen:                 "127.0.0.1:9092",
		Partitions:             4,
		RetentionBytes:         256 << 20,
		RetentionCheckInterval: 10 * time.Second,
		MaxMessageBytes:        8<<20 + 64<<10, // a value of 8 MiB, its key and headers
	}
}

// Validate returns all violations at once.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir must name the data directory"))
	}
	if err := checkLoopback(c.Listen); err != nil {
		errs = append(errs, err)
	}
	if _, _, err := net.SplitHostPort(c.Advertise); c.Advertise != "" && err != nil {
		errs = append(errs, fmt.Errorf("advertise must be host:port: %w", err))
	}
	if c.Partitions < 1 {
		errs = append(errs, fmt.Errorf("partitions must be at least 1, got %d", c.Partitions))
	}
	if c.RetentionBytes < 1 && c.RetentionBytes != -1 {
		errs = append(errs, fmt.Errorf("retention_bytes must be at least 1, or -1 for no bound, got %d", c.RetentionBytes))
	}
	if c.RetentionCheckInterval <= 0 {
		errs = append(errs, fmt.Errorf("retention_check_interval must be positive, got %s", c.RetentionCheckInterval))
	}
	if c.MaxMessageBytes < 1 {
		errs = append(errs, fmt.Errorf("max_message_bytes must be at least 1, got %d", c.MaxMessageBytes))
	}
	return errors.Join(append(errs, c.Security.validate())...)
}

// checkLoopback refuses addresses that other machines can reach: what the broker knows of
// authentication is for tests.
func checkLoopback(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen must be host:port: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen must be a loopback address such as 127.0.0.1:9092, got %q: "+
			"the embedded broker has no authentication", listen)
	}
	return nil
}

// Serve runs the broker until ctx is done, then writes its state and closes it; that end
// is not an error. It calls ready once, with the address, when clients can use it. A
// directory that another process serves is ErrDirInUse.
//
// The goroutines of the broker and of its connections end shortly after Serve returns.
func Serve(ctx context.Context, cfg Config, ready func(addr string)) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("embedded kafka: %w", err)
	}
	unlock, err := lockDir(cfg.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	guard, err := newGuard(cfg.Security, cfg.Dir)
	if err != nil {
		return err
	}

	log, attendance := &brokerLog{log: cfg.Log}, newAttendance(cfg.Log)
	var addr string
	cluster, err := kfake.NewCluster(append(guard.broker(),
		kfake.NumBrokers(1),
		kfake.ClusterID("millrace-embedded"),
		kfake.DataDir(cfg.Dir),
		kfake.DefaultNumPartitions(cfg.Partitions),
		kfake.BrokerConfigs(brokerConfigs(cfg)),
		kfake.WithLogger(log),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			var lc net.ListenConfig
			ln, err := lc.Listen(ctx, network, cfg.Listen)
			if err != nil {
				return nil, err
			}
			addr = ln.Addr().String()
			if cfg.Advertise != "" {
				ln = advertised{ln, cfg.Advertise}
			}
			if cfg.Security.TLS != nil {
				ln = tls.NewListener(ln, cfg.Security.TLS)
			}
			return amended{ln, brokerConfigs(cfg), attendance}, nil
		}),
	)...)
	if err != nil {
		return fmt.Errorf("start embedded kafka on %s with data in %s: %w", cfg.Listen, cfg.Dir, err)
	}
	cluster.ControlKey(int16(kmsg.Fetch), boundFetch)
	amendRequests(cluster)
	guard.attend(cluster)
	client, err := guard.client(addr)
	if err != nil {
		cluster.Close()
		return err
	}
	ready(addr)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return retain(ctx, cluster, client, cfg) })
	group.Go(func() error { return attendance.watch(ctx, cluster, client) })
	if err := group.Wait(); err != nil {
		cluster.Close()
		return err
	}
	_ = log.failures() // only those of the close are its result
	cluster.Close()
	if err := log.failures(); err != nil {
		return fmt.Errorf("close embedded kafka with data in %s: %w", cfg.Dir, err)
	}
	return nil
}

// leastFetchBytes is what a fetch may take of each partition, however many there are.
const leastFetchBytes = 1 << 20

// boundFetch keeps a fetch within its size by what it may take of each partition. Where
// kfake ends a response because it is full, it forgets to tell which transactions of the
// last partition were aborted, and clients take their records for committed.
func boundFetch(request kmsg.Request) (kmsg.Response, error, bool) {
	req := request.(*kmsg.FetchRequest)
	var partitions int32
	for i := range req.Topics {
		partitions += int32(len(req.Topics[i].Partitions))
	}
	share := max(leastFetchBytes, req.MaxBytes/max(1, partitions))
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			p := &req.Topics[i].Partitions[j]
			p.PartitionMaxBytes = min(p.PartitionMaxBytes, share)
		}
	}
	req.MaxBytes = math.MaxInt32
	return nil, nil, false // as if nothing had been done
}

// advertised is a listener that clients reach under another address: kfake tells them the
// one that its listener gives.
type advertised struct {
	net.Listener
	addr string
}

// Addr implements net.Listener.
func (l advertised) Addr() net.Addr { return l }

// Network implements net.Addr.
func (l advertised) Network() string { return l.Listener.Addr().Network() }

// String implements net.Addr.
func (l advertised) String() string { return l.addr }

// brokerConfigs are the bounds of topics that do not set their own.
func brokerConfigs(cfg Config) map[string]string {
	return map[string]string{
		"message.max.bytes":       strconv.Itoa(cfg.MaxMessageBytes),
		"log.retention.bytes":     strconv.FormatInt(cfg.RetentionBytes, 10),
		"log.retention.ms":        "-1",
		"log.segment.bytes":       strconv.Itoa(segmentBytes),
		"state.log.compact.bytes": strconv.Itoa(groupsLogBytes),
		// kafka.session_timeout may be as short: on one machine nothing is silent by accident.
		"group.min.session.timeout.ms": "1000",
		// A laptop may sleep longer than Kafka's seven days.
		"offsets.retention.minutes": strconv.Itoa(yearMillis / 60_000),
		// Never: kfake's compaction moves the log start, so that a reader of older offsets is
		// out of range, and ignores open transactions; its retention can empty a log, see
		// retain, and deletes by age from compacted topics too.
		"log.cleaner.backoff.ms": strconv.Itoa(yearMillis),
	}
}

// retain keeps the logs within their bounds until ctx is done. It never deletes the last
// batch of a log: kfake gives a log without batches the offset 0 again at the next start,
// and offsets must not repeat.
func retain(ctx context.Context, cluster *kfake.Cluster, opts []kgo.Opt, cfg Config) error {
	client, err := kgo.NewClient(opts...) // kfake itself does not list its topics
	if err != nil {
		return fmt.Errorf("embedded kafka: client of its own for retention: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	tick := time.NewTicker(cfg.RetentionCheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		topics, err := admin.ListTopics(ctx)
		if err != nil {
			if ctx.Err() == nil {
				cfg.Log.Warn().Err(err).Msg("embedded kafka retention skipped")
			}
			continue
		}
		for _, topic := range topics.Names() {
			bound := retentionBytes(cluster.TopicInfo(topic), cfg.RetentionBytes)
			for p := range topics[topic].Partitions {
				trim(cluster, topic, p, bound)
			}
		}
	}
}

// retentionBytes returns the bound of a topic, or -1 when it has none. A topic deleted in
// the meantime is nil.
func retentionBytes(topic *kfake.TopicInfo, byDefault int64) int64 {
	if topic == nil {
		return -1
	}
	if policy := topic.Configs["cleanup.policy"]; policy != nil && !strings.Contains(*policy, "delete") {
		return -1
	}
	if own := topic.Configs["retention.bytes"]; own != nil {
		if n, err := strconv.ParseInt(*own, 10, 64); err == nil {
			return n
		}
	}
	return byDefault
}

// trim deletes a 64th of the oldest records until the partition fits, so that it deletes
// little more than it must whatever the sizes of records.
func trim(cluster *kfake.Cluster, topic string, partition int32, bound int64) {
	for bound >= 0 {
		p := cluster.PartitionInfo(topic, partition)
		if p == nil || p.NumBytes <= bound {
			return
		}
		to := p.LogStartOffset + (p.HighWatermark-p.LogStartOffset)/64 + 1
		to = min(to, p.HighWatermark-1, p.LastStableOffset)
		if to <= p.LogStartOffset || cluster.DeleteRecords(topic, partition, to) != nil {
			return // only the last batch, an open transaction, or a topic just deleted
		}
	}
}

// Ping asks the broker at addr, one without Security, for its metadata: nil means that it answers
// requests, which an accepted connection alone does not. It stops waiting when ctx is done.
func Ping(ctx context.Context, addr string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return fmt.Errorf("ping kafka at %s: %w", addr, err)
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return fmt.Errorf("ping kafka at %s: %w", addr, err)
	}
	return nil
}

// lockDir creates dir and takes its lock. The kernel gives the lock back when the process
// ends, however it ends, so a lock file left behind means nothing.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("embedded kafka: create data directory: %w", err)
	}
	path := filepath.Join(dir, "millrace.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's own data directory
	if err != nil {
		return nil, fmt.Errorf("embedded kafka: open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("embedded kafka: lock %s: %w", path, err)
		}
		pid, _ := os.ReadFile(path) //nolint:gosec // as above; only for the message
		return nil, fmt.Errorf("%w: %s is served by process %s: stop that process or choose another directory",
			ErrDirInUse, dir, strings.TrimSpace(string(pid)))
	}
	if err := errors.Join(f.Truncate(0), writePid(f)); err != nil {
		return nil, fmt.Errorf("embedded kafka: write lock %s: %w", path, errors.Join(err, f.Close()))
	}
	return func() { _ = f.Close() }, nil
}

func writePid(f *os.File) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// brokerLog passes kfake's warnings and errors on, and remembers errors: kfake's Close has
// no result. Safe for concurrent use.
type brokerLog struct {
	log  zerolog.Logger
	mu   sync.Mutex
	errs []error
}

// Logf implements kfake.Logger.
func (l *brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		err := fmt.Errorf(format, args...)
		l.log.Error().Err(err).Msg("embedded kafka error")
		l.mu.Lock()
		l.errs = append(l.errs, err)
		l.mu.Unlock()
	case kfake.LogLevelWarn:
		l.log.Info().Str("detail", fmt.Sprintf(format, args...)).Msg("embedded kafka warning") // slow calls, mostly
	default:
	}
}

// failures returns the errors since it was last called.
func (l *brokerLog) failures() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := errors.Join(l.errs...)
	l.errs = nil
	return err
}
