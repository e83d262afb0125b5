// Package schemas holds the contracts that every part of millrace shares: the model
// manifest, the Arrow schema of observations and the ClickHouse table that follows from
// it, the Kafka topics and headers, the error classes and the event types.
//
// A column list is written down once, in the manifest. Everything else is derived:
//
//	manifest ──▶ request decoder plan (package codec)
//	         ──▶ Arrow schema of an observation (ObservationSchema)
//	                 └──▶ ClickHouse table (TableDDL), from the schema alone
//
// schemas imports nothing else of millrace.
package schemas
