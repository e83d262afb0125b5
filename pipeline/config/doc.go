// Package config is what an operator chooses: the keys of the configuration with their defaults,
// where they are read from, and what values make no sense. What a section configures is made here,
// too, where that needs nothing else: a logger, the connection to Kafka, the options of ClickHouse.
package config
