// Package embedded runs a Kafka broker inside this process, for development.
//
// It speaks the Kafka protocol over TCP on a loopback address and keeps its data in a
// directory: the clients of millrace, kcat and other Kafka tools use it like any other
// broker. It is franz-go's kfake, with the defaults that kfake lacks: no automatic topic
// creation, logs bounded in bytes (not by age, and not compacted), one process per directory.
//
// It is not for production. Killing it with -9 inside transactions can hide or repeat
// their results from read_committed readers; a stop by context loses nothing.
package embedded
