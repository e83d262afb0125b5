// Package services runs the embedded Kafka and ClickHouse as supervised children of this process,
// and is what a child runs.
package services
