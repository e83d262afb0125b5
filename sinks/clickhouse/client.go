package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/link"
)

// Options say where ClickHouse is and how its tables are kept.
type Options struct {
	// Addr is host:port of the HTTP interface, or a URL; see ParseAddress. Several are tried in
	// order; they must be servers of the same tables, and all of them, since a replay asks each
	// what it is doing.
	Addr     []string
	Username string // default: "default"
	// PasswordFrom, unless nil, is asked for the password of each request: it can change. It is
	// safe for concurrent use. Without a password the certificate of TLS, if it has one, is
	// what the user is let in by.
	PasswordFrom link.Source
	TLS          link.TLS
	Storage      schemas.Storage
	Logger       zerolog.Logger
}

// Client is a connection pool to ClickHouse that knows millrace's tables. It is safe for
// concurrent use.
type Client struct {
	fleet   *fleet
	conn    driver.Conn   // to the server in use
	servers []driver.Conn // one for each address
	extra   []driver.Conn // to shards
	storage schemas.Storage
	log     zerolog.Logger
	cluster clustered

	answerTimeout, insertTimeout time.Duration // the constants, but in tests

	mu        sync.Mutex
	tables    map[string]bool // schemas that their tables were seen to take; by schema text
	conflicts map[string]bool // schemas whose conflict was logged
	repairing schemas.Lease   // of the last Reconcile, if it may not be over; else zero

	refused sync.Once // logging that settings of tables cannot be changed
	plain   sync.Once // logging that tables are replicated without a cluster

	locksMu sync.Mutex
	locks   map[string]*sync.RWMutex // by model; see modelLock
}

// Open checks the options, and the files that they name. It does not connect: Ping does.
func Open(o Options) (*Client, error) {
	if err := o.Storage.Validate(); err != nil {
		return nil, err
	}
	if len(o.Addr) == 0 {
		return nil, errors.New("clickhouse.addr: missing; give host:port of the HTTP interface, such as 127.0.0.1:8123")
	}
	if o.Username == "" {
		o.Username = "default"
	}
	addresses, err := ParseAddresses(o.Addr, o.TLS)
	if err != nil {
		return nil, err
	}
	dialer := o.TLS.Dialer("clickhouse.tls")
	if o.TLS.On() {
		if err := dialer.Check(); err != nil {
			return nil, err
		}
	}
	c := &Client{
		fleet: &fleet{
			addresses: addresses, username: o.Username, password: o.PasswordFrom, certified: o.TLS.CertFile != "", replicas: o.Storage.Cluster != "",
			dialer: dialer, hello: helloTimeout, log: o.Logger,
		},
		storage: o.Storage, log: o.Logger,
		answerTimeout: answerTimeout, insertTimeout: insertTimeout,
		tables: map[string]bool{}, conflicts: map[string]bool{}, locks: map[string]*sync.RWMutex{},
	}
	for _, a := range addresses {
		if !a.Secure {
			link.WarnPlainText(o.Logger, "clickhouse", "clickhouse.tls.enabled", o.PasswordFrom != nil, a.Host)
		}
	}
	if c.conn, err = c.dial(c.fleet, -1, 16); err != nil {
		return nil, err
	}
	if len(addresses) == 1 {
		c.servers = []driver.Conn{c.conn}
		return c, nil
	}
	for i := range addresses {
		conn, err := c.dial(c.fleet, i, 2)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.servers = append(c.servers, conn)
	}
	return c, nil
}

// dial returns a pool of at most so many connections to the server in use, or to one of the
// servers.
func (c *Client) dial(f *fleet, only, most int) (driver.Conn, error) {
	// Queries here differ in their literals: what is compiled for one is of no use to the next.
	settings := ch.Settings{"compile_expressions": 0, "compile_aggregate_expressions": 0, "compile_sort_description": 0}
	if c.storage.Cluster != "" {
		maps.Copy(settings, clusterSettings(c.storage.Quorum))
	}
	conn, err := ch.Open(&ch.Options{
		Protocol: ch.HTTP, // InsertFormat exists there only
		Addr:     []string{f.addresses[max(only, 0)].Host},
		// No database: it may not exist yet, and every statement names it. No password: see transport.
		Auth:     ch.Auth{Username: f.username},
		Settings: settings,
		// It bounds all that is tried to open a connection, and the wait for a free one. A managed
		// server that sleeps takes long to answer first.
		DialTimeout:  20*time.Second + time.Duration(len(f.addresses))*(connectTimeout+helloTimeout),
		ReadTimeout:  5 * time.Minute, // of the response header, which a long query keeps back; see within
		MaxOpenConns: most,
		MaxIdleConns: (most + 1) / 2,
		TransportFunc: func(base *http.Transport) (http.RoundTripper, error) {
			return newTransport(base, f, only)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open clickhouse at %s: %w", c.names(), err)
	}
	return conn, nil
}

// Close closes the idle connections.
func (c *Client) Close() error {
	err := c.conn.Close()
	for _, server := range append(slices.Clone(c.servers), c.extra...) {
		if server != c.conn {
			err = errors.Join(err, server.Close())
		}
	}
	return err
}

// Ping checks that a server answers.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.conn.Ping(ctx); err != nil {
		return fmt.Errorf("ping clickhouse: %w", c.told(err))
	}
	return nil
}

