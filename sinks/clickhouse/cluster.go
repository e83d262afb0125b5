package clickhouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/millrace/millrace/schemas"
)

// Why what deadline.go says holds for replicas, too. What is meant is: after a try has ended
// somehow, whoever replays finds each row that the tries before it have stored or will store.
//
// An insert goes to one server, and is in that server's system.processes until its part is in
// Keeper's log of the table, on that server and on as many others as insert_quorum wants, or
// until it has failed. The lease is checked by the clock of that server. So a replay waits for
// the clock and the running inserts of every server that clickhouse.addr names; it must name
// all, and a server that is away is waited for. An insert that ended without an answer may have
// its part in the log, or not, but nothing decides that later: where the server lost Keeper in
// the middle (error 319), it asks Keeper what became of the part, and until then only that
// server shows the rows; it sets them aside as unexpected where Keeper does not have them, which
// the keeper of the recorder sees, and compares what was stored then with Kafka's log.
//
// When all inserts are over, the rows are looked for on one replica of each shard, after SYSTEM
// SYNC REPLICA … LIGHTWEIGHT there: it reads Keeper's log to its end and waits until each part of
// it has arrived. So that replica has all rows that any has. The look and the wait are
// of the same server: a Site.
//
// insert_quorum is what a crash of a server for good costs nothing by: rows whose offsets are
// committed lie on most replicas. An insert that fails since too few have its part leaves the part
// where it is; so a replay, which would pass over its rows, waits first until as many servers as the
// quorum has have caught up, too (SettledSitesOf). Two inserts may be under way at the same time
// (insert_quorum_parallel), for which select_sequential_consistency has no meaning; hence SYSTEM
// SYNC REPLICA. Nothing is deduplicated by blocks (insert_deduplicate): a block that was deleted
// and is inserted again, as in a repair of minutes, is not a repetition.
//
// Shards: a row's shard is the one that its insert went to, in turn. An observation record is
// part of one insert, so its rows lie on one shard with the minutes that a view makes
// of them there. A replay looks on all shards, and stores what is missing wherever its turn is.

// clusterSettings are sent with every query to a cluster.
func clusterSettings(quorum string) ch.Settings {
	if quorum == "" {
		quorum = "auto"
	}
	return ch.Settings{
		"insert_quorum":          quorum,
		"insert_quorum_parallel": 1,
		"insert_quorum_timeout":  60_000, // milliseconds
		"insert_deduplicate":     0,
		// A server that is away runs a statement ON CLUSTER when it is back.
		"distributed_ddl_output_mode":  "throw_only_active",
		"distributed_ddl_task_timeout": 120, // seconds
		"distributed_product_mode":     "global",
	}
}

// topology is how the tables lie on the servers.
type topology struct {
	layout schemas.Layout
	shards []*shard
}

// shard is servers that have the same rows, once they have caught up with each other.
type shard struct {
	fleet   *fleet
	conn    driver.Conn // to the server in use
	servers []int       // of the client, in the order of fleet's addresses
}

// clustered is what a client knows of its cluster.
type clustered struct {
	mu    sync.Mutex
	known *topology
	turn  atomic.Uint64 // of shards that inserts go to
	// caught is the server, counted from 1, whose small tables have caught up; 0: none.
	caught atomic.Int64
}

// topology returns how the tables lie; it is asked for once.
func (c *Client) topology(ctx context.Context) (*topology, error) {
	c.cluster.mu.Lock()
	defer c.cluster.mu.Unlock()
	if c.cluster.known != nil {
		return c.cluster.known, nil
	}
	all := &shard{fleet: c.fleet, conn: c.conn}
	for i := range c.servers {
		all.servers = append(all.servers, i)
	}
	t := &topology{layout: schemas.Layout{Cluster: c.storage.Cluster}, shards: []*shard{all}}
	if c.storage.Cluster != "" {
		if err := c.discover(ctx, t); err != nil {
			return nil, fmt.Errorf("clickhouse.cluster: %w", err)
		}
	}
	c.cluster.known = t
	return t, nil
}

