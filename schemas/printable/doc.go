// Package printable makes text that comes from outside fit for a terminal.
//
// Requests, headers, reasons, column names and answers of other servers can hold escape
// sequences, which a terminal obeys: they recolour, overwrite or retitle, and some terminals
// paste or execute what they are told. Everything of that kind passes one of these functions
// on its way to standard output and standard error, whether a terminal is there or not: what
// is written to a file is shown on a terminal later.
//
// What is left holds no control character (C0, DEL, C1), no mark that turns the direction of
// the text around it, no line or paragraph separator, and is valid UTF-8.
package printable
