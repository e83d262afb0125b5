// Command chaos shows that every request has exactly one result and exactly one row in
// ClickHouse, whatever is killed, frozen, cut off or restarted, and whatever operators do.
//
// Run starts Kafka, ClickHouse, workers and recorders, each a process of its own, reached
// through TCP proxies. While requests flow, it does to them what a Plan says, which follows
// from a seed alone: first faults, which overlap, then incidents, one after the other, each
// with what an operator does to end it. After the faults it waits until everything is answered
// and stored, and compares what the processes take at rest with what they took before. After
// each incident it waits again, and demands that a role has said what it must: a refusal
// that nobody hears is as bad as none. Then it ends the processes, waits for what could be
// stored late, reads all that is there and compares it with what was sent.
package main
