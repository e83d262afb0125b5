// Package consumers reads Kafka for the rest of millrace.
//
//   - A Lane is one group member. With exactly_once it is one transactional session, and goes
//     strictly round: poll, handle, end. What the handler publishes and the offsets of what it
//     was given commit together or not at all. With at_least_once several batches are on their
//     way, and the offsets of a batch commit when all that it has published is acknowledged.
//   - A Recorder gathers records and hands them to a store that is not Kafka, so that each
//     is stored once even though the two cannot commit together: see Recorder.
//   - Subscribe hands on one record at a time, at least once.
//   - A Lease is held by one process of a group at a time.
//   - Admin makes and checks topics, measures lag, and reads topics from end to end.
//
// An offset out of range is never reset silently: reading the partition stops with a LostRangeError.
package consumers