// Database returns the name of the database, which needs no quoting.
func (c *Client) Database() string { return c.storage.Database }

// HasDatabase tells whether the database is there, as far as the user may see it.
func (c *Client) HasDatabase(ctx context.Context) (bool, error) {
	var rows []struct {
		N uint64 `ch:"n"`
	}
	err := c.askFirst(ctx, &rows, "SELECT count() AS n FROM system.databases WHERE name = ?", c.storage.Database)
	return len(rows) == 1 && rows[0].N > 0, err
}

// Exec runs a statement that returns no rows. Arguments fill "?" or {name:Type}.
func (c *Client) Exec(ctx context.Context, statement string, args ...any) error {
	if err := c.conn.Exec(ctx, statement, args...); err != nil {
		return about(statement, c.told(err))
	}
	return nil
}

// Select runs a query and fills dest, a pointer to a slice of structs with `ch:"column"`
// tags. Arguments fill "?" or {name:Type}.
func (c *Client) Select(ctx context.Context, dest any, query string, args ...any) error {
	if err := c.caughtUp(ctx); err != nil {
		return err
	}
	if err := c.conn.Select(c.sequential(ctx), dest, query, args...); err != nil {
		return about(query, c.told(err))
	}
	return nil
}

// QueryArrow runs a query and returns its answer as an Arrow stream, texts as texts. The
// caller reads it to its end and closes it. The query names no FORMAT.
func (c *Client) QueryArrow(ctx context.Context, query string) (io.ReadCloser, error) {
	ctx = ch.Context(ctx, ch.WithSettings(ch.Settings{
		"output_format_arrow_string_as_string":                 1,
		"output_format_arrow_low_cardinality_as_dictionary":    0,
		"output_format_arrow_fixed_string_as_fixed_byte_array": 0,
		"output_format_arrow_compression_method":               "none",
	}))
	stream, err := c.conn.QueryFormat(ctx, "ArrowStream", query)
	if err != nil {
		return nil, about(query, c.told(err))
	}
	return stream, nil
}

// A connection can go silent without an end: what is known to take no longer is not waited for
// longer. clickhouse-go makes max_execution_time of what is left of a context's time, and 5 s.
const (
	answerTimeout = 30 * time.Second  // of questions: the clock, the tables, the rows of an insert
	insertTimeout = 115 * time.Second // less than it takes a consumer group to give up on a recorder
)

// MaxInsertRows is how many rows an insert has at most. A single record may be more.
const MaxInsertRows = 100_000

// ErrIncomplete says that ClickHouse took an insert and rows of it are not there.
var ErrIncomplete = errors.New("insert stored incompletely")

// within bounds a statement. Whether the server still works on one that has got no answer, or
// will, is unknown; see deadline.go.
func within(ctx context.Context, timeout time.Duration, do func(context.Context) error) error {
	bounded, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	err := do(bounded)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(bounded), err)
	}
	return err
}

// Ask is Select for what a server answers soon: none within half a minute is an error.
func (c *Client) Ask(ctx context.Context, dest any, query string, args ...any) error {
	return within(ctx, c.answerTimeout, func(ctx context.Context) error { return c.Select(ctx, dest, query, args...) })
}

// Tell is Exec for what a server does soon, as Ask is Select.
func (c *Client) Tell(ctx context.Context, statement string, args ...any) error {
	return within(ctx, c.answerTimeout, func(ctx context.Context) error { return c.Exec(ctx, statement, args...) })
}

// AskEach asks one server after the other, as Ask does, until done tells that the rest need not
// be asked. dest, a pointer to a slice, holds the rows of one server when done is called. An
// error names the server.
func (c *Client) AskEach(ctx context.Context, dest any, done func() bool, query string, args ...any) error {
	for i, conn := range c.servers {
		reflect.ValueOf(dest).Elem().SetZero()
		err := within(ctx, c.answerTimeout, func(ctx context.Context) error { return c.told(conn.Select(ctx, dest, query, args...)) })
		if err != nil {
			return fmt.Errorf("%s: %w", c.fleet.addresses[i], err)
		}
		if done() {
			return nil
		}
	}
	return nil
}

// insertSettings make an insert one block per partition, stored when it is answered: it is
// there as a whole or not at all. A server's defaults may buffer inserts or cut blocks.
// None runs for ever: a replay waits for those that may still store its rows.
func insertSettings() ch.Settings {
	return ch.Settings{
		"async_insert":                    0,
		"insert_deduplicate":              0, // rows that were lost must not be taken for known ones
		"wait_end_of_query":               1, // an error has its HTTP status
		"max_execution_time":              120,
		"max_query_size":                  1 << 20, // a wide model's columns
		"max_insert_threads":              1,
		"timeout_overflow_mode":           "throw", // break would store what was read by then
		"max_insert_block_size":           4 * MaxInsertRows,
		"min_insert_block_size_rows":      4 * MaxInsertRows,
		"min_insert_block_size_bytes":     1 << 30,
		"max_partitions_per_insert_block": 0, // replayed history can span more than 100 days
	}
}

