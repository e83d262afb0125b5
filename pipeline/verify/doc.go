// Package verify compares what ClickHouse holds with what Kafka's log says that it must hold,
// by coordinates, and stores again what is missing.
//
// The log is the truth: what the recorder's group has committed as stored must be in the
// tables, each row once. Of the log only coordinates are kept, summed by pieces of offsets
// (store.Piece), and ClickHouse is asked for the same sums; rows are looked at in those
// pieces alone of which the sums differ. So the cost is that of reading the log once and of
// one query a table, and memory that of the pieces.
//
// A repair touches only what is committed as stored, which no recorder stores again, and one
// repair runs at a time: see consumers.Lease. It stores records by Store's replay, which looks
// for rows first, so that a repair that was killed is simply run again.
package verify
