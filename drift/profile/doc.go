// Package profile counts the rows of event-time windows: of a column by cell, and labelled
// rows by what was predicted and what was true.
//
// A cell is a bin or a category of a version's reference; other and missing are cells too.
// This package numbers them, for SQL that counts, for the monitor that judges and for
// reports that show. A Counter counts observation records by them as they are stored.
package profile
