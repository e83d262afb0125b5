// Package reason says why a window breached its checks: which columns changed, how, since when, in
// which segments, and whether the quality of predictions moved too.
//
// It is arithmetic on counts: no clock, no storage, no random numbers. The same input gives the same
// answer. What it claims is tested: a date, a correlation and a change of quality are named where
// they are more than chance, and are unknown else.
package reason
