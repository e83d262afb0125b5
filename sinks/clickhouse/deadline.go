package clickhouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
// has died. So each bears a lease, from A, the server's time at its announcement, to a deadline
// D: the server reads its own clock at a time c, and refuses the insert unless
// A - clockSlack <= c <= D. It reads the clock while it plans the query, and the
// query is in system.processes from before that until its rows are visible or it has failed.
// Whoever replays waits, at each server, until the server's clock shows w > D, then reads
// system.processes, then waits until none of the inserts that it has found there is there
// any more, and only then looks for rows. An insert that is not refused has c <= D < w: it
// was in system.processes when that was read, or was over. Either way it is over when rows
// are looked for. No clock but the server's own matters, and each only against itself.
//
// That needs a clock that is not set back by more than the lease, between the time of w and
// the arrival of an insert. Where it was ahead at the announcement and is right by
// now, D is a time that comes much later, and is not waited for: as long as the clock shows
// w < A - clockSlack, no insert of the lease begins. One that has begun was begun
// before the clock was set back: it is in system.processes, or over. So it is enough that the
// server shows such a time for as long as the lease was to last, by the clock of whoever
// waits, and then what is said above. What is left is an insert that is on its way for as long
// as the clock was ahead, an hour or more perhaps, while connections are given up after
// minutes. A clock that was ahead by less than clockSlack is waited for.
//
// Servers may differ by less than clockSlack and the lease: A is of one of them.
//
// A client that waits no longer for an answer is one more that has got an error: its insert
// may run on, and is awaited like any other.
//
// For replicas and shards, see cluster.go.
//
// The check is made once and not for each block: a slow body is no reason to refuse.
//
// An exception that the server has answered with needs no wait for D: that insert was in
// system.processes when it failed, and is refused or over. The rows of its first table may
// be stored all the same, without those of a view.

const (
	// repairLease is for statements that no recorder has announced: repairs when a recorder starts.
	repairLease = 15 * time.Second
	// clockSlack is how far behind the announcement of an insert the clock of a server may be.
	clockSlack = 10 * time.Second
	// longWait is a wait that is worth a word.
	longWait = time.Second
	// clockPoll bounds the time between two looks at a clock that is waited for.
	clockPoll = time.Second
)

// qualified returns the name that every statement calls the table by.
func (c *Client) qualified(table string) string { return c.storage.Database + "." + table }

// whileLeased is a condition that is always true, or fails the query.
func whileLeased(lease schemas.Lease) string {
	return "throwIf(now64(6) > " + schemas.MicrosSQL(lease.Deadline.UnixMicro()) + ", 'the deadline of this insert has passed') = 0 AND " +
		"throwIf(now64(6) < " + schemas.MicrosSQL(lease.Announced.Add(-clockSlack).UnixMicro()) + ", 'the clock of this server is behind the announcement of this insert') = 0"
}

// Columns is the part of an INSERT of Arrow rows that names their columns: the list and the
// structure, which are the same, but where values are made of the columns of the rows.
type Columns struct{ list, structure, values string }

// Column is a column of an INSERT, as the rows have it and, unless Value is "", with the expression
// of what is stored.
type Column struct{ Name, Type, Value string }

// ColumnsOfValues returns the columns of rows of which expressions are stored.
func ColumnsOfValues(columns []Column) Columns {
	var names, types, values []string
	for _, c := range columns {
		name := "`" + c.Name + "`"
		names = append(names, name)
		types = append(types, name+" "+strings.ReplaceAll(c.Type, "'", `\'`))
		values = append(values, cmp.Or(c.Value, name))
	}
	return Columns{strings.Join(names, ", "), strings.Join(types, ", "), strings.Join(values, ", ")}
}

// ColumnsOf returns the columns of an Arrow schema. Binaries are texts of any bytes, and a map
// is one from texts to texts; a type that no column of a table has is an error.
func ColumnsOf(schema *arrow.Schema) (Columns, error) {
	var s Columns
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
				return Columns{}, err
			}
		}
		if i > 0 {
			s.list += ", "
			s.structure += ", "
		}
		s.list += "`" + f.Name + "`"
		s.structure += "`" + f.Name + "` " + typ
	}
	s.structure = strings.ReplaceAll(s.structure, "'", `\'`)
	return s, nil
}

// statement returns the INSERT for the columns, with its rows as an Arrow stream behind it.
func (s Columns) statement(table string, lease schemas.Lease) string {
	return "INSERT INTO " + table + " (" + s.list + ") SELECT " + cmp.Or(s.values, "*") + " FROM input('" + s.structure + "') WHERE " +
		whileLeased(lease) + " FORMAT ArrowStream"
}

