// Package detect finds the moment at which a stream of values changed: ADWIN, Page-Hinkley,
// DDM, EDDM, KSWIN and CUSUM, one value at a time.
//
// Parameters, defaults, flags and indices of detection are those of River 0.26 (CUSUM, which
// River has not, is Page's). Like there, a detector that found a drift starts over with the
// next value. Memory is constant, for ADWIN logarithmic in the window, and Update allocates
// nothing once the window has its size. Detectors know no clock; the only random one, KSWIN,
// draws from its seed.
//
// MarshalBinary saves all of a detector, its parameters included, and Restore continues it as
// if it had never stopped: every later output, and every later saved state, is the same.
package detect
