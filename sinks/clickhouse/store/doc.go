// Package store stores what millrace has observed in ClickHouse.
//
// Store takes Kafka records and stores each row exactly once: observation records as they are,
// several Arrow IPC streams spliced into one insert, and dead letters, feedback and events as
// columns built here. A Ledger compares what a table holds with the log that it came from.
//
// Exactly once rests on coordinates, not on deduplication tokens: a row is named by the
// Kafka coordinates that it came from, so that after an error or a crash the rows that are
// there already are found and left out. That none of them comes later is the client's part:
// see package clickhouse.
package store
