// Package observe is the contract between workers and recorders: it writes and reads observation
// records. One is an Arrow IPC stream of schemas.Manifest.ObservationSchema, of at most
// schemas.MaxObservationBytes and complete in itself: requests that were scored, with predictions
// and circumstances. Columns are found by their names, on both sides.
package observe