// discover asks what kind of cluster it is.
func (c *Client) discover(ctx context.Context, t *topology) error {
	var about []struct {
		Shards uint64   `ch:"shards"`
		Others []string `ch:"others"`
		Engine string   `ch:"engine"`
	}
	err := c.askFirst(ctx, &about, "SELECT uniqExactIf(shard_num, cluster = ?) AS shards, groupUniqArray(toString(cluster)) AS others, "+
		"toString((SELECT any(engine) FROM system.databases WHERE name = ?)) AS engine FROM system.clusters", c.storage.Cluster, c.storage.Database)
	if err != nil || len(about) != 1 {
		return fmt.Errorf("ask about cluster %s: %w", c.storage.Cluster, err)
	}
	a := about[0]
	if a.Shards == 0 {
		slices.Sort(a.Others)
		return fmt.Errorf("the server knows no cluster %s; there are: %s", c.storage.Cluster, cmp.Or(strings.Join(a.Others, ", "), "none"))
	}
	t.layout.Sharded, t.layout.Replicating, t.layout.Shared = a.Shards > 1, a.Engine == "Replicated", a.Engine == "Shared"
	switch {
	case t.layout.Shared:
		t.layout.Sharded = false // there every server has all rows
		return nil
	case !t.layout.Sharded:
		return nil
	case t.layout.Replicating:
		return fmt.Errorf("database %s has the engine Replicated, and cluster %s has %d shards: make the database with the engine Atomic, or name a cluster of one shard", c.storage.Database, c.storage.Cluster, a.Shards)
	}
	return c.groupByShard(ctx, t, a.Shards)
}

// askFirst is Ask for what is asked before it is known that the tables are those of a cluster.
func (c *Client) askFirst(ctx context.Context, dest any, query string, args ...any) error {
	return within(ctx, c.answerTimeout, func(ctx context.Context) error {
		if err := c.conn.Select(ctx, dest, query, args...); err != nil {
			return about(query, c.told(err))
		}
		return nil
	})
}

// groupByShard finds out which server is of which shard, by the macro that names of replicas are
// made with. A server that does not answer is left out.
func (c *Client) groupByShard(ctx context.Context, t *topology, shards uint64) error {
	of := map[string]*shard{}
	var names []string
	var away []error
	for i, conn := range c.servers {
		var macro []struct {
			Shard string `ch:"shard"`
		}
		err := within(ctx, c.answerTimeout, func(ctx context.Context) error {
			return c.told(conn.Select(ctx, &macro, "SELECT getMacro('shard') AS shard"))
		})
		if err != nil && Answered(err) {
			return fmt.Errorf("each server needs the macros shard and replica: %s: %w", c.fleet.addresses[i], err)
		}
		if err != nil || len(macro) != 1 {
			away = append(away, fmt.Errorf("%s: %w", c.fleet.addresses[i], err))
			continue
		}
		s := of[macro[0].Shard]
		if s == nil {
			s = &shard{fleet: c.fleet.of(nil)}
			of[macro[0].Shard] = s
			names = append(names, macro[0].Shard)
		}
		s.fleet.addresses = append(s.fleet.addresses, c.fleet.addresses[i])
		s.servers = append(s.servers, i)
	}
	if uint64(len(of)) != shards {
		return errors.Join(append(away, fmt.Errorf("clickhouse.addr names servers of %d of the %d shards of cluster %s: name all servers", len(of), shards, c.storage.Cluster))...)
	}
	slices.Sort(names)
	t.shards = nil
	for _, name := range names {
		s := of[name]
		var err error
		if s.conn, err = c.dial(s.fleet, -1, 8); err != nil {
			return err
		}
		c.extra = append(c.extra, s.conn)
		t.shards = append(t.shards, s)
	}
	return nil
}

