// Package clickhouse is the client through which everything reads and writes in ClickHouse,
// and keeps the tables there.
//
// Client opens the connection, applies the migrations and keeps one observations table per
// model in step with the versions that are met. Each of its inserts bears a deadline that the
// server checks, so that none comes after somebody has looked for its rows: deadline.go has
// the argument. Minute statistics are fed by a materialised view, which can miss a block whose
// rows are stored; Reconcile compares the two and repairs.
//
// Package store, below, stores records exactly once by what is here, and package history reads.
package clickhouse
