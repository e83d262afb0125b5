// Package arrowipc reads and writes Arrow IPC streams of flat columns.
//
// The reader trusts no byte: whatever it is given, it ends with an error, and takes no more
// memory than its limit, where the arrow module panics or allocates what a length in the
// stream says. Both directions keep their buffers, so that a stream costs the copies of its
// columns and little else.
package arrowipc