// Local returns the name of the table in which the rows of a table lie, for statements to Sites.
func (c *Client) Local(ctx context.Context, table string) (string, error) {
	t, err := c.topology(ctx)
	if err != nil {
		return "", err
	}
	return t.layout.LocalTable(table), nil
}

// intoShard returns the connection that an insert into a table goes through, and the table.
func (c *Client) intoShard(ctx context.Context, table string) (driver.Conn, string, error) {
	t, err := c.topology(ctx)
	if err != nil {
		return nil, "", err
	}
	s := t.shards[0]
	if t.layout.Spread(table) {
		s = t.shards[c.cluster.turn.Add(1)%uint64(len(t.shards))]
	}
	return s.conn, t.layout.LocalTable(table), nil
}

// define runs a statement that defines a table or a view, on all servers of a cluster, again if
// another process ran it at the same time.
func (c *Client) define(ctx context.Context, statement string) error {
	t, err := c.topology(ctx)
	if err != nil {
		return err
	}
	return c.execRacing(ended(ctx), t.layout.On(statement))
}

// ended has a server answer when the statement has ended. ON CLUSTER it answers with what each server
// says, and an exception may follow the first of these words, behind a status of 200, where
// clickhouse-go does not look for it.
func ended(ctx context.Context) context.Context {
	return ch.Context(ctx, ch.WithSettings(ch.Settings{"wait_end_of_query": 1}))
}

// Site is one server of a shard, for statements that belong together: without a cluster,
// whichever server is in use. It is used while the shard's tables are.
type Site struct {
	client *Client
	shard  *shard
	server int // of the shard; -1: the one in use
	conn   driver.Conn
}

// Sites returns a server for each shard that has rows of the table, one where all servers have
// them all. Each has all rows that any server of its shard had, in the tables that are named:
// it has caught up.
func (c *Client) Sites(ctx context.Context, table string, others ...string) ([]Site, error) {
	t, err := c.topology(ctx)
	if err != nil {
		return nil, err
	}
	shards := t.shards
	if !t.layout.Spread(table) {
		shards = shards[:1]
	}
	sites := make([]Site, len(shards))
	for i, s := range shards {
		sites[i] = Site{c, s, -1, s.conn}
		if c.storage.Cluster == "" || t.layout.Shared {
			continue
		}
		server := int(s.fleet.used.Load())
		sites[i].server, sites[i].conn = server, c.servers[s.servers[server]]
		for _, name := range append([]string{table}, others...) {
			if err := sites[i].catchUp(ctx, t.layout.LocalTable(name)); err != nil {
				return nil, err
			}
		}
	}
	return sites, nil
}

// SitesOf returns the Sites of a table, and its name in statements to them.
func (c *Client) SitesOf(ctx context.Context, table string) ([]Site, string, error) {
	local, err := c.Local(ctx, table)
	if err != nil {
		return nil, "", err
	}
	sites, err := c.Sites(ctx, table)
	return sites, c.qualified(local), err
}

// SettledSitesOf is SitesOf for who is to pass over what is stored: as many servers of each shard as
// insert_quorum wants have all rows that the Site has. A row of an insert that failed since too few had
// it counts as stored only then.
func (c *Client) SettledSitesOf(ctx context.Context, table string) ([]Site, string, error) {
	sites, name, err := c.SitesOf(ctx, table)
	if err != nil {
		return nil, "", err
	}
	local, err := c.Local(ctx, table)
	if err != nil {
		return nil, "", err
	}
	for _, s := range sites {
		if s.server < 0 {
			continue
		}
		if err := s.settle(ctx, local); err != nil {
			return nil, "", err
		}
	}
	return sites, name, nil
}

