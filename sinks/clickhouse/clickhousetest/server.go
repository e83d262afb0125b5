// Package clickhousetest gives tests a ClickHouse and observations to put into it.
//
// The server is the one that MILLRACE_TEST_CLICKHOUSE_DSN names, and the embedded engine
// where that is unset.
package clickhousetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	_ "github.com/millrace/millrace/deploy/native/nativetest" // where the engine lies
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/link"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/embedded"
)

// server is how to reach the server while Main runs, and plain how clickhouse-go does.
var (
	server clickhouse.Options
	plain  ch.Options
)

// databases numbers the databases of this process.
var databases atomic.Int64

// Main runs the tests of a package with a server; TestMain exits with what it returns.
func Main(m *testing.M) int {
	stop, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "clickhousetest:", err)
		return 1
	}
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "clickhousetest:", err)
		return max(code, 1)
	}
	return code
}

func start() (stop func() error, err error) {
	if dsn := os.Getenv("MILLRACE_TEST_CLICKHOUSE_DSN"); dsn != "" {
		o, err := ch.ParseDSN(dsn)
		if err != nil {
			return nil, fmt.Errorf("MILLRACE_TEST_CLICKHOUSE_DSN: %w", err)
		}
		server = clickhouse.Options{
			Addr: o.Addr, Username: o.Auth.Username, PasswordFrom: link.From("MILLRACE_TEST_CLICKHOUSE_DSN", link.Secret(o.Auth.Password), "", ""),
			TLS: link.TLS{Enabled: o.TLS != nil, InsecureSkipVerify: o.TLS != nil && o.TLS.InsecureSkipVerify},
		}
		plain = ch.Options{Protocol: ch.HTTP, Addr: o.Addr, Auth: ch.Auth{Username: cmp.Or(o.Auth.Username, "default"), Password: o.Auth.Password}, TLS: o.TLS}
		return func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "millrace-clickhouse-")
	if err != nil {
		return nil, err
	}
	err = os.WriteFile(filepath.Join(dir, "config.xml"), []byte(engineConfig), 0o600)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	engine, err := embedded.Open(embedded.Config{Dir: dir, AllowExternal: true}) // a Distributed table names a host
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, engine.Close(), os.RemoveAll(dir))
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- engine.Serve(ctx, listener) }() // stopped by stop
	server = clickhouse.Options{Addr: []string{listener.Addr().String()}}
	plain = ch.Options{Protocol: ch.HTTP, Addr: server.Addr, Auth: ch.Auth{Username: "default"}}
	return func() error {
		cancel()
		return errors.Join(<-served, os.RemoveAll(dir))
	}, nil
}

// OneShard is a cluster of which the engine is the only server. It has no port to be reached at, and
// needs none.
const OneShard = "one_shard"

const engineConfig = `<clickhouse>
    <merge_tree><auto_statistics_types></auto_statistics_types></merge_tree>
    <tcp_port>9000</tcp_port>
    <remote_servers><` + OneShard + `><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard></` + OneShard + `></remote_servers>
</clickhouse>
`

// Client returns a client of a new database, migrated, which the test's end drops.
func Client(tb testing.TB) *clickhouse.Client {
	tb.Helper()
	c := Open(tb, schemas.Storage{Database: NewDatabase(tb), TTLDays: 3650})
	require.NoError(tb, c.Migrate(tb.Context()))
	return c
}

// NewDatabase returns the name of a database that does not exist; the test's end drops it.
func NewDatabase(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), databases.Add(1))
	tb.Cleanup(func() {
		c := Open(tb, schemas.Storage{Database: name, TTLDays: 1})
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), time.Minute)
		defer cancel()
		require.NoError(tb, c.Exec(ctx, "DROP DATABASE IF EXISTS "+name+""))
	})
	return name
}

// Open returns a client that the test's end closes. Its log goes to the test's.
func Open(tb testing.TB, storage schemas.Storage) *clickhouse.Client {
	tb.Helper()
	return OpenAt(tb, storage, server.Addr...)
}

// OpenAt is Open for a client that reaches the server at other addresses, such as proxies.
func OpenAt(tb testing.TB, storage schemas.Storage, addr ...string) *clickhouse.Client {
	tb.Helper()
	o := server
	o.Addr = addr
	o.Storage = storage
	o.Logger = zerolog.New(zerolog.NewTestWriter(tb))
	c, err := clickhouse.Open(o)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	return c
}

// Conn returns a plain connection to the server, for what a Client does not do.
func Conn(tb testing.TB) driver.Conn {
	tb.Helper()
	o := plain
	c, err := ch.Open(&o)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	return c
}

// Count returns the number that a query gives; {db} stands for the client's database.
func Count(tb testing.TB, c *clickhouse.Client, query string) uint64 {
	tb.Helper()
	var rows []struct {
		N uint64 `ch:"n"`
	}
	require.NoError(tb, c.Select(tb.Context(), &rows, "SELECT toUInt64(n) AS n FROM ("+strings.ReplaceAll(query, "{db}", c.Database())+")"))
	require.Len(tb, rows, 1)
	return rows[0].N
}

// Addr returns the address of the server's HTTP interface.
func Addr() string { return server.Addr[0] }
