// Package supervisor runs parts of millrace in child processes of the same binary.
//
// A child that dies or stops answering is started again, with a backoff, on the same
// address. Parent and child share two pipes: the child writes one line with its address to
// one when it is ready, and reads from the other, which ends when the parent is gone,
// however it went: then the child stops too. What the child writes to stdout and stderr
// becomes the log of the parent, line by line.
//
// The parent uses Start, Process and FreePort; the child WithParent and Ready.
package supervisor
