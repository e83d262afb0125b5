package schemas

import (
	"fmt"
	"regexp"
	"strings"
)

// Layout says how the tables of a database lie on a cluster of ClickHouse. The statements of this
// package make the tables of one server; On turns each into what the cluster wants. The zero
// Layout leaves them as they are.
type Layout struct {
	Cluster string // of the server's remote_servers; "" is one server
	// Sharded says that the rows of observations, and their minute states, are spread over the
	// shards of the cluster. Each shard has them in a table of its own, whose name LocalTable
	// returns, and the table that is read is a Distributed one. All other tables are small, and
	// every server of every shard has all of their rows, so that they can be joined with.
	Sharded bool
	// Replicating says that the database itself hands statements and names of replicas on to its
	// replicas, as with ENGINE = Replicated: neither stands in the statements.
	Replicating bool
	// Shared says that the servers share their tables by themselves, as in ClickHouse Cloud.
	Shared bool
}

// localPrefix begins the names of the tables that one shard has.
const localPrefix = "local_"

// isSharded tells whether the rows of a table are spread over the shards, where there are some.
func isSharded(table string) bool {
	return table == "minute_states" || strings.HasPrefix(table, ObservationsTable(""))
}

// Spread tells whether the rows of a table are spread over shards.
func (l Layout) Spread(table string) bool { return l.Sharded && isSharded(table) }

// LocalTable returns the table in which the rows of a table lie.
func (l Layout) LocalTable(table string) string {
	if l.Spread(table) {
		return localPrefix + table
	}
	return table
}

// onCluster is what follows a table's name in a statement for all servers.
func (l Layout) onCluster() string {
	if l.Cluster == "" || l.Replicating || l.Shared {
		return ""
	}
	return " ON CLUSTER '" + l.Cluster + "'"
}

var (
	// definition is the head of a statement that defines something; what stands before are comments.
	definition = regexp.MustCompile(`(?m)^(CREATE TABLE IF NOT EXISTS|CREATE OR REPLACE VIEW|CREATE MATERIALIZED VIEW IF NOT EXISTS|ALTER TABLE|CREATE DATABASE IF NOT EXISTS|RENAME TABLE|DROP TABLE IF EXISTS) ([A-Za-z0-9_]+)(?:\.([A-Za-z0-9_]+))?`)
	// engine is the clause of a table that is made.
	engineClause = regexp.MustCompile(`(?m)^ENGINE = ((?:Replacing|Aggregating)?MergeTree)(?:\(([^)]*)\))?`)
)

// On returns a statement that defines a table, a view or a database, for this layout. Any other
// statement, such as an INSERT, stays as it is.
func (l Layout) On(statement string) string {
	if l.Cluster == "" || l.Shared {
		return statement
	}
	at := definition.FindStringSubmatchIndex(statement)
	if at == nil {
		return statement
	}
	verb, database := statement[at[2]:at[3]], statement[at[4]:at[5]]
	head, rest := statement[:at[0]]+verb+" "+database, statement[at[1]:]
	if at[6] < 0 { // the database itself
		return head + l.onCluster() + rest
	}
	table := statement[at[6]:at[7]]
	local := l.LocalTable(table)
	if verb == "CREATE TABLE IF NOT EXISTS" {
		rest = l.replicated(rest, database, table)
	}
	if verb == "CREATE MATERIALIZED VIEW IF NOT EXISTS" || verb == "ALTER TABLE" && strings.HasPrefix(table, MinuteViewName("")) {
		rest = l.ofLocal(rest, database)
	}
	return head + "." + local + l.onCluster() + rest
}

// ofLocal has the definition of a materialised view read and write the tables of its own shard:
// it gets the rows that are inserted there.
func (l Layout) ofLocal(definition, database string) string {
	if !l.Sharded {
		return definition
	}
	definition = strings.ReplaceAll(definition, "TO "+database+".minute_states ", "TO "+database+"."+localPrefix+"minute_states ")
	return strings.ReplaceAll(definition, "FROM "+database+"."+ObservationsTable(""), "FROM "+database+"."+localPrefix+ObservationsTable(""))
}

// replicated puts the replicated engine in the place of a table's own. The path in Keeper names
// the table, and not an id that is made with it: a server that is added later, on which the
// statement is run, joins the others.
func (l Layout) replicated(text, database, table string) string {
	at := engineClause.FindStringSubmatchIndex(text)
	if at == nil {
		return text
	}
	engine, args := text[at[2]:at[3]], ""
	if at[4] >= 0 {
		args = text[at[4]:at[5]]
	}
	path := "'/clickhouse/tables/{shard}/" + database + "/" + l.LocalTable(table) + "', '{replica}'"
	if l.Sharded && !isSharded(table) {
		path = "'/clickhouse/tables/all/" + database + "/" + table + "', '{shard}-{replica}'"
	}
	switch {
	case l.Replicating && args == "":
		path = ""
	case l.Replicating:
		path = args
	case args != "":
		path += ", " + args
	}
	if path != "" {
		path = "(" + path + ")"
	}
	return text[:at[0]] + "ENGINE = Replicated" + engine + path + text[at[1]:]
}

// DistributedDDL returns the statement that makes the table which is read of the one that each
// shard has. Rows are not inserted through it.
func (l Layout) DistributedDDL(database, table string) string {
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %[1]s.%[2]s%[3]s AS %[1]s.%[4]s\nENGINE = Distributed('%[5]s', '%[1]s', '%[4]s')",
		database, table, l.onCluster(), l.LocalTable(table), l.Cluster)
}

// AlterDistributed returns an ALTER of the table that DistributedDDL makes.
func (l Layout) AlterDistributed(database, table, alter string) string {
	return "ALTER TABLE " + database + "." + table + l.onCluster() + " " + alter
}