// settle waits until enough servers have caught up, beside this one.
func (s Site) settle(ctx context.Context, local string) error {
	servers := len(s.shard.servers)
	want := servers/2 + 1
	if n, err := strconv.Atoi(s.client.storage.Quorum); err == nil {
		want = min(n, servers) // an address may stand for several
	}
	have := 1
	var away []error
	for k := 1; k < servers && have < want; k++ {
		server := (s.server + k) % servers
		other := Site{s.client, s.shard, server, s.client.servers[s.shard.servers[server]]}
		if err := other.catchUp(ctx, local); err != nil {
			away = append(away, err)
			continue
		}
		have++
	}
	if have < want {
		return fmt.Errorf("rows of %s lie on %d of the %d servers that clickhouse.insert_quorum wants: %w", local, have, want, errors.Join(away...))
	}
	return nil
}

// catchUp waits until the server has all parts of a table that are in Keeper's log.
func (s Site) catchUp(ctx context.Context, local string) error {
	err := within(ctx, s.client.insertTimeout, func(ctx context.Context) error {
		return s.failed(s.conn.Exec(ctx, "SYSTEM SYNC REPLICA "+s.client.qualified(local)+" LIGHTWEIGHT"))
	})
	switch exceptionCode(err) {
	case codeUnknownTable:
		return nil // nor has any other server: statements ON CLUSTER are run on all that are there
	case codeReadonly:
		return nil // who stores nothing may read what there is
	}
	if err != nil {
		return fmt.Errorf("wait until %s has all rows of %s: %w", s.shard.fleet.addresses[s.server], local, err)
	}
	return nil
}

// failed has another server used the next time, unless this one has answered with an exception that
// any would answer with.
func (s Site) failed(err error) error {
	if err != nil && s.server >= 0 && (!Answered(err) || s.shard.fleet.ofOneServer(exceptionCode(err))) {
		s.shard.fleet.failed(s.server, err)
	}
	return s.client.told(err)
}

// Ask runs a query that is answered soon; see Client.Ask.
func (s Site) Ask(ctx context.Context, dest any, query string, args ...any) error {
	return within(ctx, s.client.answerTimeout, func(ctx context.Context) error { return s.Select(ctx, dest, query, args...) })
}

// Select runs a query; see Client.Select.
func (s Site) Select(ctx context.Context, dest any, query string, args ...any) error {
	if err := s.failed(s.conn.Select(s.client.sequential(ctx), dest, query, args...)); err != nil {
		return about(query, err)
	}
	return nil
}

// Exec runs a statement that returns no rows; see Client.Exec.
func (s Site) Exec(ctx context.Context, statement string, args ...any) error {
	if err := s.failed(s.conn.Exec(ctx, statement, args...)); err != nil {
		return about(statement, err)
	}
	return nil
}

// DeleteSync is what a lightweight DELETE sets, so that it is done when it is answered: on this
// server, where there are replicas, of which others may be away.
func (c *Client) DeleteSync() string {
	if c.storage.Cluster != "" {
		return " SETTINGS lightweight_deletes_sync = 1"
	}
	return " SETTINGS lightweight_deletes_sync = 2"
}

// sequential has servers that share their tables read what all of them have stored.
func (c *Client) sequential(ctx context.Context) context.Context {
	c.cluster.mu.Lock()
	shared := c.cluster.known != nil && c.cluster.known.layout.Shared
	c.cluster.mu.Unlock()
	if !shared {
		return ctx
	}
	return ch.Context(ctx, ch.WithSettings(ch.Settings{"select_sequential_consistency": 1}))
}

// caughtUp waits, when the server in use is another one than before, or something was written
// since, until it has what others have written to the small tables through other servers: what a
// monitor has noted, it must find again, and of what two have written, both must find the first.
func (c *Client) caughtUp(ctx context.Context) error {
	if c.storage.Cluster == "" {
		return nil
	}
	used := c.fleet.used.Load()
	if c.cluster.caught.Load() == used+1 {
		return nil
	}
	t, err := c.topology(ctx)
	if err != nil {
		return err
	}
	if !t.layout.Shared {
		site := Site{c, &shard{fleet: c.fleet}, int(used), c.servers[used]}
		for _, table := range kept {
			if err := site.catchUp(ctx, table); err != nil {
				return err
			}
		}
	}
	c.cluster.caught.Store(used + 1)
	return nil
}

