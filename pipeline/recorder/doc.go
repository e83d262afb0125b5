// Package recorder moves what workers, producers and the monitor wrote into ClickHouse: the role
// runs a consumers.Recorder on a store, and a keeper beside it, which stores again what ClickHouse
// has lost.
package recorder
