// Package link says how a program is let in by what it connects to: TLS, user and password,
// tokens. Kafka, the Schema Registry and ClickHouse are configured by the types of this package,
// with the same keys below another prefix, such as kafka.tls and registry.tls.
//
// Whatever stands in a file is read for each connection (a password, for each question), so that
// a rotated secret or certificate needs no restart: a new file is in force with the next
// connection. A file that cannot be used, such as one that is half written, fails the connection
// with an error that says what is wrong with it, and the next attempt reads it again.
//
// A secret is a Secret where it is configured and a Source where it is used. Neither shows it
// when it is printed, logged, or marshalled.
package link
