package services

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/millrace/millrace/consumers/embedded"
	"github.com/millrace/millrace/deploy/native"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/supervisor"
	"github.com/millrace/millrace/schemas/link"
	engine "github.com/millrace/millrace/sinks/clickhouse/embedded"
)

// Names of the hidden commands that child processes are started with.
const (
	childKafka      = "embedded-kafka"
	childClickHouse = "embedded-clickhouse"
)

// RunChild runs an embedded service or tries a model out, if args (without the program's name) ask
// for that, and tells whether they did. It returns when the parent has gone or asks for the end.
func RunChild(args []string, stderr io.Writer) (isChild bool, code int) {
	if len(args) > 0 && args[0] == catalog.TrialCommand {
		return true, catalog.RunTrial(context.Background(), args[1:], os.Stdout)
	}
	if len(args) == 0 || (args[0] != childKafka && args[0] != childClickHouse) {
		return false, 0
	}
	ctx := supervisor.WithParent(context.Background())
	log := zerolog.New(stderr).With().Timestamp().Logger()
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", "", "data directory")
	addr := flags.String("addr", "", "loopback address to listen on")
	retention := flags.Int64("retention-bytes", 0, "bytes kept of each partition; 0 takes the default")
	advertise := flags.String("advertise", "", "address that Kafka's clients are told; by default addr")
	library := flags.String("library", "", "path of libchdb.so, which the parent has checked; by default it is looked for")
	libraryState := flags.String("library-state", "", "state of that file when it was checked")
	sandbox := flags.String("sandbox", string(engine.SandboxAuto), "auto, required or off")
	password := flags.String("password-sha256", "", "digest of the password without which queries only read; none: everybody may do everything")
	if err := flags.Parse(args[1:]); err != nil {
		return true, 2
	}
	if err := engine.Harden(supervisor.Files); err != nil {
		log.Error().Err(err).Msg(args[0] + " ended")
		return true, 1
	}
	serve := func() error {
		cfg := engine.Config{Dir: *dir, Library: *library, Sandbox: engine.Sandbox(*sandbox)}
		return serveClickHouse(ctx, cfg, *addr, *libraryState, *password, log)
	}
	if args[0] == childKafka {
		cfg := embedded.DefaultConfig()
		cfg.Dir, cfg.Listen, cfg.Advertise, cfg.Log = *dir, *addr, *advertise, log
		if *retention != 0 {
			cfg.RetentionBytes = *retention
		}
		serve = func() error { return serveKafka(ctx, cfg) }
	}
	if err := serve(); err != nil && !errors.Is(err, context.Canceled) {
		log.Error().Err(err).Msg(args[0] + " ended")
		return true, 1
	}
	return true, 0
}

func serveKafka(ctx context.Context, cfg embedded.Config) error {
	return embedded.Serve(ctx, cfg, func(addr string) {
		if err := supervisor.Ready(addr); err != nil {
			cfg.Log.Error().Err(err).Msg("telling the parent failed")
		}
	})
}

func serveClickHouse(ctx context.Context, cfg engine.Config, addr, libraryState, password string, log zerolog.Logger) error {
	if password != "" {
		digest, err := hex.DecodeString(password)
		if err != nil || len(digest) != sha256.Size {
			return errors.New("--password-sha256: not a SHA-256 in hexadecimal digits")
		}
		cfg.Password = (*[sha256.Size]byte)(digest)
	}
	if cfg.Library != "" {
		if err := native.ClickHouse.Recheck(cfg.Library, libraryState); err != nil {
			return err
		}
	}
	// Before the engine: a process that is confined can open no listener.
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	e, err := engine.Open(cfg)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	if lacking := e.Lacking(); lacking != "" {
		log.Warn().Msg("the embedded ClickHouse runs without a full sandbox: this kernel cannot keep its queries from " + lacking)
	}
	if err := supervisor.Ready(ln.Addr().String()); err != nil {
		return errors.Join(err, ln.Close(), e.Close())
	}
	return e.Serve(ctx, ln)
}

// Services are the embedded Kafka and ClickHouse, each a supervised child process.
type Services struct {
	Kafka      *supervisor.Process
	ClickHouse *supervisor.Process

	passwordFile string // of ClickHouse; removed by Stop
}

// childEnvironment are the variables that the services get: how Go runs, and the time zone.
// Others may be secrets, which nobody can find in a process that does not have them.
var childEnvironment = []string{"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK", "GOCOVERDIR", "TZ"}

