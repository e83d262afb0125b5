// Package registry is the client of a Confluent-compatible Schema Registry: Confluent's,
// Karapace, Redpanda's, or Apicurio's compatible interface.
package registry
