// Package kafkatest runs Apache Kafka for tests: brokers under Java, on loopback, from the
// jars that `make kafka` fetches. Operator does to any Kafka what its operators may do by
// hand. No product code uses it.
package kafkatest
