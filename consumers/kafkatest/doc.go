// Package kafkatest runs Apache Kafka for tests: brokers under Java, on loopback, from the
// jars that `make kafka` fetches. No product code uses it.
package kafkatest