// Start starts both under cfg.Embedded.Dir and points cfg at them. A preferred
// address that is in use is replaced by a free one, and logged. Stop them.
func Start(ctx context.Context, cfg *config.Config, retentionBytes int64, log zerolog.Logger) (*Services, error) {
	s := &Services{}
	var err error
	start := func(name, preferred string, health func(addr string) func(context.Context) error, extra func(addr string) ([]string, error)) *supervisor.Process {
		if err != nil {
			return nil
		}
		var addr string
		var taken bool
		if addr, taken, err = supervisor.FreePort(preferred); err != nil {
			return nil
		}
		if taken {
			log.Warn().Str("wanted", preferred).Str("addr", addr).Msg(name + ": the address is in use; taking another")
		}
		dir := filepath.Join(cfg.Embedded.Dir, name)
		if err = ownDir(dir); err != nil {
			err = fmt.Errorf("make the data directory of %s: %w", name, err)
			return nil
		}
		var more []string
		if more, err = extra(addr); err != nil {
			return nil
		}
		var p *supervisor.Process
		p, err = supervisor.Start(ctx, supervisor.Child{
			Name: name, Args: append([]string{"embedded-" + name, "--dir", dir, "--addr", addr}, more...),
			Environment: childEnvironment, Log: log, Health: health(addr), HealthInterval: 2 * time.Second, HealthTimeout: 10 * time.Second,
		})
		return p
	}
	s.Kafka = start("kafka", cfg.Embedded.KafkaAddr, func(addr string) func(context.Context) error {
		return func(ctx context.Context) error { return embedded.Ping(ctx, addr) }
	}, func(string) ([]string, error) {
		return []string{"--retention-bytes", strconv.FormatInt(retentionBytes, 10)}, nil
	})
	s.ClickHouse = start("clickhouse", cfg.Embedded.ClickHouseAddr, pingHTTP, func(addr string) ([]string, error) {
		library, err := native.ClickHouse.Find()
		if err != nil {
			return nil, err
		}
		file := cfg.Embedded.PasswordFile(addr)
		password, err := config.WritePassword(file)
		if err != nil {
			return nil, err
		}
		s.passwordFile = file
		return []string{
			"--library", library, "--library-state", native.State(library), "--sandbox", cfg.Embedded.Sandbox,
			"--password-sha256", fmt.Sprintf("%x", engine.PasswordDigest(password)),
		}, nil
	})
	if err != nil {
		s.Stop(context.WithoutCancel(ctx), cfg.DrainTimeout, log)
		return nil, err
	}
	cfg.Kafka.Brokers = []string{s.Kafka.Addr()}
	cfg.Kafka.TLS, cfg.Kafka.SASL = link.TLS{}, link.SASL{} // of another Kafka
	cfg.ClickHouse.Addr = []string{s.ClickHouse.Addr()}
	cfg.ClickHouse.Username, cfg.ClickHouse.Password, cfg.ClickHouse.PasswordFile = "default", "", s.passwordFile
	return s, nil
}

// Stop ends both, in order, each within the deadline.
func (s *Services) Stop(ctx context.Context, deadline time.Duration, log zerolog.Logger) {
	for _, p := range []*supervisor.Process{s.ClickHouse, s.Kafka} {
		if p == nil {
			continue
		}
		stopCtx, cancel := context.WithTimeout(ctx, deadline)
		if err := p.Stop(stopCtx); err != nil {
			log.Warn().Err(err).Msg("embedded service did not end well")
		}
		cancel()
	}
	if s.passwordFile != "" {
		if err := os.Remove(s.passwordFile); err != nil {
			log.Warn().Err(err).Msg("the embedded ClickHouse's old password was not removed")
		}
	}
}

// ownDir makes a folder that only this user may enter, or makes it so.
func ownDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700) //nolint:gosec // a folder
}

func pingHTTP(addr string) func(context.Context) error {
	client := &http.Client{}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/ping", nil)
		if err != nil {
			return fmt.Errorf("ping ClickHouse: %w", err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("ping ClickHouse: %w", err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("ping ClickHouse at %s: %s", addr, resp.Status)
		}
		return nil
	}
}

// Reset deletes the data of both. It refuses while a service runs, which would go on
// without the files that it has open.
func Reset(cfg config.Config) error {
	for _, name := range []string{"kafka", "clickhouse"} {
		if err := emptyDir(filepath.Join(cfg.Embedded.Dir, name)); err != nil {
			return fmt.Errorf("delete the data of %s: %w", name, err)
		}
	}
	return nil
}

// lockFile is what both services hold locked in their data directory.
const lockFile = "millrace.lock"

// emptyDir deletes what a service's data directory holds, all but the lock: whoever starts a
// service meanwhile must meet the one that is held here.
func emptyDir(dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator's own data directory
	switch {
	case errors.Is(err, fs.ErrNotExist): // there is no directory
		return nil
	case err != nil:
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		holder, _ := os.ReadFile(lock.Name()) // only for the message
		return fmt.Errorf("%s is in use by process %s: stop that one first, or choose another embedded.dir", dir, strings.TrimSpace(string(holder)))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == lockFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
