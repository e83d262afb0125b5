// Package codec turns request values into Arrow columns and predictions into result
// values and observation records. Each codec is planned once from a manifest and then
// works without allocating per record.
//
// A Decoder appends rows to columns and gives them out as one record batch; a
// ResultEncoder appends results to a byte slice; an ObservationEncoder extends the batch
// that was scored and writes it as Arrow IPC streams. None is safe for concurrent use:
// every lane has its own.
package codec
