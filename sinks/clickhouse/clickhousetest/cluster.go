package clickhousetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// Cluster is the engine behind what looks like a server for each shard of a cluster. The engine
// has neither statements ON CLUSTER, nor Keeper, nor a way to another process. So each
// statement is parsed by it as it came, and run after it was changed to what one server can do:
// once for each shard, where it is ON CLUSTER, with tables that are not replicated, which lie in
// a database of each shard, and which the table for all shards merges.
type Cluster struct {
	Name     string
	Database string
	Addr     []string // of the servers, by shard

	tb     testing.TB
	shards int

	stopped  []*atomic.Bool // by server
	readOnly []*atomic.Bool

	mu       sync.Mutex
	requests []Request
}

// Request is what a server was asked.
type Request struct {
	Shard    int // from 1
	Server   int // index in Addr
	Text     string
	Settings url.Values
}

// NewCluster returns a cluster of so many shards, each of so many servers, with a database that does
// not exist. The test's end removes both.
func NewCluster(tb testing.TB, shards, servers int) *Cluster {
	tb.Helper()
	c := &Cluster{Name: "main", Database: NewDatabase(tb), tb: tb, shards: shards}
	conn := Conn(tb)
	for k := 1; k <= shards; k++ {
		for range servers {
			server := len(c.Addr)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, k, server) }))
			tb.Cleanup(s.Close)
			c.Addr = append(c.Addr, strings.TrimPrefix(s.URL, "http://"))
			c.stopped = append(c.stopped, &atomic.Bool{})
			c.readOnly = append(c.readOnly, &atomic.Bool{})
		}
		if shards > 1 {
			require.NoError(tb, conn.Exec(tb.Context(), "CREATE DATABASE "+c.of(k)))
			tb.Cleanup(func() {
				require.NoError(tb, conn.Exec(context.WithoutCancel(tb.Context()), "DROP DATABASE "+c.of(k)))
			})
		}
	}
	return c
}

// Open returns a client of the cluster.
func (c *Cluster) Open(tb testing.TB) *clickhouse.Client {
	tb.Helper()
	client, err := clickhouse.Open(clickhouse.Options{
		Addr: c.Addr, Storage: schemas.Storage{Database: c.Database, TTLDays: 3650, Durability: schemas.DurabilityFsync, Cluster: c.Name},
		Logger: zerolog.New(zerolog.NewTestWriter(tb)),
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, client.Close()) })
	return client
}

// Stop has a server end every connection.
func (c *Cluster) Stop(server int) { c.stopped[server].Store(true) }

// LoseKeeper has a server answer as one does that has lost Keeper: its replicated tables are there for
// reading what it has.
func (c *Cluster) LoseKeeper(server int) { c.readOnly[server].Store(true) }

// Take returns what the servers were asked since the last call.
func (c *Cluster) Take() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.requests
	c.requests = nil
	return taken
}

// of is the database of a shard's own tables.
func (c *Cluster) of(shard int) string { return fmt.Sprintf("%s_s%d", c.Database, shard) }

var (
	definition  = regexp.MustCompile(`(?m)^(CREATE|ALTER|RENAME|DROP) `)
	replicated  = regexp.MustCompile(`ENGINE = Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?`)
	distributed = regexp.MustCompile(`ENGINE = Distributed\('\w+', '\w+', '(\w+)'\)`)
)

func (c *Cluster) serve(w http.ResponseWriter, r *http.Request, shard, server int) {
	if c.stopped[server].Load() {
		panic(http.ErrAbortHandler)
	}
	query := r.URL.Query()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	text, rows := query.Get("query"), body
	if !query.Has("query") {
		text, rows = string(body), nil
	}
	settings := r.URL.Query()
	settings.Del("query")
	c.mu.Lock()
	c.requests = append(c.requests, Request{shard, server, text, settings})
	c.mu.Unlock()
	if c.readOnly[server].Load() && !strings.HasPrefix(text, "SELECT") {
		w.Header().Set("X-ClickHouse-Exception-Code", "242")
		http.Error(w, "Code: 242. DB::Exception: Table is in readonly mode since the table is not in ZooKeeper. (TABLE_IS_READ_ONLY)", http.StatusInternalServerError)
		return
	}
	statements := []string{c.alone(text, shard)}
	if definition.MatchString(text) {
		if answer := c.forward(r.Context(), url.Values{}, "EXPLAIN AST "+text, nil); answer.status != http.StatusOK {
			answer.write(w)
			return
		}
		if strings.Contains(text, " ON CLUSTER '"+c.Name+"'") {
			statements = nil
			for k := 1; k <= c.shards; k++ {
				if s := c.alone(text, k); !slices.Contains(statements, s) {
					statements = append(statements, s)
				}
			}
			if distributed.MatchString(text) {
				statements = statements[:1]
			}
		}
	}
	var answer answer
	for _, s := range statements {
		if answer = c.forward(r.Context(), settings, s, rows); answer.status != http.StatusOK {
			break
		}
	}
	answer.write(w)
}

// alone returns what one server can do of a statement to the server of a shard.
func (c *Cluster) alone(text string, shard int) string {
	if strings.HasPrefix(text, "SYSTEM SYNC REPLICA ") {
		return "SELECT 1"
	}
	text = strings.ReplaceAll(text, " ON CLUSTER '"+c.Name+"'", "")
	text = replicated.ReplaceAllString(text, "ENGINE = $1(")
	text = strings.ReplaceAll(text, "SELECT name, engine FROM system.tables", "SELECT name, concat('Replicated', engine) AS engine FROM system.tables")
	text = strings.ReplaceAll(text, "FROM system.clusters", fmt.Sprintf("FROM (SELECT number AS shard_num, '%s' AS cluster FROM numbers(%d))", c.Name, c.shards))
	text = strings.ReplaceAll(text, "getMacro('shard')", fmt.Sprintf("'%d'", shard))
	if c.shards == 1 {
		return text
	}
	text = distributed.ReplaceAllString(text, "ENGINE = Merge(REGEXP('^"+c.Database+"_s[0-9]+$$'), '^$1$$')")
	for _, prefix := range []string{"local_", "minute_states_of_"} {
		text = strings.ReplaceAll(text, c.Database+"."+prefix, c.of(shard)+"."+prefix)
		if strings.Contains(text, "FROM system.") && strings.Contains(text, "'"+prefix) {
			text = strings.ReplaceAll(text, "'"+c.Database+"'", "'"+c.of(shard)+"'")
		}
	}
	return text
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) write(w http.ResponseWriter) {
	for _, name := range []string{"X-ClickHouse-Exception-Code", "Content-Type"} {
		if v := a.header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// forward asks the engine.
func (c *Cluster) forward(ctx context.Context, settings url.Values, text string, rows []byte) answer {
	body := []byte(text)
	query := url.Values{}
	maps.Copy(query, settings)
	if rows != nil {
		query.Set("query", text)
		body = rows
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+Addr()+"/?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return answer{status: http.StatusBadGateway, body: []byte(err.Error())}
	}
	resp, err := http.DefaultClient.Do(r) //nolint:gosec // the engine of the tests, asked what they ask
	if err != nil {
		return answer{status: http.StatusBadGateway, body: []byte(err.Error())}
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{status: http.StatusBadGateway, body: []byte(err.Error())}
	}
	return answer{resp.StatusCode, resp.Header, content}
}