// leasedRows returns the INSERT of rows of those columns, which are quoted, with the rows in Native format behind it.
func (c *Client) leasedRows(ctx context.Context, table string, columns []string, lease schemas.Lease) (string, error) {
	types, err := c.columnTypes(ctx, table)
	if err != nil {
		return "", err
	}
	var structure strings.Builder
	for i, name := range columns {
		typ, ok := types[strings.Trim(name, "`")]
		if !ok {
			return "", fmt.Errorf("the table has no column %s", name)
		}
		if i > 0 {
			structure.WriteString(", ")
		}
		structure.WriteString(name + " " + typ)
	}
	return "INSERT INTO " + c.qualified(table) + " (" + strings.Join(columns, ", ") + ") SELECT * FROM input('" +
		strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(structure.String()) + "') WHERE " + whileLeased(lease) + " FORMAT Native", nil
}

// statementKey is of the statement that takes the place of the plain INSERT; see transport.
type statementKey struct{}

// Now returns the time by the clock of the server that answers.
func (c *Client) Now(ctx context.Context) (time.Time, error) { return c.now(ctx, c.conn) }

func (c *Client) now(ctx context.Context, conn driver.Conn) (at time.Time, err error) {
	err = within(ctx, c.answerTimeout, func(ctx context.Context) error {
		return c.told(conn.QueryRow(ctx, "SELECT now64(6, 'UTC') AS at").Scan(&at))
	})
	if err != nil {
		return at, fmt.Errorf("read the clock of clickhouse: %w", err)
	}
	return at, nil
}

// AwaitLease waits until no server takes an insert of the lease any more. A server that is
// away is waited for: who knows what still reaches it. say is told of what makes the wait a
// strange one, and nil when it ends; a goroutine for each server calls it.
func (c *Client) AwaitLease(ctx context.Context, lease schemas.Lease, say func(error)) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, conn := range c.servers {
		g.Go(func() error { return c.awaitLeaseAt(ctx, i, conn, lease, say) }) // ends with its wait, or ctx
	}
	return g.Wait()
}

func (c *Client) awaitLeaseAt(ctx context.Context, server int, conn driver.Conn, lease schemas.Lease, say func(error)) error {
	var behind time.Time // since when the clock was seen behind the announcement
	for polls := 0; ; polls++ {
		at, err := c.now(ctx, conn)
		if err != nil {
			return fmt.Errorf("%s: %w", c.fleet.addresses[server], err)
		}
		wait := lease.Deadline.Sub(at) + time.Millisecond
		switch {
		case at.After(lease.Deadline):
			return nil
		case at.Before(lease.Announced.Add(-clockSlack)):
			if behind.IsZero() {
				behind = time.Now()
				err := fmt.Errorf("the clock of clickhouse at %s shows %s, and inserts were announced there at %s: it was ahead then, or is behind now; "+
					"nothing is stored for %s, in which it must not be set forward again", c.fleet.addresses[server], rfc3339(at), rfc3339(lease.Announced), lease.Span())
				c.log.Warn().Err(err).Msg("waiting until inserts that were announced are given up")
				say(err)
				defer say(nil)
			}
			if wait = lease.Span() - time.Since(behind); wait <= 0 {
				return nil
			}
		default:
			behind = time.Time{}
			if polls == 0 && wait > longWait {
				c.log.Info().Stringer("server", c.fleet.addresses[server]).Dur("for", wait).Time("until", lease.Deadline).Msg("waiting until inserts that were announced are refused")
			}
		}
		timer := time.NewTimer(min(wait, clockPoll))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait until inserts of an earlier try are refused: %w", context.Cause(ctx))
		}
	}
}

func rfc3339(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// insertsPoll is how often AwaitInserts looks.
const insertsPoll = 50 * time.Millisecond

// AwaitInserts waits until none of the inserts into the table that run now, on any server,
// runs any more, or ctx ends. Inserts that begin later, which other recorders may send all
// the time, are not waited for.
func (c *Client) AwaitInserts(ctx context.Context, table string) error {
	t, err := c.topology(ctx)
	if err != nil {
		return err
	}
	local, processes := t.layout.LocalTable(table), "system.processes"
	if t.layout.Replicating || t.layout.Shared { // an address may stand for several servers
		processes = "clusterAllReplicas('" + t.layout.Cluster + "', system.processes)"
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, conn := range c.servers {
		g.Go(func() error { return c.awaitInsertsAt(ctx, conn, processes, local) }) // ends with its wait, or ctx
	}
	return g.Wait()
}

func (c *Client) awaitInsertsAt(ctx context.Context, conn driver.Conn, processes, table string) error {
	var before map[string]bool // by query id
	for polls := 0; ; polls++ {
		var running []struct {
			ID string `ch:"query_id"`
		}
		err := within(ctx, c.answerTimeout, func(ctx context.Context) error {
			return c.told(conn.Select(ctx, &running, "SELECT query_id FROM "+processes+" WHERE query_kind = 'Insert' AND position(query, ?) > 0", c.qualified(table)))
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

// Answered tells whether an error is one that the server itself has answered a query with: what
// was asked of it is over.
func Answered(err error) bool {
	var e *ch.Exception
	return errors.As(err, &e)
}
