// Package chaos shows that every request has exactly one result and exactly one row in
// ClickHouse, whatever is killed, frozen, cut off or restarted.
//
// Run starts Kafka, ClickHouse, workers and recorders, each a process of its own, reached
// through TCP proxies. While requests flow, it does to them what a Plan says, which follows
// from a seed alone. Then it waits until everything is answered and stored, compares what the
// processes take at rest with what they took before the faults, ends them, waits for what
// could be stored late, reads all that is there and compares it with what was sent.
package chaos