// checkReplicated refuses tables that are of another kind than the configuration says.
func (c *Client) checkReplicated(ctx context.Context, t *topology) error {
	var tables []struct {
		Name   string `ch:"name"`
		Engine string `ch:"engine"`
	}
	if err := c.askFirst(ctx, &tables, "SELECT name, engine FROM system.tables WHERE database = ? AND endsWith(engine, 'MergeTree') ORDER BY name", c.storage.Database); err != nil {
		return err
	}
	for _, table := range tables {
		replicated := strings.HasPrefix(table.Engine, "Replicated") || strings.HasPrefix(table.Engine, "Shared")
		switch {
		case c.storage.Cluster != "" && !replicated:
			return fmt.Errorf("clickhouse.cluster is %s, and table %s is there and is no replicated one (%s): give clickhouse.database and recorder.group other names, so that what Kafka has is stored there, and bring older rows there by the steps in deploy/README.md, ClickHouse: clusters",
				c.storage.Cluster, c.qualified(table.Name), table.Engine)
		case c.storage.Cluster != "" && isObservations(table.Name) && t.layout.Sharded:
			return fmt.Errorf("cluster %s has several shards, and the tables of database %s were made for one: give clickhouse.database and recorder.group other names, so that what Kafka has is stored there, and bring older rows there by the steps in deploy/README.md, ClickHouse: clusters", c.storage.Cluster, c.storage.Database)
		case c.storage.Cluster == "" && strings.HasPrefix(table.Engine, "Replicated"):
			c.plain.Do(func() {
				c.log.Warn().Str("table", table.Name).Msg("tables are replicated, and clickhouse.cluster is not set: new tables are made on one server alone, and what replicas need is not sent")
			})
		}
	}
	return nil
}

func isObservations(table string) bool {
	return strings.HasPrefix(table, schemas.ObservationsTable(""))
}

// alignDistributed makes the tables that are read of those that each shard has, and gives them
// their columns; with a table, of that one.
func (c *Client) alignDistributed(ctx context.Context, only ...string) error {
	t, err := c.topology(ctx)
	if err != nil || !t.layout.Sharded {
		return err
	}
	tables := only
	if len(only) == 0 {
		var found []struct {
			Name string `ch:"name"`
		}
		if err := c.Ask(ctx, &found, "SELECT name FROM system.tables WHERE database = ? AND startsWith(name, ?) AND endsWith(engine, 'MergeTree') ORDER BY name",
			c.storage.Database, t.layout.LocalTable(schemas.ObservationsTable(""))); err != nil {
			return err
		}
		tables = []string{"minute_states"}
		prefix := strings.TrimSuffix(t.layout.LocalTable(schemas.ObservationsTable("")), schemas.ObservationsTable(""))
		for _, f := range found {
			tables = append(tables, strings.TrimPrefix(f.Name, prefix))
		}
	}
	for _, table := range tables {
		if err := c.distribute(ctx, t, table); err != nil {
			return fmt.Errorf("table %s, by which all shards are read: %w", table, err)
		}
	}
	return nil
}

func (c *Client) distribute(ctx context.Context, t *topology, table string) error {
	local, err := c.columnTypes(ctx, t.layout.LocalTable(table))
	if err != nil || len(local) == 0 {
		return err
	}
	have, err := c.columnTypes(ctx, table)
	if err != nil {
		return err
	}
	if len(have) == 0 {
		return c.execRacing(ended(ctx), t.layout.DistributedDDL(c.storage.Database, table))
	}
	var changes []string
	for name, typ := range local {
		switch have[name] {
		case typ:
		case "":
			changes = append(changes, "ADD COLUMN IF NOT EXISTS `"+name+"` "+typ)
		default:
			changes = append(changes, "MODIFY COLUMN `"+name+"` "+typ)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	slices.Sort(changes)
	return c.execRacing(ended(ctx), t.layout.AlterDistributed(c.storage.Database, table, strings.Join(changes, ", ")))
}
