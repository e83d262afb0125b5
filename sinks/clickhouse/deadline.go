package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/apache/arrow/go/v15/arrow"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/schemas"
)

// Why a replay finds every row that the tries before it have stored or will ever store.
//
// An insert may reach the server long after its client has got an error, was replaced or
// has died. So each bears a deadline D: the server reads its own clock at a time c, and
// refuses the insert unless c <= D. It reads the clock while it plans the query, and the
// query is in system.processes from before that until its rows are visible or it has failed.
// Whoever replays waits, at each server, until the server's clock shows w > D, then reads
// system.processes, then waits until none of the inserts that it has found there is there
// any more, and only then looks for rows. An insert that is not refused has c <= D < w: it
// was in system.processes when that was read, or was over. Either way it is over when rows
// are looked for. No clock but the server's own matters, and each only against itself. (It
// must not be set back by more than the lease.)
//
// A client that waits no longer for an answer is one more that has got an error: its insert
// may run on, and is awaited like any other.
//
// The check is made once and not for each block: a slow body is no reason to refuse.
//
// An exception that the server has answered with needs no wait for D: that insert was in
// system.processes when it failed, and is refused or over. The rows of its first table may
// be stored all the same, without those of a view.

// lease is for statements that no recorder has announced: repairs when a recorder starts.
const lease = 15 * time.Second

// qualified returns the name that every statement calls the table by.
func (c *Client) qualified(table string) string { return c.storage.Database + "." + table }

// beforeDeadline is a condition that is always true, or fails the query.
func beforeDeadline(deadline time.Time) string {
	return "throwIf(now64(6) > " + microsSQL(deadline.UnixMicro()) + ", 'the deadline of this insert has passed') = 0"
}

// source is the part of an INSERT of Arrow rows that names their columns: the list and the
// structure, which are the same.
type source struct{ columns, structure string }

func newSource(schema *arrow.Schema) (source, error) {
	var s source
	for i, f := range schema.Fields() {
		var typ string
		switch f.Type.ID() {
		case arrow.BINARY:
			typ = "String"
		case arrow.MAP:
			typ = "Map(String, String)"
		default:
			var err error
			if typ, err = schemas.ClickHouseType(f); err != nil {
				return source{}, err
			}
		}
		if i > 0 {
			s.columns += ", "
			s.structure += ", "
		}
		s.columns += "`" + f.Name + "`"
		s.structure += "`" + f.Name + "` " + typ
	}
	s.structure = strings.ReplaceAll(s.structure, "'", `\'`)
	return s, nil
}

// statement returns the INSERT for the columns, with its rows as an Arrow stream behind it.
func (s source) statement(table string, deadline time.Time) string {
	return "INSERT INTO " + table + " (" + s.columns + ") SELECT * FROM input('" + s.structure + "') WHERE " +
		beforeDeadline(deadline) + " FORMAT ArrowStream"
}

// statements puts the statement of the request's context in the place of the plain INSERT
// that clickhouse-go makes of each: it knows no INSERT … SELECT with rows behind it.
type statements struct {
	*http.Transport
	password func() (string, error) // see Options.PasswordFrom
}

type statementKey struct{}

// RoundTrip implements http.RoundTripper.
func (s statements) RoundTrip(r *http.Request) (*http.Response, error) {
	statement, ok := r.Context().Value(statementKey{}).(string)
	ok = ok && r.URL.Query().Has("query") // the first request of a connection has it in its body
	if !ok && s.password == nil {
		return s.Transport.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	if s.password != nil {
		password, err := s.password()
		if err != nil {
			return nil, errors.Join(err, closeBody(r))
		}
		// Servers refuse a request that has both of them.
		if name, _, ok := r.BasicAuth(); ok && password != "" {
			r.SetBasicAuth(name, password)
		} else if password != "" {
			r.Header.Set("X-ClickHouse-Key", password)
		}
	}
	if !ok {
		return s.Transport.RoundTrip(r)
	}
	query := r.URL.Query()
	query.Set("query", statement)
	r.URL.RawQuery = query.Encode()
	return s.Transport.RoundTrip(r)
}

// closeBody closes the body of a request that is not sent.
func closeBody(r *http.Request) error {
	if r.Body == nil {
		return nil
	}
	return r.Body.Close()
}

// Now returns the time by the clock of the server that answers.
func (c *Client) Now(ctx context.Context) (time.Time, error) { return c.now(ctx, c.conn) }

func (c *Client) now(ctx context.Context, conn driver.Conn) (at time.Time, err error) {
	err = within(ctx, c.answerTimeout, func(ctx context.Context) error {
		return conn.QueryRow(ctx, "SELECT now64(6, 'UTC') AS at").Scan(&at)
	})
	if err != nil {
		return at, fmt.Errorf("read the clock of clickhouse: %w", err)
	}
	return at, nil
}

// passed waits until the clock of every server has passed the deadline. A server that is
// away is waited for: who knows what still reaches it.
func (c *Client) passed(ctx context.Context, deadline time.Time) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, conn := range c.servers {
		g.Go(func() error {
			for {
				at, err := c.now(ctx, conn)
				if err != nil {
					return fmt.Errorf("%s: %w", c.addr[i], err)
				}
				if at.After(deadline) {
					return nil
				}
				timer := time.NewTimer(deadline.Sub(at) + time.Millisecond)
				select {
				case <-timer.C:
				case <-ctx.Done():
					timer.Stop()
					return fmt.Errorf("wait until inserts of an earlier try are refused: %w", context.Cause(ctx))
				}
			}
		})
	}
	return g.Wait()
}

// insertsPoll is how often awaitInserts looks.
const insertsPoll = 50 * time.Millisecond

// awaitInserts waits until none of the inserts into the table that run now, on any server,
// runs any more, or ctx ends. Inserts that begin later, which other recorders may send all
// the time, are not waited for.
func (c *Client) awaitInserts(ctx context.Context, table string) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, conn := range c.servers {
		g.Go(func() error { return c.awaitInsertsAt(ctx, conn, table) })
	}
	return g.Wait()
}

func (c *Client) awaitInsertsAt(ctx context.Context, conn driver.Conn, table string) error {
	var before map[string]bool // by query id
	for polls := 0; ; polls++ {
		var running []struct {
			ID string `ch:"query_id"`
		}
		err := within(ctx, c.answerTimeout, func(ctx context.Context) error {
			return conn.Select(ctx, &running, "SELECT query_id FROM system.processes WHERE query_kind = 'Insert' AND position(query, ?) > 0", c.qualified(table))
		})
		if err != nil {
			return fmt.Errorf("look for inserts into %s that still run: %w", table, err)
		}
		still := make(map[string]bool, len(running))
		for _, r := range running {
			if before == nil || before[r.ID] {
				still[r.ID] = true
			}
		}
		if len(still) == 0 {
			return nil
		}
		before = still
		if polls == 0 {
			c.log.Info().Str("table", table).Int("inserts", len(still)).Msg("waiting for inserts that still run")
		}
		select {
		case <-time.After(insertsPoll):
		case <-ctx.Done():
			return fmt.Errorf("wait for %d inserts into %s that still run: %w", len(still), table, context.Cause(ctx))
		}
	}
}

// answered tells whether an error is one that the server itself has answered a query with.
func answered(err error) bool {
	var e *ch.Exception
	return errors.As(err, &e)
}
