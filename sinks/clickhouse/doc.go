// Package clickhouse stores what millrace has observed in ClickHouse, and is the client
// through which everything else reads and writes there.
//
// Client opens the connection, applies the migrations and keeps one observations table per
// model in step with the versions that are met. Store takes Kafka records and stores each
// row exactly once: observation records as they are, several Arrow IPC streams spliced into
// one insert, and dead letters, feedback and events as columns built here.
//
// Exactly once rests on coordinates, not on deduplication tokens: a row is named by the
// Kafka coordinates that it came from, so that after an error or a crash the rows that are
// there already are found and left out. Each insert bears a deadline that the server
// checks, so that none comes after the rows were looked for: deadline.go has the argument.
// Minute statistics are fed by a materialised view,
// which can miss a block whose rows are stored; Reconcile compares the two and repairs.
package clickhouse
