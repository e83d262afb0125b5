// Package consumers reads Kafka for the rest of millrace.
//
//   - A Lane is one group member and one transactional session. It goes strictly round:
//     poll, handle, end. What the handler publishes and the offsets of what it was given
//     commit together or not at all.
//   - A Recorder gathers records and hands them to a store that is not Kafka, so that each
//     is stored once even though the two cannot commit together: see Recorder.
//   - A Subscriber hands on one record at a time, at least once.
//   - Admin makes and checks topics, measures lag, and reads topics from end to end.
//
// An offset out of range is never reset silently: the reader stops with a LostRangeError.
package consumers
