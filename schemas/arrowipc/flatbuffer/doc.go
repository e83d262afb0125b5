// Package flatbuffer reads the tables of flatbuffers that nobody vouches for: the metadata
// of Arrow IPC messages.
package flatbuffer