// Insert sends the stream, an Arrow stream of these columns, as one INSERT into a table of the
// database, which the server refuses outside of the lease. Rows of a cut stream may be missing
// without an error, and some may be there in spite of one. An insert of observations waits
// while Reconcile of this Client is at their model.
func (c *Client) Insert(ctx context.Context, table string, columns Columns, lease schemas.Lease, stream io.Reader) error {
	if model, ok := strings.CutPrefix(table, schemas.ObservationsTable("")); ok {
		lock := c.modelLock(model)
		lock.RLock()
		defer lock.RUnlock()
	}
	conn, local, err := c.intoShard(ctx, table)
	if err != nil {
		return err
	}
	ctx = ch.Context(ctx, ch.WithSettings(insertSettings()))
	ctx = context.WithValue(ctx, statementKey{}, columns.statement(c.qualified(local), lease))
	return within(ctx, c.insertTimeout, func(ctx context.Context) error {
		return c.told(conn.InsertFormat(ctx, "ArrowStream", "INSERT INTO "+c.qualified(local), stream))
	})
}

// InsertRows stores a slice of structs, or of pointers to structs, in a table of the
// database, in one insert. Fields are matched by their `ch:"column"` tags; fields without a
// tag are left out, and so are columns that no field names, which get their default.
func (c *Client) InsertRows(ctx context.Context, table string, rows any) error {
	return c.insertRows(ctx, table, rows, schemas.Lease{})
}

// InsertRowsWithin is InsertRows, which the server refuses outside of the lease.
func (c *Client) InsertRowsWithin(ctx context.Context, table string, rows any, lease schemas.Lease) error {
	return c.insertRows(ctx, table, rows, lease)
}

func (c *Client) insertRows(ctx context.Context, table string, rows any, lease schemas.Lease) error {
	v := reflect.ValueOf(rows)
	if v.Kind() != reflect.Slice {
		return fmt.Errorf("insert into %s: rows are %T, want a slice of structs", table, rows)
	}
	if v.Len() == 0 {
		return nil
	}
	elem := v.Type().Elem()
	if elem.Kind() == reflect.Pointer {
		elem = elem.Elem()
	}
	if elem.Kind() != reflect.Struct {
		return fmt.Errorf("insert into %s: rows are %T, want a slice of structs", table, rows)
	}
	columns := schemas.RowColumns(elem)
	if len(columns) == 0 {
		return fmt.Errorf(`insert into %s: %s has no field with a tag ch:"column"`, table, elem)
	}
	ctx = ch.Context(ctx, ch.WithSettings(insertSettings()))
	if !lease.IsZero() {
		statement, err := c.leasedRows(ctx, table, columns, lease)
		if err != nil {
			return fmt.Errorf("insert %d rows into %s: %w", v.Len(), table, err)
		}
		ctx = context.WithValue(ctx, statementKey{}, statement)
	}
	b, err := c.conn.PrepareBatch(ctx, "INSERT INTO "+c.storage.Database+"."+table+" ("+strings.Join(columns, ", ")+")")
	if err != nil {
		return fmt.Errorf("insert %d rows into %s: %w", v.Len(), table, c.told(err))
	}
	defer b.Close()
	for i := range v.Len() {
		row := v.Index(i)
		if row.Kind() != reflect.Pointer {
			row = row.Addr()
		}
		if err := b.AppendStruct(row.Interface()); err != nil {
			return fmt.Errorf("insert %d rows into %s: row %d: %w", v.Len(), table, i, err)
		}
	}
	if err := b.Send(); err != nil {
		return fmt.Errorf("insert %d rows into %s: %w", v.Len(), table, c.told(err))
	}
	c.cluster.caught.Store(0)
	return nil
}

// modelLock guards the pair of a model's observations and their minute states: inserts
// hold it for reading, and a repair, which must see both at rest, for writing.
func (c *Client) modelLock(model string) *sync.RWMutex {
	c.locksMu.Lock()
	defer c.locksMu.Unlock()
	l := c.locks[model]
	if l == nil {
		l = &sync.RWMutex{}
		c.locks[model] = l
	}
	return l
}

// about names the statement that an error is of, unless no server has looked at it: none was reached,
// or none let the user in.
func about(statement string, err error) error {
	switch exceptionCode(err) {
	case codeUnknownUser, codeWrongPassword, codeRequiredPassword, codeAuthentication:
		return err
	}
	if errors.As(err, new(unreached)) {
		return err
	}
	return fmt.Errorf("%s: %w", firstLine(statement), err)
}

// firstLine names a statement in an error.
func firstLine(statement string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(statement), "\n")
	if len(line) > 120 {
		line = line[:120] + "…"
	}
	return line
}
