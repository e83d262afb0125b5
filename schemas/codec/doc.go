// Package codec turns request values into Arrow columns, predictions into result values
// and observation records, and feedback values into labels. Each codec but the last is
// planned once from a manifest; all work without allocating per record.
//
// A Decoder appends rows to columns and gives them out as one record batch; a
// ResultEncoder appends results to a byte slice; an ObservationEncoder extends the batch
// that was scored and writes it as Arrow IPC streams; a LabelDecoder reads one label. None
// is safe for concurrent use: every lane has its own.
package codec
